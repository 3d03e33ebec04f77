"""Which addresses a call may reach: judged on what is connected to, whatever the name said before."""

import asyncio
import socket
from typing import Any

import httpx
import pytest

from core.outcome import AgentError, AgentRequest, ErrorKind
from providers.addresses import check_literal, why_refused
from providers.base import CallContext, Endpoint
from providers.http import base_of, client_for, exchange
from tests.contract.fake_agent import FakeAgent

METADATA = "169.254.169.254"
NAME = "agents.example.com"


@pytest.mark.parametrize(
    "address",
    [
        METADATA, "169.254.0.23", "169.254.170.2", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fd20:ce::254",
        "100.100.100.200", "192.0.0.192", "168.63.129.16", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255",
        "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "2002:a9fe:a9fe::", "64:ff9b::a9fe:a9fe",
    ],
)  # fmt: skip
def test_metadata_link_local_and_what_is_no_server_is_refused(address: str) -> None:
    assert why_refused(address)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.1.2.3", "172.16.0.9", "192.168.1.20", "100.64.0.1", "fd00::5", "8.8.8.8", "2606:4700::1"],
)
def test_agents_on_this_machine_in_the_network_and_outside_can_be_called(address: str) -> None:
    assert why_refused(address) is None


def test_a_setting_opens_a_network_and_no_other() -> None:
    allowed = ("169.254.10.0/24",)

    assert why_refused("169.254.10.7", allowed) is None
    assert why_refused("::ffff:169.254.10.7", allowed) is None
    assert why_refused(METADATA, allowed)


def test_a_literal_address_is_refused_before_anything_is_resolved() -> None:
    check_literal(httpx.URL("http://127.0.0.1:8900/api"))
    check_literal(httpx.URL("http://example.com"))
    for url in (f"http://{METADATA}/latest", "http://[fe80::1]:80/", "http://[::ffff:169.254.169.254]/"):
        with pytest.raises(AgentError, match="ENDPOINT_ALLOWED_NETWORKS"):
            check_literal(httpx.URL(url))


async def call(url: str, *, allowed: tuple[str, ...] = ()) -> int:
    endpoint = Endpoint("e", "http_json", url, "sk-live-secret")
    request = AgentRequest(kind="agent", target="a", run_id="r", timeout=5)
    async with client_for(endpoint, allowed_networks=allowed) as client:
        context = CallContext(client, endpoint, 1000)
        async with exchange(context, request, "GET", base_of(endpoint)) as response:
            return response.status_code


class Resolver:
    """What a name server of the attacker's answers, one answer after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, port: Any, *args: Any, **named: Any) -> Any:
        if host != NAME:
            return self._real(host, port, *args, **named)
        self.asked += 1
        addresses = self.answers[min(self.asked, len(self.answers)) - 1]
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]


@pytest.mark.parametrize("answer", [[METADATA], ["127.0.0.1", METADATA], ["fd00:ec2::254"], ["::ffff:169.254.169.254"]])
def test_a_name_that_resolves_to_a_refused_address_is_not_called(
    monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    Resolver(monkeypatch, answer)

    with pytest.raises(AgentError, match="are refused") as refused:
        asyncio.run(call(f"http://{NAME}:1/api"))

    assert refused.value.kind is ErrorKind.CONFIG
    assert NAME in refused.value.message
    assert "sk-live-secret" not in refused.value.message


def test_a_name_that_changes_between_check_and_call_is_asked_once_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> tuple[int, int, int]:
        async with FakeAgent() as fake:
            resolver = Resolver(monkeypatch, ["127.0.0.1"], [METADATA])
            port = httpx.URL(fake.url).port
            with pytest.raises(AgentError) as ended:  # the fake knows no such path: it was reached
                await call(f"http://{NAME}:{port}/nothing")
            return ended.value.http_status or 0, resolver.asked, len(fake.requests)

    assert asyncio.run(scene()) == (404, 1, 1)


def test_a_name_with_a_dead_address_is_reached_at_its_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> int:
        async with FakeAgent() as fake:
            Resolver(monkeypatch, ["127.0.0.2", "127.0.0.1"])  # nothing listens at the first
            port = httpx.URL(fake.url).port
            with pytest.raises(AgentError) as ended:
                await call(f"http://{NAME}:{port}/nothing")
            return ended.value.http_status or 0

    assert asyncio.run(scene()) == 404


def test_numbers_that_are_addresses_in_disguise_are_refused_too() -> None:
    for host in ("2852039166", "0xa9fea9fe", "0251.0376.0251.0376"):
        with pytest.raises(AgentError) as refused:
            asyncio.run(call(f"http://{host}/"))
        assert refused.value.kind in (ErrorKind.CONFIG, ErrorKind.CONNECT), host  # not every resolver knows them


def test_a_name_that_does_not_resolve_is_no_connection() -> None:
    with pytest.raises(AgentError) as refused:
        asyncio.run(call("http://nothing.invalid/"))

    assert refused.value.kind is ErrorKind.CONNECT
