"""An answer is heard while it arrives: what the pieces make together is what the answer says in the end."""

import asyncio

import pytest

from core.outcome import AgentResult
from providers import registry
from providers.base import CallContext
from providers.call import call
from providers.http import client_for
from tests.contract.cases import CASES, MAX_BYTES, Case, endpoint_of, every_stream
from tests.contract.fake_agent import FakeAgent
from tests.contract.fake_dialects import ANSWER, sse
from tests.contract.test_agent_platform import stream_of

#: Where a stream says something else than the answer, which is put together at its end, or read then.
OTHERWISE = {
    "dify-workflow": ANSWER[:3],
    "coze-workflow-streaming": f'正在生成{{"output": "{ANSWER}"}}',
    **dict.fromkeys(("fastgpt-plugin", "langgraph-agent", "langgraph-workflow", "n8n-streaming"), ""),
}


class Listener:
    """What a watcher would see."""

    def __init__(self) -> None:
        self.text = ""
        self.pieces = 0

    def __call__(self, text: str, *, instead: bool = False) -> None:
        self.text = text if instead else self.text + text
        self.pieces += bool(text)


def heard(case: Case, fake: FakeAgent) -> tuple[Listener, AgentResult]:
    listener = Listener()

    async def scene() -> AgentResult:
        async with fake, client_for(endpoint_of(case, fake.url)) as client:
            context = CallContext(client, endpoint_of(case, fake.url), MAX_BYTES, on_text=listener)
            return await call(registry.get(case.provider), context, case.request(fake.url))

    return listener, asyncio.run(scene())


@every_stream
@pytest.mark.parametrize("fault", ["ok", "split"])
def test_what_is_heard_is_what_the_answer_says(case: Case, fault: str) -> None:
    listener, result = heard(case, FakeAgent(fault))

    assert listener.text == OTHERWISE.get(case.name, result.text)


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def test_a_platform_that_takes_its_words_back_is_heard_to_do_so() -> None:
    frames: list[dict[str, object]] = [
        {"event": "message", "answer": "secret "},
        {"event": "message_replace", "answer": "moderated"},
        {"event": "message", "answer": "!"},
        {"event": "message_end", "metadata": {}},
    ]
    answer = stream_of(*(sse("", {"task_id": "t", "conversation_id": "c", **frame}) for frame in frames))

    listener, result = heard(case_of("dify-chat"), FakeAgent(scripted=answer))

    assert (listener.text, listener.pieces) == ("moderated!", 3)
    assert result.text == "moderated!"
