"""The frame around every attempt: deadline, cancel, defects, and what the ports promise."""

import asyncio
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohappyeyeballs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, RemoteHandle
from providers import registry
from providers.base import CallContext, Endpoint
from providers.call import call
from providers.http import client_for
from tests.contract.cases import CASES, IN_TIME, KEY, SHORT, Case, attempt, failure_of, raised
from tests.contract.fake_agent import FakeAgent

LEGACY = CASES[2]
HANDLE = RemoteHandle("stub", {"run_id": "r-1"})


class Stub:
    """A platform whose runs never end and whose cancel does as told."""

    name = "stub"
    kinds = frozenset({"agent"})

    def __init__(self, *, cancel_takes: float = 0, cancel_fails: bool = False, defect: Exception | None = None) -> None:
        self.cancel_takes, self.cancel_fails, self.defect = cancel_takes, cancel_fails, defect
        self.cancelled: list[RemoteHandle] = []
        self.stopped = asyncio.Event()

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None: ...

    async def start(self, context: CallContext, request: AgentRequest) -> AgentResult:
        if self.defect:
            raise self.defect
        await context.on_handle(HANDLE)
        await asyncio.Event().wait()
        raise AssertionError

    async def cancel(self, context: CallContext, handle: RemoteHandle) -> bool:
        self.cancelled.append(handle)
        await asyncio.sleep(self.cancel_takes)
        if self.cancel_fails:
            raise OSError("unreachable")
        self.stopped.set()
        return True


async def attempt_on(stub: Stub, timeout: float, handles: list[RemoteHandle] | None = None) -> AgentResult:
    endpoint = Endpoint("stub", "stub", "http://127.0.0.1:9", KEY)
    async with client_for(endpoint) as client:

        async def keep(handle: RemoteHandle) -> None:
            if handles is not None:
                handles.append(handle)

        context = CallContext(client, endpoint, 1000, keep)
        request = AgentRequest(kind="agent", target="a", run_id="r", timeout=timeout)
        return await call(stub, context, request)


def test_the_deadline_cancels_the_remote_run_once_and_says_so() -> None:
    async def scene() -> None:
        stub, handles = Stub(), list[RemoteHandle]()
        error = await raised(attempt_on(stub, SHORT, handles))
        assert (error.kind, stub.cancelled, handles) == (ErrorKind.TIMEOUT, [HANDLE], [HANDLE])
        assert "was told to stop" in error.message

    asyncio.run(scene())


class Resuming(Stub):
    """A platform whose runs outlive the connection."""

    async def resume(self, context: CallContext, request: AgentRequest, handle: RemoteHandle) -> AgentResult:
        return AgentResult("succeeded", f"resumed {handle.ids['run_id']}")


@pytest.mark.parametrize(
    ("stub", "begun", "answer"),
    [
        (Resuming(), HANDLE, "resumed r-1"),
        (Resuming(), None, None),
        (Resuming(), RemoteHandle("another", {"run_id": "r-1"}), None),
        (Stub(), HANDLE, None),
    ],
)
def test_a_run_that_was_begun_is_resumed_where_its_provider_can(
    stub: Stub, begun: RemoteHandle | None, answer: str | None
) -> None:
    async def scene() -> None:
        endpoint = Endpoint("stub", "stub", "http://127.0.0.1:9", KEY)
        async with client_for(endpoint) as client:
            request = AgentRequest(kind="agent", target="a", run_id="r", timeout=SHORT)
            work = call(stub, CallContext(client, endpoint, 1000), request, begun)
            if answer is None:
                assert (await raised(work)).kind is ErrorKind.TIMEOUT  # begun anew, and never ends
            else:
                assert (await work).text == answer

    asyncio.run(scene())


@pytest.mark.parametrize("stops", [True, False])
def test_a_call_that_is_cut_leaves_alone_what_the_next_attempt_goes_on_with(stops: bool) -> None:
    async def scene() -> None:
        stub = Stub()
        endpoint = Endpoint("stub", "stub", "http://127.0.0.1:9", KEY)
        async with client_for(endpoint) as client:
            context = CallContext(client, endpoint, 1000, stop_when_cut=lambda: stops)
            task = asyncio.create_task(
                call(stub, context, AgentRequest(kind="agent", target="a", run_id="r", timeout=IN_TIME))
            )
            await asyncio.sleep(SHORT)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert stub.cancelled == ([HANDLE] if stops else [])

    asyncio.run(scene())


def test_a_remote_cancel_that_fails_does_not_change_the_verdict() -> None:
    error = asyncio.run(raised(attempt_on(Stub(cancel_fails=True), SHORT)))

    assert error.kind is ErrorKind.TIMEOUT
    assert "may still go on" in error.message


def test_a_remote_cancel_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("providers.call.CANCEL_SECONDS", 0.2)
    began = time.monotonic()
    error = asyncio.run(raised(attempt_on(Stub(cancel_takes=60), SHORT)))

    assert error.kind is ErrorKind.TIMEOUT
    assert time.monotonic() - began < 10


def test_cancelling_a_call_cancels_the_remote_run_and_passes_through() -> None:
    async def scene() -> None:
        stub = Stub()
        task = asyncio.create_task(attempt_on(stub, IN_TIME))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stub.cancelled == [HANDLE]

    asyncio.run(scene())


def test_cancelling_twice_waits_for_nothing_and_stops_no_remote_cancel() -> None:
    async def scene() -> None:
        stub = Stub(cancel_takes=1)
        task = asyncio.create_task(attempt_on(stub, IN_TIME))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not stub.stopped.is_set()
        async with asyncio.timeout(IN_TIME):
            await stub.stopped.wait()
        assert stub.cancelled == [HANDLE]

    asyncio.run(scene())


def test_a_legacy_run_is_cancelled_at_the_platform() -> None:
    async def scene() -> None:
        async with FakeAgent("silent") as fake:
            error = await raised(attempt(LEGACY, fake.url, timeout=SHORT))
            assert error.kind is ErrorKind.TIMEOUT
            assert fake.cancelled == ["/api/chat/threads/thread-1/runs/cancel"]
            assert "was told to stop" in error.message

    asyncio.run(scene())


def test_a_defect_in_an_adapter_ends_as_an_error_without_the_key() -> None:
    error = asyncio.run(raised(attempt_on(Stub(defect=KeyError(KEY)), SHORT)))

    assert error.kind is ErrorKind.INTERNAL
    assert "KeyError" in error.message
    assert KEY[:12] not in error.message


def test_a_timeout_of_the_operating_system_is_not_taken_for_our_deadline() -> None:
    assert asyncio.run(raised(attempt_on(Stub(defect=TimeoutError("os")), IN_TIME))).kind is ErrorKind.INTERNAL


@pytest.mark.parametrize(
    ("base", "key", "words"),
    [
        ("", KEY, "has no base_url"),
        ("host:8000/api", KEY, "must begin with http://"),
        ("ftp://host", KEY, "must begin with http://"),
        ("http://user:secret@host", KEY, "into its key"),
        ("http://host/v1?api_key=secret", KEY, "into its key"),
        ("http://host:port", KEY, "is not a URL"),
        ("http://127.0.0.1:9", "topse\ncret", "cannot carry"),
        ("http://127.0.0.1:9", "密钥", "cannot carry"),
    ],
)
@pytest.mark.parametrize("case", [case for case in CASES if case.kind != "http"], ids=lambda case: case.name)
def test_a_wrong_endpoint_is_told_with_its_mend(case: Case, base: str, key: str, words: str) -> None:
    async def scene() -> AgentError:
        endpoint = Endpoint("prod", case.provider, base, key)
        async with client_for(endpoint) as client:
            return await raised(
                call(registry.get(case.provider), CallContext(client, endpoint, 1000), case.request(""))
            )

    error = asyncio.run(scene())
    assert error.kind is ErrorKind.CONFIG
    assert words in error.message
    assert "prod" in error.message
    assert not any(secret in error.message for secret in ("user:secret", "topse", "密钥"))


def test_spaces_around_a_key_are_not_part_of_it() -> None:
    async def scene() -> None:
        async with FakeAgent() as fake:
            await attempt(CASES[0], fake.url, key=f"  {KEY}\n")
            assert fake.requests[0].headers["authorization"] == f"Bearer {KEY}"

    asyncio.run(scene())


def test_a_thousand_calls_at_once_all_get_their_answer() -> None:
    async def scene() -> None:
        async with FakeAgent() as fake:
            results = await asyncio.gather(*(attempt(CASES[0], fake.url, timeout=30) for _ in range(1000)))
            assert {result.status for result in results} == {"succeeded"}

    asyncio.run(scene())


def test_a_connection_that_failed_is_tried_once_more_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[OSError] = []

    async def unreachable_at_first(*args: Any, **kwargs: Any) -> Any:
        if len(failures) < allowed:
            failures.append(OSError("network is unreachable"))
            raise failures[-1]
        return await connect(*args, **kwargs)

    async def scene() -> AgentResult:
        async with FakeAgent() as fake:
            return await attempt(CASES[0], fake.url)

    connect = aiohappyeyeballs.start_connection
    monkeypatch.setattr(aiohappyeyeballs, "start_connection", unreachable_at_first)
    allowed = 1
    assert asyncio.run(scene()).status == "succeeded"

    failures.clear()
    allowed = 9
    assert asyncio.run(raised(scene())).kind is ErrorKind.CONNECT
    assert len(failures) == 2


def test_a_server_with_an_untrusted_certificate_is_told_so(tmp_path: Path) -> None:
    async def scene() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self_signed(tmp_path))
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        async with server:
            error = await raised(attempt(CASES[0], f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        assert error.kind is ErrorKind.CONFIG
        assert "certificate is not trusted" in error.message
        assert "nothing was sent" in error.message

    asyncio.run(scene())


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    now = datetime.now(UTC)
    signed = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(private + signed.public_bytes(Encoding.PEM))
    return folder / "server.pem"


@pytest.mark.parametrize("name", sorted(registry.PROVIDERS))
def test_the_registry_tells_the_kinds_that_the_adapter_runs(name: str) -> None:
    provider = registry.get(name)

    assert provider.name == name
    assert registry.kinds(name) == provider.kinds
    assert registry.get(name) is provider


def test_an_unknown_provider_is_told_with_the_near_miss() -> None:
    with pytest.raises(AgentError, match="did you mean 'openai_chat'") as refused:
        registry.get("openai-chat")
    assert refused.value.kind is ErrorKind.CONFIG

    with pytest.raises(AgentError, match=f"there is {', '.join(sorted(registry.PROVIDERS))}"):
        registry.check("zzz", "agent", {})


def test_a_row_is_checked_without_an_attempt() -> None:
    registry.check("agent_platform", "workflow", {})
    registry.check("agent_platform", "agent", {"mode": "blocking", "dialect": "v1"})
    for name, kind, options in (
        ("openai_chat", "workflow", {}),
        ("agent_platform", "http", {}),
        ("agent_platform", "agent", {"mod": "blocking"}),
        ("agent_platform", "agent", {"mode": "blockin"}),
        ("agent_platform", "agent", {"mode": "blocking", "dialect": "legacy"}),
        ("agent_platform", "workflow", {"mode": "blocking"}),
        ("http_json", "http", {"method": "GET"}),
        ("http_json", "agent", {"body": "text"}),
    ):
        with pytest.raises(AgentError) as refused:
            registry.check(name, kind, options)
        assert refused.value.kind is ErrorKind.CONFIG


def test_checking_kinds_loads_no_http_library() -> None:
    code = (
        "import sys; from providers import registry; registry.check('agent_platform', 'agent', {});"
        "sys.exit('httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_deadline_also_covers_the_refusal_of_a_slow_server() -> None:
    error = failure_of(CASES[4], "slow_refusal", timeout=SHORT)

    assert error.kind is ErrorKind.TIMEOUT
