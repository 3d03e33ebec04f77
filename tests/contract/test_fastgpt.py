"""What only FastGPT does: its events after the end, codes behind one status, plugins and questions."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from core.outcome import ErrorKind, RemoteHandle, Usage
from providers import fastgpt_answer
from providers.content import json_text
from tests.contract import dialects_fastgpt as said
from tests.contract.app_scenes import answered, cancelled, case_of, error_of, outcome_of
from tests.contract.cases import RUN_ID, answer_to, attempt, failure_of, raised
from tests.contract.fake_agent import FakeAgent
from tests.contract.fake_dialects import ANSWER, INPUT_TOKENS, INTERRUPT, OUTPUT_TOKENS, sse
from tests.contract.test_agent_platform import answer_with, failure_with

CHAT, BLOCKING, VERSION_2, PLUGIN = map(
    case_of, ("fastgpt-streaming", "fastgpt-blocking", "fastgpt-v2", "fastgpt-plugin")
)
ENOUGH = 1.5  # seconds in which a run is begun, on a slow machine too
STOP = said.chunk(None, "stop")
HANDLE = RemoteHandle("fastgpt", {"app_id": "a-1", "chat_id": RUN_ID, "run_id": RUN_ID})


def whole(content: object, **fields: object) -> dict[str, object]:
    message = {"role": "assistant", "content": content}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": said.PLACEHOLDER, **fields}


def test_a_chat_is_named_after_the_run_and_asks_for_details() -> None:
    result, fake = answer_to(CHAT, options={"variables": {"city": "上海"}})

    (request,) = fake.requests
    assert (request.method, request.path) == ("POST", "/api/v1/chat/completions")
    assert request.json == {
        "chatId": RUN_ID,
        "stream": True,
        "detail": True,
        "messages": [{"role": "user", "content": "写日报 ✅"}],
        "variables": {"city": "上海"},
        "customUid": "ops",
    }
    assert result.conversation_id == RUN_ID


def test_a_named_conversation_is_the_chat_and_is_kept_by_a_failure() -> None:
    result, fake = answer_to(CHAT, conversation_id="c-9")

    assert (fake.requests[0].json["chatId"], result.conversation_id) == ("c-9", "c-9")
    assert failure_of(CHAT, "cut", conversation_id="c-9").conversation_id == "c-9"


def test_a_plugin_gets_variables_and_no_message_and_answers_in_its_report() -> None:
    result, fake = answer_to(PLUGIN)

    (request,) = fake.requests
    assert (request.json["messages"], request.json["variables"]) == ([], {"day": "今天"})
    assert (result.text, result.data) == (ANSWER, {"report": ANSWER})


def test_a_workflow_that_takes_a_message_answers_as_a_chat() -> None:
    result, fake = answer_to(PLUGIN, options={"message": "写周报"})

    assert fake.requests[0].json["messages"] == [{"role": "user", "content": "写周报"}]
    assert (result.text, result.data) == (ANSWER, None)


@pytest.mark.parametrize("base", ["", "/api", "/api/", "/api/v1", "/api/v2/"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_usual_spelling_of_the_base_url_finds_the_version_asked_for(base: str, version: str) -> None:
    _, fake = answer_to(replace(CHAT, base=base), options={"version": version})

    assert fake.requests[0].path == f"/api/{version}/chat/completions"


def test_the_reports_after_done_are_read_and_their_tokens_counted() -> None:
    nodes = [said.ai_node(), said.ai_node(inputTokens=1, outputTokens=None), {"moduleType": "answerNode"}, "odd"]
    stream = said.stream(said.chunk(ANSWER), STOP, said.DONE, sse("flowResponses", nodes))

    assert answer_with(CHAT, stream).usage == Usage(INPUT_TOKENS + 1, OUTPUT_TOKENS)
    assert answer_with(CHAT, said.stream(said.chunk(ANSWER), STOP, said.DONE)).usage == Usage()


def test_the_placeholder_that_stands_for_usage_is_not_taken_for_tokens() -> None:
    assert answer_with(BLOCKING, answered(json_text(whole(ANSWER)))).usage == Usage()


def test_version_2_reports_its_nodes_one_by_one_and_done_comes_last() -> None:
    reports = [sse("flowNodeResponse", said.ai_node()), sse("flowNodeResponse", said.ai_node())]
    stream = said.stream(sse("answer", {"choices": []}), said.chunk(ANSWER), *reports, STOP, said.DONE)

    result = answer_with(VERSION_2, stream)
    assert (result.text, result.usage) == (ANSWER, Usage(2 * INPUT_TOKENS, 2 * OUTPUT_TOKENS))


@pytest.mark.parametrize("ending", [[], [STOP], [said.DONE]], ids=["nothing", "stop alone", "done alone"])
def test_an_answer_is_whole_with_its_stop_and_done_only(ending: list[bytes]) -> None:
    assert failure_with(CHAT, said.stream(said.chunk("half"), *ending)).kind is ErrorKind.OUTCOME_UNKNOWN


def test_a_plugin_whose_report_is_cut_off_is_unknown_and_one_that_says_nothing_is_empty() -> None:
    cut = failure_with(PLUGIN, said.stream(STOP, said.DONE))
    silent = failure_with(PLUGIN, said.stream(STOP, said.DONE, sse("flowResponses", [said.plugin_node({})])))

    assert (cut.kind, silent.kind) == (ErrorKind.OUTCOME_UNKNOWN, ErrorKind.EMPTY)


def test_a_server_that_never_hangs_up_does_not_spoil_a_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastgpt_answer, "AFTER_DONE_SECONDS", 0.2)

    async def scene() -> None:
        answer = said.stream(said.chunk(ANSWER), STOP, said.DONE)
        async with FakeAgent("hang_after", scripted=answer) as fake:
            began = time.monotonic()
            result = await attempt(CHAT, fake.url, timeout=30)
            assert (result.text, 0.2 <= time.monotonic() - began < 10) == (ANSWER, True)

    asyncio.run(scene())


def test_a_node_that_failed_last_fails_the_run_and_an_earlier_one_does_not() -> None:
    broken = said.ai_node(errorText="模型崩溃")
    last = said.stream(said.chunk("半"), STOP, said.DONE, sse("flowResponses", [said.ai_node(), broken]))
    earlier = said.stream(said.chunk("好"), STOP, said.DONE, sse("flowResponses", [broken, said.ai_node()]))

    error = failure_with(CHAT, last)
    assert (error.kind, error.http_status) == (ErrorKind.REMOTE_FAILED, 200)
    assert "模型崩溃" in error.message
    assert answer_with(CHAT, earlier).text == "好"


@pytest.mark.parametrize("error", ["模型崩溃", {"message": "模型崩溃"}, {"code": 500, "message": "模型崩溃"}])
def test_an_error_beside_an_answer_is_a_failure(error: object) -> None:
    found = failure_with(BLOCKING, answered(json_text(whole("半", error=error))))

    assert found.kind is ErrorKind.REMOTE_FAILED
    assert "模型崩溃" in found.message


CODES = [
    (403, "unAuthorization", ErrorKind.AUTH),
    (511, "unAuthModel", ErrorKind.AUTH),
    (513, "unAuthFile", ErrorKind.AUTH),
    (514, "unAuthApiKey", ErrorKind.AUTH),
    (510, "insufficientQuota", ErrorKind.QUOTA),
    (429, "tooManyRequest", ErrorKind.THROTTLED),
    (409, "chatIsGenerating", ErrorKind.BUSY),
    (500, "boom", ErrorKind.REMOTE_FAILED),
    (500004, "common:code_error.team_error.ai_points_not_enough", ErrorKind.QUOTA),
    (502000, "common:code_error.app_error.not_exist", ErrorKind.NOT_FOUND),
    (502002, "common:code_error.app_error.un_auth_app", ErrorKind.AUTH),
    (504000, "common:code_error.chat_error.something", ErrorKind.INVALID),
]


@pytest.mark.parametrize(("code", "message", "kind"), CODES, ids=[message for _, message, _ in CODES])
def test_the_code_in_the_body_tells_what_the_status_does_not(code: int, message: str, kind: ErrorKind) -> None:
    body = {"code": code, "statusText": "error", "message": message, "data": None}
    newer = error_of(outcome_of(CHAT, lambda _: answered(json_text(body), 500))[0])
    older = failure_with(CHAT, answered(json_text(body)))
    in_stream = failure_with(CHAT, said.stream(said.chunk("半"), sse("error", body)))

    assert [(error.kind, error.http_status) for error in (newer, older, in_stream)] == [
        (kind, 500), (kind, 200), (kind, 200),
    ]  # fmt: skip
    assert all(message in error.message for error in (newer, older, in_stream))


def test_an_error_of_a_stream_may_have_no_code() -> None:
    error = failure_with(CHAT, said.stream(sse("error", {"message": "网络连接异常"})))

    assert error.kind is ErrorKind.REMOTE_FAILED
    assert "网络连接异常" in error.message


def test_a_question_is_kept_with_what_was_said_before_it() -> None:
    asks = sse("interactive", {"interactive": INTERRUPT})
    for stream in (said.stream(said.chunk("请选"), asks, STOP, said.DONE), said.stream(said.chunk("请选"), asks)):
        result = answer_with(CHAT, stream)
        assert (result.status, result.text, result.data) == ("requires_action", "请选", INTERRUPT)

    items = [{"type": "text", "text": {"content": "请选"}}, {"type": "interactive", "interactive": INTERRUPT}]
    result = answer_with(BLOCKING, answered(json_text(whole(items))))
    assert (result.status, result.text, result.data) == ("requires_action", "请选", INTERRUPT)


def test_a_workflow_that_says_nothing_answers_with_its_variables() -> None:
    variables = {"total": "甲"}
    streamed = said.stream(sse("updateVariables", variables), STOP, said.DONE, sse("flowResponses", []))
    result = answer_with(PLUGIN, streamed)
    assert (result.text, result.data) == ("甲", variables)

    body = answered(json_text(whole("", newVariables=variables, responseData=[])))
    assert answer_with(PLUGIN, body, options={"stream": False}).text == "甲"


def test_an_output_is_chosen_by_name() -> None:
    reports = sse("flowResponses", [said.plugin_node({"a": "甲", "b": 2})])

    assert answer_with(PLUGIN, said.stream(STOP, said.DONE, reports), options={"output": "a"}).text == "甲"
    error = failure_with(PLUGIN, said.stream(STOP, said.DONE, reports), options={"output": "c"})
    assert "no output 'c'; it has a, b" in error.message


def test_a_run_whose_app_is_known_is_stopped_at_its_deadline() -> None:
    handles: list[RemoteHandle] = []

    async def scene() -> None:
        async with FakeAgent("silent") as fake:
            error = await raised(attempt(VERSION_2, fake.url, timeout=ENOUGH, handles=handles))
            assert error.kind is ErrorKind.TIMEOUT
            assert "was told to stop" in error.message
            assert fake.requests[0].json["appId"] == "a-1"
            stop = fake.requests[-1]
            assert (stop.path, stop.json) == ("/api/v2/chat/stop", {"appId": "a-1", "chatId": RUN_ID})
            assert fake.cancelled == ["/api/v2/chat/stop"]

    asyncio.run(scene())
    assert handles == [HANDLE]


@pytest.mark.parametrize(
    ("text", "status", "stopped"),
    [
        ('{"code": 200, "data": {"success": true}}', 200, True),
        ('{"success": true}', 200, True),
        ('{"code": 514, "message": "unAuthApiKey"}', 200, False),
        ('{"code": 514}', 500, False),
        ("<html>404</html>", 404, False),
        ("<html>", 200, False),
    ],
)
def test_only_a_platform_that_says_so_has_stopped_a_run(text: str, status: int, stopped: bool) -> None:
    assert cancelled(VERSION_2, HANDLE, answered(text, status))[0] is stopped


def test_an_emoji_in_two_deltas_is_whole_again() -> None:
    halves = [b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % half for half in (b"\\ud83d", b"\\ude00")]

    assert answer_with(CHAT, said.stream(*halves, STOP, said.DONE)).text == "😀"


def test_a_long_text_in_small_pieces_meets_the_limit() -> None:
    error = failure_with(CHAT, said.stream(*[said.chunk("x" * 500)] * 60, STOP, said.DONE), max_bytes=16384)

    assert error.kind is ErrorKind.PROTOCOL


@pytest.mark.parametrize(
    ("case", "options", "words"),
    [
        (CHAT, {"appid": "a"}, "did you mean 'app_id'?"),
        (CHAT, {"version": "v3"}, "must be v1 or v2"),
        (CHAT, {"message": "x"}, "has no option 'message'"),
        (PLUGIN, {"variables": {}}, "has no option 'variables'"),
    ],
)
def test_a_wrong_option_is_told_with_its_mend(case: Any, options: dict[str, object], words: str) -> None:
    error = failure_of(case, "ok", options=options)

    assert (error.kind, error.http_status) == (ErrorKind.CONFIG, None)
    assert words in error.message


def test_reasoning_is_stripped_only_when_asked() -> None:
    stream = said.stream(said.chunk("<think>嗯</think>好"), STOP, said.DONE)

    assert answer_with(CHAT, stream).text == "<think>嗯</think>好"
    assert answer_with(CHAT, stream, options={"strip_reasoning": True}).text == "好"
