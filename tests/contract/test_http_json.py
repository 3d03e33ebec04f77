"""What only plain HTTP does: which addresses it may call, and how an answer is found in any JSON."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from core.outcome import AgentError, AgentResult, ErrorKind
from providers import registry
from providers.base import CallContext, Endpoint
from providers.call import call
from providers.http import client_for
from providers.http_json import check_allowed
from tests.contract.cases import CASES, KEY, RUN_ID, answer_to, failure_of, raised
from tests.contract.fake_agent import FakeAgent
from tests.contract.fake_dialects import Answer
from tests.contract.test_agent_platform import answer_with, failure_with, json_of

AGENT, WORKFLOW, HTTP = CASES[6:9]
PLAIN_HTTP = replace(HTTP, options={})


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("http://hooks.example.com/x", ["hooks.example.com"]),
        ("https://HOOKS.example.com:8443/x", ["hooks.example.com"]),
        ("https://hooks.example.com.:443/x", [" Hooks.Example.com:443 "]),
        ("http://10.0.0.7:8000/", ["10.0.0.7:8000"]),
        ("http://[::1]:8000/", ["::1"]),
        ("http://[::1]:8000/", ["[::1]:8000"]),
        ("https://a.b.example.com/", ["*.example.com"]),
        ("https://例子.中国/", ["例子.中国"]),
        ("http://169.254.169.254/latest", ["169.254.169.254"]),
    ],
)
def test_a_listed_host_may_be_called(url: str, hosts: list[str]) -> None:
    check_allowed(url, hosts)
    registry.check_url(url, hosts)


@pytest.mark.parametrize(
    ("url", "hosts", "words"),
    [
        ("http://evil.example.net/", ["hooks.example.com"], "HTTP_ALLOWED_HOSTS (hooks.example.com)"),
        ("http://hooks.example.com/", [], "HTTP_ALLOWED_HOSTS (empty)"),
        ("http://hooks.example.com:81/", ["hooks.example.com:80"], "HTTP_ALLOWED_HOSTS"),
        ("http://nothooks.example.com/", ["hooks.example.com"], "HTTP_ALLOWED_HOSTS"),
        ("http://example.com/", ["*.example.com"], "HTTP_ALLOWED_HOSTS"),
        ("http://evilexample.com/", ["*.example.com"], "HTTP_ALLOWED_HOSTS"),
        ("http://hooks.example.com@evil.net/", ["hooks.example.com"], "credentials"),
        ("http://user:pass@hooks.example.com/", ["hooks.example.com"], "credentials"),
        ("http://evil.net\\@hooks.example.com/", ["hooks.example.com"], "credentials"),
        ("http://evil.net#@hooks.example.com/", ["hooks.example.com"], "evil.net"),
        ("file:///etc/passwd", ["hooks.example.com"], "http://"),
        ("ftp://hooks.example.com/", ["hooks.example.com"], "http://"),
        ("//hooks.example.com/", ["hooks.example.com"], "http://"),
        ("http:///x", ["hooks.example.com"], "http://"),
        ("http://hooks.example.com:x/", ["hooks.example.com"], "not a URL"),
        ("http://hooks\n.example.com/", ["hooks.example.com"], "not a URL"),
        ("http://169.254.169.254/latest", ["*.example.com"], "literally"),
        ("http://[fe80::1]/", [], "literally"),
        ("http://[::ffff:169.254.169.254]/", [], "literally"),
        ("http://metadata.google.internal/", ["*.google.internal"], "literally"),
        ("http://100.100.100.200/latest", [], "literally"),
        ("http://0xA9FEA9FE/", ["169.254.169.254"], "HTTP_ALLOWED_HOSTS"),
        ("http://2852039166/", ["169.254.169.254"], "HTTP_ALLOWED_HOSTS"),
    ],
)
def test_any_other_address_is_refused_in_plain_words(url: str, hosts: list[str], words: str) -> None:
    with pytest.raises(AgentError) as refused:
        check_allowed(url, hosts)

    assert refused.value.kind is ErrorKind.CONFIG
    assert words in refused.value.message


def test_nothing_is_sent_to_a_host_that_is_not_listed() -> None:
    async def scene() -> None:
        async with FakeAgent() as fake:
            endpoint = Endpoint("http", "http_json", "")
            async with client_for(endpoint) as client:
                context = CallContext(client, endpoint, 1000)
                error = await raised(call(registry.get("http_json"), context, HTTP.request(fake.url)))
            assert error.kind is ErrorKind.CONFIG
            assert fake.requests == []

    asyncio.run(scene())


def test_the_key_of_an_endpoint_goes_to_no_other_origin() -> None:
    async def scene() -> None:
        async with FakeAgent() as fake, FakeAgent() as other:
            endpoint = Endpoint("crm", "http_json", other.url, KEY)
            async with client_for(endpoint) as client:
                context = CallContext(client, endpoint, 1000, allowed_hosts=("127.0.0.1",))
                error = await raised(call(registry.get("http_json"), context, HTTP.request(fake.url)))
                async with client.stream("GET", httpx.URL(fake.url + "/echo"), timeout=httpx.Timeout(5)):
                    pass
            assert error.kind is ErrorKind.CONFIG
            assert "is not sent to" in error.message
            assert [request.headers.get("authorization") for request in fake.requests] == [None]

    asyncio.run(scene())


def test_an_http_task_is_sent_as_it_stands() -> None:
    _, fake = answer_to(PLAIN_HTTP, method="put", headers={"X-Team": "ops"}, body={"报告": [1, None]})

    (request,) = fake.requests
    assert (request.method, request.path) == ("PUT", "/echo")
    assert request.body == '{"报告":[1,null]}'.encode()
    assert (request.headers["x-team"], request.headers["content-type"]) == ("ops", "application/json")


@pytest.mark.parametrize(
    ("method", "body", "sent", "content_type"),
    [
        ("POST", None, b"", None),
        ("POST", {}, b"{}", "application/json"),
        ("POST", "a=1", b"a=1", "text/plain; charset=utf-8"),
        ("GET", {}, b"", None),
        ("GET", {"q": 1}, b'{"q":1}', "application/json"),
        ("DELETE", None, b"", None),
    ],
)
def test_a_body_is_json_or_text_or_absent(method: str, body: Any, sent: bytes, content_type: str | None) -> None:
    async def scene() -> None:
        async with FakeAgent(scripted=json_of({"a": 1})) as fake:
            endpoint = Endpoint("http", "http_json", "")
            async with client_for(endpoint) as client:
                context = CallContext(client, endpoint, 1000, allowed_hosts=("127.0.0.1",))
                request = PLAIN_HTTP.request(fake.url, method=method, body=body)
                await call(registry.get("http_json"), context, request)
            assert fake.requests[0].body == sent
            assert fake.requests[0].headers.get("content-type") == content_type

    asyncio.run(scene())


@pytest.mark.parametrize("name", ["Idempotency-Key", "x-request-id", "Host", "Content-Length", "Transfer-Encoding"])
def test_a_task_cannot_set_the_headers_that_are_ours(name: str) -> None:
    error = failure_of(PLAIN_HTTP, "ok", headers={name: "x"})

    assert error.kind is ErrorKind.CONFIG
    assert name in error.message


@pytest.mark.parametrize("value", ["one\r\nX-Evil: 1", "密码", "\x00"])
def test_a_header_that_cannot_be_sent_is_named_without_its_value(value: str) -> None:
    error = failure_of(PLAIN_HTTP, "ok", headers={"X-Token": value})

    assert error.kind is ErrorKind.CONFIG
    assert "X-Token" in error.message
    assert value not in error.message


def test_a_secret_in_a_tasks_own_header_is_redacted_too() -> None:
    error = failure_of(PLAIN_HTTP, "echo_key", key="", headers={"Authorization": f"Bearer {KEY}"})

    assert error.kind is ErrorKind.AUTH
    assert KEY[:12] not in error.message


def test_any_2xx_is_success_and_keeps_data_text_and_status() -> None:
    result = answer_with(PLAIN_HTTP, json_of({"报告": "完成", "n": 3}))

    assert (result.text, result.data) == ('{"报告": "完成", "n": 3}', {"报告": "完成", "n": 3})


def test_text_stays_text() -> None:
    result = answer_with(PLAIN_HTTP, Answer("text/plain; charset=gbk", ["完成".encode("gbk")]))

    assert (result.text, result.data) == ("完成", None)


@pytest.mark.parametrize("charset", ["hex", "rot13", "no-such"])
def test_a_charset_that_is_none_does_no_harm(charset: str) -> None:
    assert answer_with(PLAIN_HTTP, Answer(f"text/plain; charset={charset}", [b"done"])).text == "done"


def test_broken_json_is_text_for_an_http_task_and_a_failure_for_an_agent() -> None:
    broken = Answer("application/json", [b'{"a": NaN}'])

    assert answer_with(PLAIN_HTTP, broken).text == '{"a": NaN}'
    assert failure_with(AGENT, broken).kind is ErrorKind.PROTOCOL


def test_the_answer_is_found_by_its_path() -> None:
    options = {"result_path": "choices.1.text"}
    body = json_of({"choices": [{"text": "no"}, {"text": "yes"}]})
    assert answer_with(AGENT, body, options=options).text == "yes"

    error = failure_with(AGENT, body, options={"result_path": "choices.7.text"})
    assert error.kind is ErrorKind.PROTOCOL
    assert "choices.7.text" in error.message


@pytest.mark.parametrize("fine", [None, False, 0, "", [], {}])
def test_an_error_path_that_finds_nothing_wrong_is_success(fine: object) -> None:
    body = json_of({"error": fine, "answer": "yes"})

    assert answer_with(AGENT, body).text == "yes"


@pytest.mark.parametrize("wrong", ["boom", 7, {"message": "boom", "code": "x"}, ["boom"], True])
def test_an_error_path_that_finds_something_is_a_failure(wrong: object) -> None:
    error = failure_with(AGENT, json_of({"error": wrong, "answer": "yes"}))

    assert error.kind is ErrorKind.REMOTE_FAILED
    assert any(said in error.message for said in ("boom", "7", "true"))


@pytest.mark.parametrize("nothing", [None, {}, [], "", " "])
def test_an_agent_that_answers_nothing_in_json_is_empty(nothing: object) -> None:
    assert failure_with(replace(AGENT, options={}), json_of(nothing)).kind is ErrorKind.EMPTY


def test_agents_and_workflows_have_a_body_of_their_own_by_default() -> None:
    _, agent = answer_to(AGENT)
    _, workflow = answer_to(WORKFLOW)

    assert agent.requests[0].json == {"agent_id": "daily-report", "message": "写日报 ✅", "user": "ops"}
    assert workflow.requests[0].json == {"workflow_id": "daily-report", "inputs": {"day": "今天"}, "user": "ops"}


def test_a_body_takes_values_only_where_a_string_is_exactly_their_name() -> None:
    body = {"q": "$message", "in": ["$inputs"], "as": "$user!", "id": "$run_id", "{{ x }}": "{{ y }}"}
    _, fake = answer_to(AGENT, options={**AGENT.options, "body": body})

    filled = {"q": "写日报 ✅", "in": [{"day": "今天"}], "as": "$user!", "id": RUN_ID, "{{ x }}": "{{ y }}"}
    assert fake.requests[0].json == filled


def test_a_path_keeps_its_query_and_cannot_climb_out() -> None:
    _, fake = answer_to(replace(AGENT, base="/base"), options={**AGENT.options, "path": "/行/plain?mode=同步&x=1"})
    assert fake.requests[0].path == "/base/%E8%A1%8C/plain?mode=%E5%90%8C%E6%AD%A5&x=1"

    for path in ("../admin", "a/../../admin", "%2e%2e/admin"):
        assert failure_of(AGENT, "ok", options={"path": path}).kind is ErrorKind.CONFIG
    _, fake = answer_to(AGENT, options={**AGENT.options, "path": "//127.0.0.1:1/plain"})
    assert fake.requests[0].path == "/127.0.0.1:1/plain"


def test_a_message_that_no_json_can_carry_is_refused_before_it_is_sent() -> None:
    def sent(**changes: Any) -> AgentResult:
        return answer_to(AGENT, **changes)[0]

    for broken in ({"message": "half \ud83d"}, {"options": {"body": {"x": float("nan")}}}):
        with pytest.raises(AgentError) as refused:
            sent(**broken)
        assert refused.value.kind is ErrorKind.INVALID
