"""The knowledge base on each kind of database: what was put in is found, and nobody sees a half."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from config import get_settings
from core.outcome import AgentError, ErrorKind
from packs.assistant import knowledge_tasks as tasks
from packs.assistant import store
from packs.assistant.embeddings import LocalModel, _normal
from packs.assistant.knowledge import Changes, KnowledgeBases, Wanted
from providers.embeddings import _vectors
from store.database import transaction
from tests.integration.engine import Ledger
from tests.packs import library
from tests.packs.conftest import on_sqlite
from tests.packs.model_server import KEY, ModelServer
from tests.packs.pack_ledger import pack_ledger, settings_of


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    return tmp_path / "knowledge"


@pytest.fixture
def ledger(packs_url: str, roots: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    with (
        pack_ledger(packs_url, "assistant") as ledger,
        settings_of(monkeypatch, database_url=packs_url, knowledge_roots=roots, timezone="UTC"),
    ):
        yield ledger


def fill(roots: Path, base: str = "office") -> dict[str, Path]:
    return library.write_all(roots / base)


def search(query: str, base: str = "office") -> list[tuple[str, str]]:
    found = tasks.search_knowledge(query=query, knowledge_base_id=base, limit=1)["results"]
    return [(each["document_id"], each["text"]) for each in found]


def test_what_was_vectorised_is_found_by_its_meaning_in_both_languages(ledger: Ledger, roots: Path) -> None:
    for kind, file in fill(roots).items():
        made = tasks.vectorize_document(kind, str(file), knowledge_base_id="office", user_id="u1")
        assert (made["status"], made["document_id"], made["vectors_stored"]) == ("success", kind, 1)

    found = {
        query: search(query)[0][0]
        for query in (
            "怎么请假",
            "How much did Moutai earn?",
            "pork recipe",
            "I forgot my login credentials",
            "When must the refrigerator be empty?",
        )
    }

    assert list(found.values()) == ["text", "pdf", "html", "docx", "markdown"]
    assert library.LEAVE in search("怎么请假")[0][1]


def test_a_document_that_changed_is_found_as_it_is_now_and_only_once(ledger: Ledger, roots: Path) -> None:
    file = fill(roots)["text"]
    tasks.vectorize_document("d", str(file), knowledge_base_id="office")
    file.write_text(library.PASSWORD)

    tasks.vectorize_document("d", str(file), knowledge_base_id="office")

    found = tasks.search_knowledge(query="怎么请假", knowledge_base_id="office")["results"]
    assert [each["text"] for each in found] == [library.PASSWORD]


@on_sqlite
def test_long_documents_become_many_chunks_and_the_right_one_is_found(ledger: Ledger, roots: Path) -> None:
    roots.mkdir()
    others = [f"第{number}条：每月{number}日前提交报销单据，逾期不予受理。" for number in range(1, 13)]
    (roots / "handbook.txt").write_text("\n\n".join([*others[:6], library.LEAVE, *others[6:]]))

    made = tasks.vectorize_document("handbook", "handbook.txt", chunk_size=48, chunk_overlap=0)

    assert made["total_chunks"] > 5
    assert made["knowledge_base_id"] == "default"
    assert library.LEAVE[:12] in search("病假要什么证明", "default")[0][1]


def test_an_update_takes_in_the_folder_and_follows_its_files(ledger: Ledger, roots: Path) -> None:
    files = fill(roots)
    first = tasks.update_knowledge_base("office", "incremental")
    files["text"].write_text(library.PASSWORD)
    files["html"].unlink()
    (roots / "office" / "new.md").write_text("红茶用九十五度的水冲泡。")

    second = tasks.update_knowledge_base("office", "incremental")

    assert first["added"] == sorted(file.name for file in files.values())
    assert (second["added"], second["updated"], second["removed"]) == (["new.md"], ["leave.txt"], ["pork.html"])
    assert second["unchanged"] == 3
    assert search("how to brew black tea")[0][0] == "new.md"
    assert "pork.html" not in {row.document_id for row in ledger.sql("SELECT document_id FROM knowledge_document")}


@on_sqlite
def test_a_full_update_makes_all_anew_and_names_what_it_could_not_read(ledger: Ledger, roots: Path) -> None:
    files = fill(roots)
    tasks.update_knowledge_base("office", "full")
    files["pdf"].write_bytes(b"%PDF-1.7 cut")
    before = {row.document_id: row.id for row in ledger.sql("SELECT document_id, id FROM knowledge_document")}

    result = tasks.update_knowledge_base("office", "full")

    after = {row.document_id: row.id for row in ledger.sql("SELECT document_id, id FROM knowledge_document")}
    assert result["status"] == "partial"
    assert [failed["document_id"] for failed in result["failed"]] == ["moutai.pdf"]
    assert "no PDF, or broken" in result["failed"][0]["error"]
    assert {name for name in after if after[name] == before[name]} == {"moutai.pdf"}  # what it said before stays


@on_sqlite
def test_named_documents_are_updated_alone(ledger: Ledger, roots: Path) -> None:
    files = fill(roots)
    tasks.update_knowledge_base("office", "full")
    for kind in ("text", "markdown"):
        files[kind].write_text(library.PASSWORD)

    result = tasks.update_knowledge_base("office", "incremental", document_ids=["leave.txt"])

    assert (result["updated"], result["unchanged"]) == (["leave.txt"], 0)
    with pytest.raises(AgentError, match=r"nobody\.txt are not in knowledge base"):
        tasks.update_knowledge_base("office", document_ids=["nobody.txt"])


def test_a_rebuild_switches_over_when_it_is_whole(ledger: Ledger, roots: Path) -> None:
    files = fill(roots)
    tasks.update_knowledge_base("office", "full")
    files["text"].write_text(library.PASSWORD)

    result = tasks.update_knowledge_base("office", "rebuild")

    assert (result["generation"], len(result["updated"])) == (2, 5)
    assert ledger.sql("SELECT DISTINCT generation FROM knowledge_document") == [(2,)]
    assert ledger.value("SELECT count(*) FROM knowledge_chunk") == 5
    assert search("reset a password")[0][0] in ("leave.txt", "password.docx")


@on_sqlite
def test_a_rebuild_that_cannot_read_a_document_leaves_the_old_vectors_in_use(ledger: Ledger, roots: Path) -> None:
    files = fill(roots)
    tasks.update_knowledge_base("office", "full")
    files["pdf"].write_bytes(b"%PDF-1.7 cut")

    with pytest.raises(AgentError, match="its old vectors stay in use") as failed:
        tasks.update_knowledge_base("office", "rebuild")

    assert failed.value.kind is ErrorKind.INVALID
    assert search("How much did Moutai earn?")[0][0] == "moutai.pdf"


class Stops:
    """A model that is stopped at its second document, and what is done just before."""

    def __init__(self, meanwhile: Callable[[], Any] = lambda: None, error: type[BaseException] | None = None) -> None:
        self._model, self._left = LocalModel(), 1
        self.name, self._meanwhile, self._error = self._model.name, meanwhile, error

    def documents(self, texts: Any, run_id: str) -> list[bytes]:
        if self._left == 0:
            self._meanwhile()
            if self._error is not None:
                raise self._error
        self._left -= 1
        return self._model.documents(texts, run_id)

    def query(self, text: str, run_id: str) -> bytes:
        return self._model.query(text, run_id)


def bases(ledger: Ledger, roots: Path, model: Any = None) -> KnowledgeBases:
    return KnowledgeBases(ledger.engine, [roots], model or LocalModel(), "run")


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded, KeyboardInterrupt])
def test_a_rebuild_that_is_stopped_is_not_seen_and_goes_on_where_it_was(
    ledger: Ledger, roots: Path, error: type[BaseException]
) -> None:
    fill(roots)
    tasks.update_knowledge_base("office", "full")
    with pytest.raises(error):
        bases(ledger, roots, Stops(error=error)).rebuild("office", lambda *_: None, Changes())
    seen = search("怎么请假")

    changes = Changes()
    generation = bases(ledger, roots).rebuild("office", lambda *_: None, changes)

    assert seen[0][0] == "leave.txt"
    assert (generation, len(changes.updated)) == (2, 4)  # of five: one was done
    assert ledger.value("SELECT count(*) FROM knowledge_document") == 5


@on_sqlite
def test_an_update_that_reaches_its_soft_limit_fails_and_keeps_what_is_done(
    ledger: Ledger, roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(roots)
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "model_of", lambda _: Stops(error=SoftTimeLimitExceeded))
        with pytest.raises(AgentError, match="1 documents done, which stay so") as stopped:
            tasks.update_knowledge_base("office", "full")

    result = tasks.update_knowledge_base("office", "incremental")

    assert stopped.value.kind is ErrorKind.TIMEOUT
    assert (result["unchanged"], len(result["added"])) == (1, 4)


def test_what_comes_and_goes_during_a_rebuild_is_taken_along(ledger: Ledger, roots: Path) -> None:
    files = fill(roots, "source")
    for kind in ("text", "markdown", "docx"):
        tasks.vectorize_document(kind, str(files[kind]), knowledge_base_id="office")

    def meanwhile() -> None:
        bases(ledger, roots).put("office", Wanted("html", str(files["html"])), lambda *_: None)
        bases(ledger, roots).remove("office", "docx")

    bases(ledger, roots, Stops(meanwhile)).rebuild("office", lambda *_: None, Changes())

    rows = ledger.sql("SELECT document_id, generation FROM knowledge_document ORDER BY document_id")
    assert rows == [("html", 2), ("markdown", 2), ("text", 2)]


def test_a_document_that_is_taken_out_during_an_update_stays_out(ledger: Ledger, roots: Path) -> None:
    files = fill(roots, "source")
    for kind in ("text", "markdown"):
        tasks.vectorize_document(kind, str(files[kind]), knowledge_base_id="office")
    files["text"].write_text(library.PASSWORD)
    files["markdown"].write_text(library.PASSWORD)
    stops, changes = Stops(lambda: bases(ledger, roots).remove("office", "text")), Changes()

    bases(ledger, roots, stops).update("office", None, lambda *_: None, changes, None)

    assert (changes.updated, changes.removed) == (["markdown"], ["text"])
    assert ledger.sql("SELECT document_id FROM knowledge_document") == [("markdown",)]


@pytest.mark.parametrize("change", ["rebuild", "put"])
def test_a_search_that_a_change_overtakes_finds_what_is_there_now(
    ledger: Ledger, roots: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    file = fill(roots)["text"]
    tasks.update_knowledge_base("office", "full", document_ids=["leave.txt"])
    read, done = store.vectors, list[str]()

    def overtaken(*given: Any) -> Any:
        found = list(read(*given)) if change == "put" else None
        if not done:
            done.append(change)
            file.write_text(f"{library.LEAVE} 2026")
            if change == "put":
                tasks.vectorize_document("leave.txt", str(file), knowledge_base_id="office")
            else:
                tasks.update_knowledge_base("office", "rebuild")
        return read(*given) if found is None else found

    monkeypatch.setattr(store, "vectors", overtaken)

    assert search("怎么请假") == [("leave.txt", f"{library.LEAVE} 2026")]


def test_names_that_differ_in_case_or_accent_only_are_different_names(ledger: Ledger, roots: Path) -> None:
    roots.mkdir()
    texts = {"Zoe": library.LEAVE, "zoe": library.KITCHEN, "zoë": library.PASSWORD}
    for name, text in texts.items():
        (roots / "d.txt").write_text(text)
        tasks.vectorize_document(name, "d.txt", user_id=7)

    found = tasks.search_knowledge(query="password")["results"]

    assert {each["document_id"]: each["text"] for each in found} == texts


def test_a_document_that_is_stopped_in_the_middle_says_what_it_said_before(ledger: Ledger, roots: Path) -> None:
    roots.mkdir()
    file = roots / "d.txt"
    file.write_text(library.LEAVE)
    tasks.vectorize_document("d", "d.txt")
    file.write_text("\n\n".join(library.PASSWORD for _ in range(20)))

    with pytest.raises(KeyboardInterrupt):
        bases(ledger, roots, Stops(error=KeyboardInterrupt)).put(
            "default", Wanted("d", "d.txt", 32, 0), lambda *_: None
        )

    found = tasks.search_knowledge(query="password")["results"]
    assert [each["text"] for each in found] == [library.LEAVE]


def test_deleting_takes_a_document_out_and_says_how_much_it_was(ledger: Ledger, roots: Path) -> None:
    files = fill(roots)
    tasks.update_knowledge_base("office", "full")

    deleted = tasks.delete_knowledge_vectors("leave.txt", knowledge_base_id="office")
    again = tasks.delete_knowledge_vectors("leave.txt", knowledge_base_id="office")

    assert (deleted["deleted_count"], again["deleted_count"]) == (1, 0)
    assert search("怎么请假")[0][0] != "leave.txt"
    assert files["text"].exists()


@on_sqlite
def test_an_endpoint_makes_the_vectors_where_one_is_set(
    ledger: Ledger, roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots.mkdir()
    (roots / "a.txt").write_text("aaa aaa aaa")
    (roots / "b.txt").write_text("bbb bbb bbb")
    with ModelServer() as server:
        for name, value in {
            "AGENT_API_BASE_URL": server.url,
            "AGENT_API_KEY": KEY,
            "AGENT_API_PROVIDER": "openai_chat",
            "EMBEDDING_ENDPOINT": "default",
            "EMBEDDING_MODEL": "letters",
        }.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        for name in ("a", "b"):
            tasks.vectorize_document(name, f"{name}.txt")

        assert search("bb", "default") == [("b", "bbb bbb bbb")]

        assert {(asked["path"], asked["model"], asked["key"]) for asked in server.heard} == {
            ("/v1/embeddings", "letters", f"Bearer {KEY}")
        }
        server.refuse = 503
        with pytest.raises(AgentError) as failed:
            tasks.vectorize_document("a", "a.txt")
        assert failed.value.kind is ErrorKind.UNAVAILABLE
        assert KEY not in str(failed.value)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{"embedding": []}],
        [{"embedding": [1, "2"]}],
        [{"embedding": [1, float("nan")]}],
        [{"embedding": [1, 10**400]}],
        [{"embedding": [1, 1e39]}],  # infinite in single precision
        [{"embedding": [1, 2], "index": [0]}],
        [{"embedding": [1, 2], "index": 1}],
        [{"embedding": [1, 2]}, {"embedding": [1, 2]}],
    ],
)
def test_an_answer_without_usable_vectors_is_refused(entries: list[Any]) -> None:
    with pytest.raises(AgentError) as refused:
        _vectors({"data": entries}, 1, "http://x")

    assert refused.value.kind is ErrorKind.PROTOCOL


@pytest.mark.parametrize("vector", [[0.0, 0.0], [1.0, float("nan")], [float("inf"), 1.0]])
def test_a_vector_without_a_direction_is_refused(vector: list[float]) -> None:
    with pytest.raises(AgentError, match="without a direction"):
        _normal(vector)


@on_sqlite
def test_vectors_of_another_length_are_told_and_not_compared(ledger: Ledger, roots: Path) -> None:
    roots.mkdir()
    (roots / "a.txt").write_text(library.LEAVE)
    tasks.vectorize_document("a", "a.txt")
    ledger.sql("UPDATE knowledge_chunk SET vector = :short", short=b"\0" * 16)

    with pytest.raises(AgentError, match="another length") as refused:
        search("怎么请假", "default")

    assert refused.value.kind is ErrorKind.CONFIG


def test_vectors_of_another_model_are_never_compared(ledger: Ledger, roots: Path) -> None:
    fill(roots)
    tasks.update_knowledge_base("office", "full")
    ledger.sql("UPDATE knowledge_base SET model = 'an older one'")

    for call in (
        lambda: search("怎么请假"),
        lambda: tasks.vectorize_document("d", "office/leave.txt", knowledge_base_id="office"),
        lambda: tasks.update_knowledge_base("office", "incremental"),
    ):
        with pytest.raises(AgentError, match="'rebuild'"):
            call()
    tasks.update_knowledge_base("office", "rebuild")

    assert search("怎么请假")[0][0] == "leave.txt"


def test_a_search_reads_all_vectors_some_thousand_at_a_time(ledger: Ledger, roots: Path) -> None:
    roots.mkdir()
    (roots / "a.txt").write_text(library.LEAVE)
    tasks.vectorize_document("a", "a.txt")
    far = LocalModel().documents([library.KITCHEN], "run")[0]
    with transaction(ledger.engine) as tx:
        base = store.enter_base(tx, "default", LocalModel().name)
        many = store.NewDocument("default", "b", "b", "", base.model, 64, 0, None, ["far"] * 4500, [far] * 4500)
        store.replace_document(tx, base.generation, many)

    assert search("怎么请假", "default")[0][0] == "a"


@on_sqlite
@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: tasks.vectorize_document("d", "/etc/passwd"), "no file under KNOWLEDGE_ROOTS"),
        (lambda: tasks.vectorize_document("d", "office/leave.txt", chunk_size=1), "chunk_size is 1"),
        (lambda: tasks.vectorize_document("d", "office/leave.txt", chunk_size="512"), "chunk_size is '512'"),
        (lambda: tasks.vectorize_document("d", "office/leave.txt", user_id="u" * 192), "user_id 191"),
        (lambda: tasks.vectorize_document("../d", "office/leave.txt"), "is no id"),
        (lambda: tasks.update_knowledge_base("../..", "full"), "is no id"),
        (lambda: tasks.update_knowledge_base("office", "everything"), "use full, incremental, rebuild"),
        (lambda: tasks.search_knowledge(query=" "), "query must say something"),
        (lambda: tasks.search_knowledge(query="x", knowledge_base_id="none"), "there is no knowledge base 'none'"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_for_good(
    ledger: Ledger, roots: Path, call: Callable[[], Any], why: str
) -> None:
    fill(roots)

    with pytest.raises(AgentError, match=why) as refused:
        call()

    assert not refused.value.kind.retryable
