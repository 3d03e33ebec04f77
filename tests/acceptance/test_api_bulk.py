"""Many tasks at once: bulk changes and their undo, files in and out."""

import csv
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from tests.acceptance.api_process import Api, served
from tests.acceptance.task_api import WHAT, as_operator, audit, emptied, made, rows
from tests.conftest import DATABASES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BULK = "/api/v2/bulk-changes"
TASKS = "/api/v2/tasks"
SYSTEMS = ("update_time", "update_by", "armed_for", "next_run_at")


@pytest.fixture(scope="module", params=DATABASES)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    yield from served(request, tmp_path_factory)


@pytest.fixture
def api(shared: Api) -> Api:
    return emptied(shared)


@pytest.fixture
def operator(api: Api) -> Iterator[httpx.Client]:
    with as_operator(api) as client:
        client.timeout = httpx.Timeout(200)
        yield client


def own(api: Api) -> dict[str, dict[str, Any]]:
    """What operators own of every row."""
    return {name: {k: v for k, v in row.items() if k not in SYSTEMS} for name, row in rows(api).items()}


def herd(api: Api, count: int) -> None:
    """Rows that differ in every way a bulk change can meet."""
    api.stack.insert_many(
        [
            {
                "name": f"任务 {number}",
                "crontab": f"{number % 60} {number % 24} * * *" if number % 2 else None,
                "interval_seconds": None if number % 2 else 60 + number,
                "owner": ("ann", "bob", None)[number % 3],
                "tags": (None, "news, x", "newsletter")[number % 3],
                "task_extra_config": '{"task_type": "agent",  "agent_id": "a", "message": "第 N 条"}'.replace(
                    "N", str(number)
                ),
            }
            for number in range(count)
        ]
    )


def test_ten_thousand_rows_are_edited_and_undone_exactly(api: Api, operator: httpx.Client) -> None:
    count = 10_000 if api.stack.engine.dialect.name != "sqlite" else 1_000
    herd(api, count)
    before = own(api)
    order = {
        "select": {"everything": True},
        "change": {
            "timezone": "Europe/Berlin",
            "tags": "bulk",
            "rrule": "FREQ=HOURLY",
            "start_time": "2026-01-01 00:00",
        },
        "config": {"queue": "system", "timeout": 5},
    }

    counted = operator.post(BULK, json=order | {"dry_run": True})
    assert (counted.status_code, counted.json()["changed"], counted.json()["id"]) == (200, count, None)
    assert own(api) == before
    changed = operator.post(BULK, json=order).json()
    assert (changed["changed"], changed["left"]) == (count, 0)
    after = own(api)
    assert {(row["timezone"], row["crontab"], row["interval_seconds"], row["tags"]) for row in after.values()} == {
        ("Europe/Berlin", None, None, "bulk")
    }
    undone = operator.post(f"{BULK}/{changed['id']}/undo").json()

    assert (undone["changed"], undone["left"]) == (count, 0)
    assert own(api) == before
    assert api.stack.count("SELECT count(*) FROM audit_log WHERE action = 'task.undo'") == count
    assert operator.post(f"{BULK}/{changed['id']}/undo").status_code == 409
    (listed,) = api.viewer.get(BULK).json()["items"]
    assert (listed["changed"], listed["undone_by"], listed["change"]["timezone"]) == (
        count, "API_TOKENS entry 2", "Europe/Berlin",
    )  # fmt: skip


def test_undo_leaves_alone_what_was_edited_or_deleted_meanwhile(api: Api, operator: httpx.Client) -> None:
    for name in ("kept", "edited", "other column", "gone"):
        made(operator, name, tags="old")
    change = operator.post(BULK, json={"select": {"tag": "old"}, "change": {"tags": "new", "owner": "ann"}}).json()
    api.stack.sql("UPDATE periodic_task SET tags = 'mine' WHERE name = 'edited'")
    api.stack.sql("UPDATE periodic_task SET description = 'mine' WHERE name = 'other column'")
    api.stack.sql("DELETE FROM periodic_task WHERE name = 'gone'")

    undone = operator.post(f"{BULK}/{change['id']}/undo").json()

    assert {name: row["tags"] for name, row in own(api).items()} == {
        "kept": "old", "edited": "mine", "other column": "old",
    }  # fmt: skip
    assert own(api)["other column"]["description"] == "mine"
    assert {each["reason"] for each in undone["left_tasks"]} == {"edited since: tags", "it was deleted since"}


def test_undo_takes_no_column_out_of_a_newer_edit(api: Api, operator: httpx.Client) -> None:
    """An edit that brings one column back to what it was stands as a whole."""
    found = made(operator, tags="old", owner="bob")
    change = operator.post(BULK, json={"select": {"tag": "old"}, "change": {"tags": "new", "owner": "ann"}}).json()
    assert operator.patch(f"{TASKS}/{found['id']}", json={"tags": "old"}).status_code == 200

    undone = operator.post(f"{BULK}/{change['id']}/undo").json()

    assert (undone["changed"], undone["left_tasks"][0]["reason"]) == (0, "edited since: tags")
    assert (own(api)["report"]["tags"], own(api)["report"]["owner"]) == ("old", "ann")


def test_a_bulk_change_hides_secrets_and_never_writes_their_stars(api: Api, operator: httpx.Client) -> None:
    made(operator, task_extra_config={"task_type": "workflow", "workflow_id": "w", "inputs": {"api_key": "hush-hush"}})
    sent = {"select": {"everything": True}, "config": {"inputs": {"api_key": "***", "seed": 2}}}

    assert operator.post(BULK, json=sent).json()["changed"] == 1
    stored = json.loads(own(api)["report"]["task_extra_config"])
    assert stored["inputs"] == {"api_key": "hush-hush", "seed": 2}
    unknown = {"select": {"everything": True}, "config": {"inputs": {"token": "***"}}}
    assert "write the secret itself" in operator.post(BULK, json=unknown).json()["left_tasks"][0]["reason"]
    config = {"task_type": "http", "url": "https://example.org/", "headers": {"X-Own": "hush-hush"}}
    as_text = {"select": {"everything": True}, "change": {"task_extra_config": json.dumps(config)}}
    assert operator.post(BULK, json=as_text).status_code == 201
    listed = api.viewer.get(BULK)
    assert "hush" not in listed.text
    assert listed.json()["items"][0]["change"]["task_extra_config"]["headers"] == {"X-Own": "***"}


@pytest.mark.parametrize(
    "part", ['"config": {"message": "\\ud800"}', '"change": {"task_extra_config": {"a": "\\ud800"}}']
)
def test_half_a_character_is_refused_before_anything_is_changed(api: Api, operator: httpx.Client, part: str) -> None:
    made(operator)
    body = f'{{"select": {{"everything": true}}, {part}}}'

    answer = operator.post(BULK, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422, answer.text
    assert api.stack.count("SELECT count(*) FROM bulk_change") == 0


def test_a_refusal_names_fifty_errors_and_counts_the_rest(api: Api, operator: httpx.Client) -> None:
    answer = operator.post(BULK, json={"select": {"ids": [0] * 200}, "change": {"tags": "x"}})

    assert (answer.status_code, len(answer.json()["errors"])) == (422, 50)
    assert answer.json()["detail"].endswith("and 150 more")


def test_a_change_that_would_break_a_row_leaves_it_alone_and_names_it(api: Api, operator: httpx.Client) -> None:
    made(operator, "sound")
    made(operator, "cannot", crontab=None, run_at="2026-03-29 02:30:00", timezone="UTC")
    order = {"select": {"everything": True}, "change": {"timezone": "Europe/Berlin", "dst_policy": "skip"}}

    done = operator.post(BULK, json=order).json()

    assert (done["changed"], done["left"]) == (1, 1)
    assert done["left_tasks"][0]["name"] == "cannot"
    assert "does not come in Europe/Berlin" in done["left_tasks"][0]["reason"]
    assert own(api)["cannot"]["timezone"] == "UTC"


@pytest.mark.parametrize(
    "order",
    [
        {"select": {}, "change": {"tags": "x"}},
        {"select": {"owner": "ann"}},
        {"select": {"owner": "ann"}, "change": {"name": "x"}},
        {"select": {"onwer": "ann"}, "change": {"tags": "x"}},
        {"select": {"ids": [0]}, "change": {"tags": "x"}},
    ],
)
def test_a_bulk_change_without_a_selection_or_a_change_is_refused(
    api: Api, operator: httpx.Client, order: dict[str, Any]
) -> None:
    made(operator)

    assert operator.post(BULK, json=order).status_code == 422
    assert own(api)["report"]["tags"] is None


def test_only_the_selected_rows_are_changed(api: Api, operator: httpx.Client) -> None:
    ids = [made(operator, f"t{number}", owner="ann", tags="a")["id"] for number in range(4)]
    made(operator, "bystander", owner="bob")

    operator.post(
        BULK, json={"select": {"ids": ids[:3], "tag": "a"}, "change": {"enabled": False, "pause_reason": "x"}}
    )

    assert {name for name, row in own(api).items() if not row["enabled"]} == {"t0", "t1", "t2"}
    assert audit(api)[0]["change_set"] is not None


def test_ten_thousand_ids_of_any_length_are_a_selection(api: Api, operator: httpx.Client) -> None:
    mine = made(operator)["id"]
    ids = [mine, *range(2**63 - 9_999, 2**63)]

    answer = operator.post(BULK, json={"select": {"ids": ids}, "change": {"owner": "ann"}})

    assert (answer.status_code, answer.json()["changed"]) == (201, 1)
    kept = operator.get(BULK).json()["items"][0]["selection"]["ids"]
    assert kept == f"10,000 ids from {mine} to {2**63 - 1}"  # so many are told in words: the table has them one by one


def test_rows_that_somebody_holds_are_left_and_named(api: Api, operator: httpx.Client) -> None:
    if api.stack.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no row locks")
    made(operator, "held")
    with api.stack.engine.connect() as other:
        other.exec_driver_sql("START TRANSACTION")
        other.exec_driver_sql("UPDATE periodic_task SET owner = 'x'")
        done = operator.post(BULK, json={"select": {"everything": True}, "change": {"tags": "x"}}).json()
        other.exec_driver_sql("ROLLBACK")

    assert (done["changed"], done["left"]) == (0, 1)
    assert "another session" in done["left_tasks"][0]["reason"]


# -- files --------------------------------------------------------------------------------------------

ODD = (
    {"name": "=cmd|' /C calc'!A0", "description": "", "tags": "- x", "owner": '"quoted"'},
    {"name": "多行", "description": "a\nb\r\n\tc: d # e", "pause_reason": r"\e", "enabled": False},
    {"name": "yes", "owner": "null", "tags": "1_000", "description": "@daily, 010"},
    {"name": "rule", "crontab": None, "rrule": "DTSTART:20260101T090000\nRRULE:FREQ=DAILY", "max_runs": 3},
    {"name": "once", "crontab": None, "run_at": "2027-01-01 09:00:00.250000", "jitter_seconds": 7},
)


@pytest.mark.parametrize(("name", "kind"), [("yaml", "application/yaml"), ("csv", "text/csv")])
def test_what_is_exported_comes_back_as_it_was(api: Api, operator: httpx.Client, name: str, kind: str) -> None:
    for columns in ODD:
        made(operator, **columns)
    inputs = {"on": "off", "n": 1.5, "l": [None, True, "0"], "d": "2026-01-01"}
    made(operator, "config", task_extra_config={"task_type": "workflow", "workflow_id": "w", "inputs": inputs})
    unlike = ("id", "create_time", *SYSTEMS)
    before = {key: {k: v for k, v in row.items() if k not in unlike} for key, row in rows(api).items()}
    exported = api.viewer.get(f"{TASKS}/export?format={name}")
    assert exported.headers["content-type"].startswith(kind)
    file: dict[str, Any] = {"content": exported.content, "headers": {"Content-Type": kind}}

    same = operator.post(f"{TASKS}/import?update=true", **file).json()
    api.stack.sql("UPDATE periodic_task SET owner = 'x', tags = NULL, jitter_seconds = 1")
    mended = operator.post(f"{TASKS}/import?update=true", **file).json()
    api.stack.sql("DELETE FROM periodic_task")
    dry = operator.post(f"{TASKS}/import?dry_run=true", **file).json()
    assert rows(api) == {}
    created = operator.post(f"{TASKS}/import", **file).json()

    count = len(ODD) + 1
    assert same == {"created": 0, "updated": 0, "unchanged": count}
    assert mended["updated"] == count
    assert dry == created == {"created": count, "updated": 0, "unchanged": 0}
    assert {key: {k: v for k, v in row.items() if k not in unlike} for key, row in rows(api).items()} == before


def test_no_cell_of_an_exported_csv_is_a_formula(api: Api, operator: httpx.Client) -> None:
    made(operator, "=1+1", owner="@SUM(A1)", tags="+x", description="-2")

    text = api.viewer.get(f"{TASKS}/export?format=csv").text

    cells = [cell for line in list(csv.reader(io.StringIO(text)))[1:] for cell in line]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []


def test_an_import_is_all_or_nothing_and_names_every_wrong_task(api: Api, operator: httpx.Client) -> None:
    entries = [{"name": "good", "crontab": "0 9 * * *", "task_extra_config": WHAT}, {"name": "bad", "crontab": "x"}, {}]
    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(entries, out)

    answer = operator.post(
        f"{TASKS}/import", content=out.getvalue().encode(), headers={"Content-Type": "application/yaml"}
    )

    assert answer.status_code == 422
    fields = [problem["field"] for problem in answer.json()["errors"]]
    assert any(field.startswith("task 2: crontab") for field in fields)
    assert "task 3: name" in fields
    assert rows(api) == {}


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("- a: &a [1]\n  b: *a", "application/yaml", "aliases"),
        ("!!python/object/apply:os.system ['true']", "application/yaml", "no YAML"),
        ("- {a: 1, a: 2}", "application/yaml", "duplicate"),
        ("- !!bool foo", "application/yaml", "no YAML"),
        ("- !!int ''", "application/yaml", "no YAML"),
        ("name: x", "application/yaml", "no list"),
        ("- x", "application/yaml", "no task"),
        ("\xff", "application/yaml", "UTF-8"),
        ("", "text/csv", "first line"),
        ("name,nmae\na,b", "text/csv", "nmae"),
        ("name,crontab\na", "text/csv", "cells"),
        ('name\n"a', "text/csv", "no CSV"),
        ("[" * 5000, "application/yaml", "no YAML"),
        ("name\n" + "a\n" * 10_001, "text/csv", "more than 10,000"),
        ("{}", "application/json", "Content-Type"),
    ],
)
def test_a_file_that_is_none_is_refused_in_plain_words(
    api: Api, operator: httpx.Client, text: str, kind: str, told: str
) -> None:
    answer = operator.post(f"{TASKS}/import", content=text.encode("latin-1"), headers={"Content-Type": kind})

    assert answer.status_code in (415, 422), answer.text
    assert told in answer.json()["detail"]


def test_fires_go_on_while_a_bulk_change_works(api: Api, operator: httpx.Client) -> None:
    """Its transactions are short: a row that it does not touch now is edited meanwhile."""
    if api.stack.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    herd(api, 3000)
    made(operator, "bystander")
    order = {"select": {"name_prefix": "任务"}, "config": {"timeout": 9}}
    results: list[int] = []
    worker = threading.Thread(target=lambda: results.append(operator.post(BULK, json=order).status_code))
    worker.start()
    with as_operator(api) as other:
        (bystander,) = other.get(f"{TASKS}?name_prefix=bystander").json()["items"]
        edits = [other.patch(f"{TASKS}/{bystander['id']}", json={"owner": f"o{n}"}).status_code for n in range(5)]
    worker.join()

    assert (set(edits), results) == ({200}, [201])
