"""Answers and notifications on each kind of database, over real sockets: a model, an SMTP server, an inbox."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import get_settings
from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind
from packs.assistant import ai_tasks as tasks
from packs.assistant import answering, notifying
from packs.assistant.answering import Question
from packs.assistant.notifying import Notification
from packs.task import AnyTask
from providers import anthropic, openai_chat, openai_responses
from providers.base import Endpoint
from tests.integration.engine import Ledger
from tests.packs.conftest import on_sqlite
from tests.packs.mail_server import MailServer, text_of
from tests.packs.model_server import KEY, ModelServer
from tests.packs.pack_ledger import pack_ledger, settings_of

RUN = "0190b6a0-0000-7000-8000-000000000001"


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def ledger(
    packs_url: str, model: ModelServer, mail: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    with (
        pack_ledger(packs_url, "assistant") as ledger,
        settings_of(
            monkeypatch,
            database_url=packs_url,
            agent_api_provider="openai_chat",
            agent_api_base_url=model.url,
            agent_api_key=KEY,
            assistant_agent="model-1",
            email_notify_url=mail.url("{address}"),
            log_dir=tmp_path,
            timezone="Asia/Shanghai",
        ),
    ):
        yield ledger


def generate(message: str = "hello", **more: Any) -> dict[str, Any]:
    answered = tasks.generate_ai_response("conv_1", message, **more)
    assert isinstance(answered, AgentResult)
    data: dict[str, Any] = answered.data
    return data


def test_an_answer_has_what_it_took_and_what_it_cost(ledger: Ledger, model: ModelServer) -> None:
    ledger.sql(
        "INSERT INTO agent_endpoint (name, provider, base_url, input_price, output_price, currency) "
        "VALUES ('default', 'openai_chat', :url, 1000000, 2000000, 'CNY')",
        url=model.url,
    )

    data = generate("how are you", temperature=0.2, max_tokens=50, system_prompt="be brief", user_id="u1")

    assert data["response"] == "heard 2: how are you"
    assert data["tokens"] == {"prompt": 5, "completion": 5, "total": 10}
    assert (data["cost"], data["currency"], data["model"]) == (15.0, "CNY", "model-1")
    assert (data["conversation_id"], data["user_id"], data["status"]) == ("conv_1", "u1", "success")
    assert data["timestamp"].endswith("+08:00")
    (asked,) = model.heard
    assert asked["messages"][0] == {"role": "system", "content": "be brief"}
    assert (asked["temperature"], asked["max_tokens"], asked["user"]) == (0.2, 50, "u1")


def test_a_conversation_is_remembered_and_a_given_history_goes_before_it(ledger: Ledger, model: ModelServer) -> None:
    first = generate("one")
    generate("two")
    generate("three", conversation_history=[{"role": "assistant", "content": "from outside"}])

    said = [[each["content"] for each in asked["messages"]] for asked in model.heard]
    assert first["response"] == "heard 1: one"
    assert said == [["one"], ["one", "heard 1: one", "two"], ["from outside", "three"]]
    assert tasks.generate_ai_response("conv_2", "other").data["response"] == "heard 1: other"


def test_a_run_whose_answer_is_stored_is_not_asked_again(ledger: Ledger, model: ModelServer) -> None:
    question = Question(conversation_id="c", user_message="hello")
    answers = [
        answering.answer(outside(), question, ledger.engine, get_settings(), RUN) for _ in range(2)
    ]  # the second: after a kill between the answer and the end of the run

    assert [answered.text for answered in answers] == ["heard 1: hello"] * 2
    assert answers[1].details == answers[0].details
    assert len(model.heard) == 1
    assert ledger.sql("SELECT role FROM assistant_message ORDER BY id") == [("user",), ("assistant",)]


def outside() -> AnyTask:
    """A task that no worker carries."""
    return tasks.generate_ai_response


@on_sqlite
@pytest.mark.parametrize(("status", "kind"), [(503, ErrorKind.UNAVAILABLE), (429, ErrorKind.THROTTLED)])
def test_a_model_that_fails_is_a_failure_and_remembers_nothing(
    ledger: Ledger, model: ModelServer, status: int, kind: ErrorKind
) -> None:
    model.refuse = status

    with pytest.raises(AgentError) as failed:
        generate()

    assert failed.value.kind is kind
    assert KEY not in str(failed.value)
    assert ledger.value("SELECT count(*) FROM assistant_message") == 0


@on_sqlite
@pytest.mark.parametrize(
    "history",
    [
        ["x"],
        [{"role": "system", "content": "x"}],
        [{"role": "user"}],
        [{"content": "x"}],
        [{"role": "user", "content": 1}],
    ],
)
def test_a_history_of_another_shape_is_refused(ledger: Ledger, history: list[dict[str, Any]]) -> None:
    with pytest.raises(AgentError, match=r"conversation_history\[0\]") as refused:
        generate(conversation_history=history)

    assert refused.value.kind is ErrorKind.INVALID


def test_the_longest_conversation_id_is_kept_and_a_longer_one_is_refused_before_it_costs(
    ledger: Ledger, model: ModelServer
) -> None:
    longest = "会" * 255

    assert tasks.generate_ai_response(longest, "hello").data["conversation_id"] == longest
    for wrong in ({"conversation_id": longest + "x"}, {"user_message": " "}, {"user_id": "u" * 192}):
        with pytest.raises(AgentError) as refused:
            tasks.generate_ai_response(**{"conversation_id": "c", "user_message": "hello", **wrong})
        assert refused.value.kind is ErrorKind.INVALID
    assert len(model.heard) == 1


@on_sqlite
def test_without_an_agent_the_setting_is_named(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSISTANT_AGENT", "")
    get_settings.cache_clear()

    with pytest.raises(AgentError, match="ASSISTANT_AGENT is not set"):
        generate()


def test_every_model_is_shown_what_was_said_before() -> None:
    history = (("user", "one"), ("assistant", "two"))
    request = AgentRequest("agent", "model-1", RUN, 10, message="three", history=history)
    said = [{"role": role, "content": text} for role, text in (*history, ("user", "three"))]

    assert openai_chat._body(request)["messages"] == said
    assert anthropic._body(request)["messages"] == said
    assert openai_responses._body(request)["input"] == said


def test_an_agent_that_is_no_model_is_given_all_in_one_message() -> None:
    question = Question(conversation_id="c", user_message="three", system_prompt="be brief", temperature=0.1)
    history = [("user", "one"), ("assistant", "two")]

    request = answering._request(question, history, Endpoint("e", "dify", "http://x"), "app", RUN)

    assert request.message == "be brief\n\nUser: one\n\nAssistant: two\n\nUser: three"
    assert (request.options, request.history) == ({}, ())
    alone = answering._request(
        Question(conversation_id="c", user_message="three"), [], Endpoint("e", "dify", "http://x"), "app", RUN
    )
    assert alone.message == "three"


# -- notifications ------------------------------------------------------------------------------------


def add_email(ledger: Ledger, *addresses: tuple[str, str]) -> None:
    ledger.sql("INSERT INTO notify_channel (name, url_env) VALUES ('email', 'EMAIL_NOTIFY_URL')")
    for user, address in addresses:
        ledger.sql(
            "INSERT INTO assistant_contact (user_id, channel, address) VALUES (:user, 'email', :address)",
            user=user,
            address=address,
        )


def test_a_mail_reaches_the_address_of_its_user_and_the_inbox_keeps_the_message(
    ledger: Ledger, mail: MailServer
) -> None:
    add_email(ledger, ("u1", "lilei+one@example.com"), ("u2", "two@example.com"))

    result = tasks.send_notification(
        "u1", "report", "日报已生成", "请查看：营收 +15%", data={"n": 1}, channels=["system", "email", "system"]
    )

    assert result["results"] == [{"channel": "system", "status": "sent"}, {"channel": "email", "status": "sent"}]
    assert result["all_success"] is True
    ((to, message),) = mail.mails
    assert to == ["lilei+one@example.com"]
    assert message["Subject"] == "日报已生成"
    assert "请查看：营收 +15%" in text_of(message)
    (kept,) = tasks.list_notifications("u1")["messages"]
    assert (kept["title"], kept["message"], kept["data"]) == ("日报已生成", "请查看：营收 +15%", {"n": 1})
    assert tasks.list_notifications("u2")["messages"] == []
    with pytest.raises(AgentError, match="has no message"):
        tasks.mark_notification_read("u2", kept["id"])
    tasks.mark_notification_read("u1", kept["id"])
    assert tasks.list_notifications("u1")["messages"] == []
    assert [each["id"] for each in tasks.list_notifications("u1", unread_only=False)["messages"]] == [kept["id"]]
    assert tasks.list_notifications("u1", unread_only=False, before=kept["id"])["messages"] == []


def test_a_user_whose_name_is_nearly_the_same_reads_no_others_messages(ledger: Ledger) -> None:
    tasks.send_notification("Zoe", "a", "for Zoe", "m")
    generate("secret")

    assert tasks.list_notifications("zoe")["messages"] == tasks.list_notifications("Zoë")["messages"] == []
    assert tasks.generate_ai_response("Conv_1", "what did I say").data["response"] == "heard 1: what did I say"


@on_sqlite
def test_a_title_with_lines_adds_no_header_and_no_recipient(ledger: Ledger, mail: MailServer) -> None:
    add_email(ledger, ("u1", "one@example.com"))

    tasks.send_notification("u1", "a", "日报\r\nBcc: evil@example.com\r\n\r\nbody", "m", channels=["email"])

    ((to, message),) = mail.mails
    assert to == ["one@example.com"]
    assert message["Bcc"] is None
    assert message["Subject"] == "日报 Bcc: evil@example.com body"


def test_a_channel_that_fails_is_tried_again_alone(ledger: Ledger, mail: MailServer) -> None:
    add_email(ledger, ("u1", "one@example.com"))
    note, channels = Notification("u1", "report", "t", "m"), ["system", "email"]
    mail.refuses = True
    first = notifying.tell(note, channels, ledger.engine, get_settings(), RUN)
    mail.refuses = False

    second = notifying.tell(note, channels, ledger.engine, get_settings(), RUN)
    third = notifying.tell(note, channels, ledger.engine, get_settings(), RUN)

    assert [each["status"] for each in first] == ["sent", "failed"]
    assert [each["status"] for each in second + third] == ["sent"] * 4
    assert len(mail.mails) == 1
    assert ledger.value("SELECT count(*) FROM assistant_inbox") == 1


@on_sqlite
@pytest.mark.parametrize(
    ("channels", "why", "kind"),
    [
        (["pigeon"], "unknown channel 'pigeon'; use email, push, sms, system", ErrorKind.INVALID),
        ([], "no channel", ErrorKind.INVALID),
        (["sms"], "'sms' is not set up: python -m scripts.channels add sms", ErrorKind.CONFIG),
        (["email"], "user 'u9' has no address for 'email'", ErrorKind.CONFIG),
    ],
)
def test_what_cannot_be_told_is_a_failure_that_says_what_to_enter(
    ledger: Ledger, channels: list[str], why: str, kind: ErrorKind
) -> None:
    add_email(ledger)

    with pytest.raises(AgentError, match=why) as failed:
        tasks.send_notification("u9", "report", "t", "m", channels=channels)

    assert failed.value.kind is kind


@on_sqlite
def test_a_mail_server_that_is_away_is_unavailable(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    add_email(ledger, ("u1", "one@example.com"))
    monkeypatch.setenv("EMAIL_NOTIFY_URL", "mailto://sekret:hunter22@127.0.0.1:1?from=a@b.com&to={address}")

    with pytest.raises(AgentError) as failed:
        tasks.send_notification("u1", "report", "t", "m", channels=["email"])

    assert failed.value.kind is ErrorKind.UNAVAILABLE
    assert "hunter22" not in str(failed.value)


# -- upkeep -------------------------------------------------------------------------------------------


def test_the_clean_up_deletes_what_is_old_and_counts_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    generate("new")
    tasks.send_notification("u1", "a", "unread and old", "m")
    tasks.send_notification("u1", "a", "read and old", "m")
    ledger.sql("UPDATE assistant_inbox SET create_time = '2020-01-01 00:00:00.000000'")
    ledger.sql("UPDATE assistant_inbox SET read_time = create_time WHERE title = 'read and old'")
    generate("old")
    ledger.sql("UPDATE assistant_message SET create_time = '2020-01-01 00:00:00.000000' WHERE content LIKE '%old'")

    result = tasks.cleanup_expired_results()

    assert result["cleaned"]["conversation_messages"] == 2
    assert result["cleaned"]["inbox_messages"] == 1
    assert result["cleaned_count"] == 3
    assert ledger.sql("SELECT title FROM assistant_inbox") == [("unread and old",)]
    assert [row.content for row in ledger.sql("SELECT content FROM assistant_message ORDER BY id")] == [
        "new",
        "heard 1: new",
    ]
    monkeypatch.setenv("RUN_RETENTION_DAYS", "0")
    get_settings.cache_clear()
    assert tasks.cleanup_expired_results()["cleaned_count"] == 0


@on_sqlite
def test_the_health_check_names_what_is_wrong(ledger: Ledger) -> None:
    found = tasks.check_task_health()

    assert found["status"] == "unhealthy"
    assert any(problem.startswith("broker: ") for problem in found["problems"])
    assert found["checks"]["database"]["status"] == "healthy"
