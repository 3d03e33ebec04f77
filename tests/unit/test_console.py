"""The console's words, files and templates; what it makes of times and runs."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi.routing import APIRoute
from jinja2 import TemplateNotFound

from api.access import Role
from core.lifecycle import State
from core.planning import CatchUp, Overlap
from store.outcomes import COUNTED
from web import moments
from web.lately import DEAR, Lately
from web.outcome_history import Stretch
from web.pages import PAGES, ROUTERS
from web.pages.overview import Sum, total
from web.rendering import Templates
from web.spark import HEIGHT, LOWEST, spark_of
from web.standing import pace
from web.static_files import FOLDER
from web.wording import LANGUAGES, Words, catalogue, chosen

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
VENDOR = FOLDER / "vendor"
TEMPLATES = sorted((FOLDER.parent / "templates").rglob("*.html"))
SCRIPTS = sorted(FOLDER.glob("*.js"))


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_both_languages_say_the_same_with_the_same_figures_in_it() -> None:
    english, chinese = catalogue("en"), catalogue("zh")

    assert english.keys() == chinese.keys()
    assert [key for key in english if placeholders(english[key]) != placeholders(chinese[key])] == []
    assert [key for key in chinese if "<" in chinese[key] or "<" in english[key]] == []


def test_every_sentence_that_a_template_asks_for_exists() -> None:
    asked = {
        (file.name, key)
        for file in TEMPLATES
        for key in re.findall(r"""\bt(?:\.count)?\(["']([\w.]+)["']\s*[,)]""", file.read_text(encoding="utf-8"))
    }

    assert len(asked) > 100
    assert {(file, key) for file, key in asked if key not in catalogue("en")} == set()


def test_every_code_that_rows_hold_has_its_words() -> None:
    needed = [f"base.state.{state}" for state in State]
    needed += [f"tasks.overlap.{each.value}" for each in Overlap] + [f"tasks.catch_up.{each.value}" for each in CatchUp]
    needed += [f"{page.key}.title" for page in PAGES]

    assert [key for key in needed if key not in catalogue("zh")] == []


def test_every_route_asks_for_a_role_and_every_change_for_more_than_a_viewers() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    least = {
        (method, route.path): next(
            role for each in route.dependant.dependencies if (role := getattr(each.call, "role", None))
        )
        for route in routes
        for method in route.methods or ()
    }

    assert len(least) > 20
    assert {method for method, _ in least} == {"GET", "POST"}
    assert [route for route, role in least.items() if route[0] == "POST" and not role.covers(Role.OPERATOR)] == []


def test_each_page_of_the_navigation_has_a_letter_of_its_own() -> None:
    letters = [page.letter for page in PAGES]

    assert len(set(letters)) == len(letters)
    assert set(letters) & set("/?gjkxt") <= {"t"}  # after g, so that t is Tasks there


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-US,en;q=0.9,zh;q=0.8", "en"), ("fr,zh;q=0.5", "zh"),
        ("en;q=0.1,zh;q=0.9", "zh"), ("de", "en"), ("zh;q=x", "zh"), (";;;,,,", "en"),
    ],
)  # fmt: skip
def test_the_language_is_the_browsers_first_that_is_known(accepted: str, language: str) -> None:
    assert chosen(accepted) == language


def test_a_missing_sentence_is_an_error_and_not_an_empty_place() -> None:
    with pytest.raises(KeyError):
        Words("en")("tasks.nothing_of_the_kind")


def test_what_is_vendored_is_what_it_is_said_to_be() -> None:
    told = {entry["file"]: entry for entry in json.loads((VENDOR / "VENDORED.json").read_text())}
    beside = {"VENDORED.json"} | {f"licences/{file.name}" for file in (VENDOR / "licences").iterdir()}
    found = {str(file.relative_to(VENDOR)) for file in VENDOR.rglob("*") if file.is_file()}

    assert found - beside == told.keys()
    changed = [
        name for name, entry in told.items() if sha256((VENDOR / name).read_bytes()).hexdigest() != entry["sha256"]
    ]
    assert changed == []
    for entry in told.values():
        assert entry["licence"]
        assert entry["version"]
        licence = f"{entry['package'].removeprefix('@').replace('/', '-')}-{entry['version']}.txt"
        assert (VENDOR / "licences" / licence).is_file()


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: str(file.relative_to(FOLDER.parent)))
def test_a_template_holds_nothing_that_the_policy_forbids(file: Path) -> None:
    text = file.read_text(encoding="utf-8")

    assert re.findall(r"<style|\sstyle=|\son\w+=|hx-on|javascript:|js:|https?://", text.replace('https://"', "")) == []
    assert [tag for tag in re.findall(r"<script[^>]*>", text) if "src=" not in tag] == []
    assert "| safe" not in text


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_a_script_writes_no_html_and_runs_no_text(file: Path) -> None:
    text = file.read_text(encoding="utf-8")

    assert re.findall(r"\.(?:inner|outer)HTML\s*=|insertAdjacentHTML|document\.write|\beval\(|new Function", text) == []


def test_every_template_can_be_read() -> None:
    environment = Templates()._environment

    for name in environment.list_templates():
        environment.get_template(name)


@pytest.mark.parametrize("is_rendered_before", [True, False])
def test_templates_that_change_after_the_start_are_not_rendered(tmp_path: Path, is_rendered_before: bool) -> None:
    page, piece, added = (tmp_path / name for name in ("tasks/page.html", "_piece.html", "added.html"))
    page.parent.mkdir()
    page.write_text("{% include '_piece.html' %}")
    piece.write_text("表 {{ known }}")
    (tmp_path / "._piece.html.swp").write_bytes(b"\xff of an editor")
    environment = Templates(folder=tmp_path)._environment
    if is_rendered_before:
        environment.get_template("tasks/page.html").render(known=1)

    for file in (page, piece, added):  # as the next version has them
        file.write_text("{{ unknown_to_this_version }}")
        os.utime(file, (1, 1))
    old = environment.get_template("tasks/page.html").render(known=1)
    page.unlink()

    assert old == environment.get_template("tasks/page.html").render(known=1) == "表 1"
    with pytest.raises(TemplateNotFound, match=r"added\.html"):
        environment.get_template("added.html")


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "0s", "0秒"), (0.44, "0.4s", "0.4秒"), (9.96, "10s", "10秒"), (12, "12s", "12秒"),
        (60, "1m", "1分钟"), (252, "4m 12s", "4分钟12秒"), (3600, "1h", "1小时"), (11_100, "3h 5m", "3小时5分钟"),
        (3_601, "1h", "1小时"), (187_200, "2d 4h", "2天4小时"), (90_000_000, "1041d 16h", "1041天16小时"),
    ],
)  # fmt: skip
def test_a_duration_is_told_by_its_two_largest_units(seconds: float, english: str, chinese: str) -> None:
    assert moments.duration(Words("en"), seconds) == english
    assert moments.duration(Words("zh"), seconds) == chinese


def test_a_moment_is_told_by_how_far_away_it_is() -> None:
    words = Words("zh"), Words("en")

    assert moments.relative(words[0], NOW + timedelta(seconds=252), NOW) == "4分钟12秒后"
    assert moments.relative(words[1], NOW - timedelta(seconds=252), NOW) == "4m 12s ago"
    assert moments.relative(words[1], NOW + timedelta(milliseconds=300), NOW) == "now"


@pytest.mark.parametrize(
    ("apart", "shown"),
    [
        (timedelta(), "11:04:05"),
        (timedelta(hours=14), "01-03 01:04"),
        (timedelta(days=-3), "2029-12-30 11:04"),
        (timedelta(days=300), "2030-10-29 11:04"),
    ],
)
def test_a_moment_is_shown_on_the_clock_of_the_zone(apart: timedelta, shown: str) -> None:
    assert moments.clock(NOW + apart, ZoneInfo("Asia/Shanghai"), NOW) == shown


def run(state: State, seconds: float | None = None, **columns: Any) -> Any:
    ended = None if seconds is None else NOW + timedelta(seconds=seconds)
    usual: dict[str, Any] = {"state": state, "started_at": NOW if ended else None, "finished_at": ended, "attempt": 1}
    usual |= {"scheduled_for": NOW, "ready_at": NOW, "queued_at": NOW, "origin": "schedule"}
    return SimpleNamespace(**usual | columns)


def test_a_spark_line_is_as_high_as_a_run_was_long_and_full_where_it_failed() -> None:
    spark = spark_of([run(State.SUCCESS, 1), run(State.SUCCESS, 10), run(State.FAILURE, 1), run(State.SKIPPED)])

    heights = [bar.height for bar in spark.bars]
    assert heights[1] == heights[2] == HEIGHT
    assert heights[0] < heights[1]
    assert heights[3] == LOWEST
    assert [bar.tone for bar in spark.bars] == ["ok", "ok", "bad", "idle"]
    assert (spark.succeeded, spark.failed) == (2, 1)


def test_a_spark_line_of_times_that_are_none_is_drawn_all_the_same() -> None:
    odd = [run(State.SUCCESS, started_at="soon", finished_at="later"), run(State.STARTED)]

    assert [bar.height for bar in spark_of(odd).bars] == [LOWEST, LOWEST]


def test_the_pace_leaves_out_what_was_skipped_tried_again_or_asked_for() -> None:
    late = timedelta(seconds=100)
    rows = [
        run(State.SUCCESS, 1, queued_at=NOW + timedelta(seconds=1), started_at=NOW + timedelta(seconds=2)),
        run(State.SKIPPED, queued_at=NOW + late),
        run(State.SUCCESS, 1, attempt=2, queued_at=NOW + late, started_at=NOW + late),
        run(State.SUCCESS, 1, origin="manual", queued_at=NOW + late, started_at=NOW + timedelta(seconds=2)),
    ]

    told = pace(rows)

    assert told.sent_late == (1.0, 1.0)
    assert told.waited == (2.0, 2.0)
    assert pace([]).waited is None


def test_a_cheap_question_is_asked_every_time() -> None:
    answers = iter(range(9))
    lately = Lately(lambda: next(answers))

    assert [lately.ask() for _ in range(3)] == [0, 1, 2]


def test_a_dear_question_is_asked_once_by_all_who_come_meanwhile() -> None:
    asked: list[float] = []

    def question() -> int:
        asked.append(monotonic())
        sleep(DEAR * 2)
        return len(asked)

    lately = Lately(question)
    with ThreadPoolExecutor(8) as pool:
        answers = [told.result() for told in [pool.submit(lately.ask) for _ in range(8)]]

    assert answers == [1] * 8
    assert lately.ask() == 1
    assert len(asked) == 1


def test_a_question_that_fails_fails_for_who_asked_and_is_asked_anew() -> None:
    answers: list[int] = []

    def question() -> int:
        if not answers:
            raise ValueError("away")
        return answers.pop()

    lately = Lately(question)
    with pytest.raises(ValueError, match="away"):
        lately.ask()
    answers.append(5)
    assert lately.ask() == 5


def test_a_sum_of_outcomes_says_where_it_is_not_whole() -> None:
    half = Stretch(NOW, {"SUCCESS": 8, "FAILURE": 2, "SKIPPED": 1})
    full, unknown = Stretch(NOW, {"SUCCESS": COUNTED}), Stretch(NOW, None)

    assert total([half, half]) == Sum(runs=22, succeeded=16, failed=4, is_capped=False)
    capped = total([half, full])
    assert capped is not None
    assert capped.is_capped
    assert total([half, unknown]) is None


def test_every_language_is_named() -> None:
    assert set(LANGUAGES) == {file.name for file in (FOLDER.parent / "words").iterdir()}
