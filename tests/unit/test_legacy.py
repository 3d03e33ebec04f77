"""Old rows come out as rows that fire at the same moments and do the same, or say why they do not come out."""

import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import ParseException
from dateutil.relativedelta import relativedelta
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from core.arming import Surroundings, what_is_wrong
from core.cadence import Cadence, parse_crontab
from core.legacy import periodic_configs, scheduled_tasks
from core.legacy.celery_cron import CeleryCron, blank_is_every, expression_of
from core.legacy.endpoints import Endpoint, EndpointNames
from core.legacy.periodic_configs import Every
from core.legacy.repeats import Repeat
from core.legacy.rows import Problem, Translation, as_row, new_cadence, next_fires
from core.task_config import parse_task_config
from scripts.legacy_importer import CeleryRule
from scripts.legacy_report import masked_config

NOW: Final = datetime(2026, 3, 10, 4, 30, tzinfo=UTC)  # Tuesday, 12:30 in Shanghai
SHANGHAI: Final = "Asia/Shanghai"
KEY: Final = "sk-0123456789abcdef"
AROUND: Final = Surroundings(SHANGHAI, frozenset({"system", "priority_high", "priority_low", "celery"}))


def local(text: str) -> datetime:
    return datetime.fromisoformat(text)


def config_row(extra: Any = None, **columns: Any) -> dict[str, Any]:
    """A row of celery_periodic_task_configs as the driver gives it: an agent daily at 01:00."""
    extra = {"task_type": "agent", "agent_id": "a1", "message": "写日报"} if extra is None else extra
    return {
        "id": 5,
        "task_name": "日报",
        "task_path": "jobs.report.send",
        "task_interval": None,
        "task_crontab_minute": "0",
        "task_crontab_hour": "1",
        "task_crontab_day_of_week": None,
        "task_crontab_day_of_month": "",
        "task_crontab_month_of_year": "*",
        "task_args": None,
        "task_kwargs": None,
        "task_enabled": 1,
        "task_last_run_time": None,
        "create_by": None,
        "task_description": None,
        "task_extra_config": extra if isinstance(extra, str) else json.dumps(extra, ensure_ascii=False),
        **columns,
    }


def task_row(repeat_type: str = "day", start: str = "2025-01-01 09:00", **columns: Any) -> dict[str, Any]:
    """A row of scheduled_tasks as the driver gives it."""
    return {
        "id": 8,
        "name": "周报",
        "description": None,
        "task_type": "recurring",
        "status": 1,
        "user_id": 7,
        "app_id": 3,
        "workflow_id": 42,
        "input": json.dumps({"properties": {"topic": {"type": "string", "value": "日报"}}}),
        "node_confirm_users": None,
        "start_time": local(start),
        "end_time": None,
        "next_run_time": local(start),
        "repeat_type": repeat_type,
        "repeat_interval": 1,
        "repeat_days": None,
        "repeat_day_of_month": None,
        "repeat_month": None,
        "repeat_day_of_year": None,
        "task_data": "{}",
        "last_run_time": None,
        "execution_count": 0,
        "max_executions": 0,
        **columns,
    }


def from_config(row: dict[str, Any], zone: str = "UTC") -> Translation:
    return periodic_configs.translate(row, zone, SHANGHAI, EndpointNames({}))[0]


def from_task(row: dict[str, Any], zone: str = SHANGHAI, now: datetime = NOW) -> Translation:
    return scheduled_tasks.translate(row, zone, now, None)


def config_of(found: Translation) -> dict[str, Any]:
    assert found.problems == []
    config: dict[str, Any] = json.loads(found.columns["task_extra_config"])
    parse_task_config(found.columns["task_extra_config"])
    return config


def fires(rule: Any, count: int = 3, zone: str = SHANGHAI, now: datetime = NOW) -> list[str]:
    return [f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" for moment in next_fires(rule, now, count)]


def told(found: Translation) -> str:
    """Everything that a translation says."""
    return "\n".join([*found.notes, *found.remarks, found.finished, *map(str, found.problems)])


class TestCrontab:
    @pytest.mark.parametrize(
        ("minute", "hour", "weekday", "day", "month", "expression"),
        [
            ("0", "9", "*", "*", "*", "0 9 * * *"),
            ("*/5", "*", "*", "*", "*", "*/5 * * * *"),
            ("0,30", "9-17", "1-5", "*", "*", "0,30 9-17 * * 1-5"),
            (" 05 ", "9", "*", "*", "*", "05 9 * * *"),
            ("0", "9-17/2", "*", "*", "*", "0 9-17/2 * * *"),
            # Celery's ranges wrap, cron's do not
            ("0", "22-3", "*", "*", "*", "0 0-3,22,23 * * *"),
            ("0", "22-3/2", "*", "*", "*", "0 0,2,22 * * *"),
            ("0", "9", "fri-mon", "*", "*", "0 9 * * 0,1,5,6"),
            # its step on a single value is one value; cronsim would go on to the end
            ("5-5/2", "9", "*", "*", "*", "5 9 * * *"),
            ("0", "9", "Monday,wed", "*", "*", "0 9 * * 1,3"),
            ("0", "9", "*", "1", "jan-mar", "0 9 1 1-3 *"),
            # every value, however written, is no restriction
            ("0-59", "*/1", "0-6", "1-31", "1-12", "* * * * *"),
            ("0", "9", "1", "1-31", "*", "0 9 * * 1"),
            ("0", "9", "0-6", "13", "*", "0 9 13 * *"),
            # day and weekday: cron takes both where one begins with a star
            ("0", "9", "1", "*/2", "*", "0 9 */2 * 1"),
            ("0", "9", "*/2", "13", "*", "0 9 13 * */2"),
            # whole weeks of the month
            ("0", "9", "1", "1-7", "*", "0 9 * * 1#1"),
            ("0", "9", "1,3", "8-14,22-28", "*", "0 9 * * 1#2,1#4,3#2,3#4"),
            ("0", "9", "5", "29-31", "*", "0 9 * * 5#5"),
            # day 1 and Sunday can be said with a star
            ("0", "9", "2", "1-3", "*", "0 9 */31,2,3 * 2"),
            ("0", "9", "2", "1", "*", "0 9 */31 * 2"),
            ("0", "9", "sun", "13", "*", "0 9 13 * */7"),
            ("0", "9", "sun,sat", "10-20", "*", "0 9 10-20 * */7,6"),
        ],
    )
    def test_celery_fields_are_said_for_cron(
        self, minute: str, hour: str, weekday: str, day: str, month: str, expression: str
    ) -> None:
        old = CeleryCron(minute.strip(), hour, weekday, day, month)
        said = expression_of(old, [])

        assert said == expression
        assert next_fires(parse_crontab(said, "UTC"), NOW, 20) == next_fires(CeleryRule(old), NOW, 20)

    @pytest.mark.parametrize(
        ("column", "value", "words"),
        [
            ("hour", "24", "out of range"),
            ("minute", "60", "out of range"),
            ("day_of_month", "0", "out of range"),
            ("day_of_week", "7", "Sunday is 0"),
            ("day_of_week", "5-7", "Sunday is 0"),
            ("day_of_week", "monkey", "out of range"),
            ("month_of_year", "13", "out of range"),
            ("hour", "1,,2", "neither cron nor Celery"),
            ("hour", "1,", "neither cron nor Celery"),
            ("hour", "?", "neither cron nor Celery"),
            ("hour", "-1", "neither cron nor Celery"),
            ("hour", "9:30", "neither cron nor Celery"),
            ("hour", "٩", "neither cron nor Celery"),
            ("minute", "*/0", "step"),
            ("minute", "*/", "step"),
            ("minute", "5/10", "write 5-59/10"),
            ("day_of_month", "L", "out of range"),
        ],
    )
    def test_what_celery_refused_names_its_column(self, column: str, value: str, words: str) -> None:
        found = from_config(config_row(**{f"task_crontab_{column}": value}))

        (problem,) = found.problems
        assert problem.field == f"task_crontab_{column}"
        assert words in str(problem)

    @pytest.mark.parametrize(("day", "month"), [("31", "2"), ("30,31", "feb"), ("31", "4,6")])
    def test_a_date_that_never_comes_is_refused(self, day: str, month: str) -> None:
        found = from_config(config_row(task_crontab_day_of_month=day, task_crontab_month_of_year=month))

        assert "never comes" in str(found.problems[0])

    @pytest.mark.parametrize(("day", "weekday"), [("13", "5"), ("2-7", "1"), ("8-13", "6"), ("8-14,16", "3")])
    def test_a_day_and_weekday_that_cron_cannot_join_are_refused(self, day: str, weekday: str) -> None:
        with pytest.raises(Problem, match="both must match"):
            expression_of(CeleryCron("0", "9", weekday, day, "*"), [])

    @pytest.mark.parametrize(
        ("expression", "times", "meant"),
        [
            ("* 2 * * *", "60 times", "'0 2 * * *'"),
            ("*/10,* 2 * * *", None, None),
            ("* 9-17 * * 1", "540 times", "'0 9-17 * * 1'"),
            ("* * * * 1", "1440 times", "'0 0 * * 1'"),
            ("30 * * * 1", "24 times", "'30 0 * * 1'"),
            ("30 * * * *", None, None),
            ("0 9 * * 1", None, None),
        ],
    )
    def test_an_open_field_below_a_set_one_is_pointed_out(
        self, expression: str, times: str | None, meant: str | None
    ) -> None:
        warning = blank_is_every(expression)

        if times is None or meant is None:
            assert warning is None
        else:
            assert warning is not None
            assert times in warning
            assert meant in warning

    def test_blank_and_null_columns_mean_every_value(self) -> None:
        found = from_config(config_row(task_crontab_minute=None, task_crontab_hour="  "))

        assert found.columns["crontab"] == "* * * * *"
        assert "every minute" in told(found)

    def test_the_zone_chosen_is_the_rows_and_moves_its_moments(self) -> None:
        in_utc, in_shanghai = from_config(config_row()), from_config(config_row(), zone=SHANGHAI)

        assert (in_utc.columns["crontab"], in_utc.columns["timezone"]) == ("0 1 * * *", "UTC")
        assert (in_shanghai.columns["crontab"], in_shanghai.columns["timezone"]) == ("0 1 * * *", SHANGHAI)
        assert fires(new_cadence(in_utc.columns, NOW), 1) == ["2026-03-11 09:00"]
        assert fires(new_cadence(in_shanghai.columns, NOW), 1) == ["2026-03-11 01:00"]


def _parts(least: int, most: int, names: list[str]) -> st.SearchStrategy[str]:
    number = st.integers(least, most + 1).map(str) | (st.sampled_from(names) if names else st.nothing())
    step = st.integers(0, most).map(lambda n: f"/{n}")
    spread = st.tuples(number, number).map("-".join)
    part = st.one_of(
        st.just("*"),
        step.map(lambda s: f"*{s}"),
        number,
        spread,
        st.tuples(spread, step).map("".join),
    )
    return st.lists(part, min_size=1, max_size=3).map(",".join)


OLD_CRONS: Final = st.builds(
    CeleryCron,
    minute=_parts(0, 59, []),
    hour=_parts(0, 23, []),
    day_of_week=st.just("*") | _parts(0, 6, ["mon", "Friday", "sun"]),
    day_of_month=st.just("*") | st.sampled_from(["1-7", "8-14", "1-5,9", "29-31"]) | _parts(1, 31, []),
    month_of_year=st.just("*") | _parts(1, 12, ["jan", "December"]),
)


class TestCrontabAgainstCelery:
    @settings(max_examples=150, deadline=None)
    @given(OLD_CRONS, st.datetimes(local("2024-01-01"), local("2031-01-01")))
    @example(CeleryCron("0", "9", "1", "1-31", "*"), local("2026-03-10"))
    @example(CeleryCron("5-5/2", "22-3", "fri-mon", "29", "2"), local("2026-03-10"))
    def test_the_new_expression_fires_when_celery_would_have(self, old: CeleryCron, start: datetime) -> None:
        moment = start.replace(tzinfo=UTC)
        try:
            celery = CeleryRule(old)
        except (ValueError, ParseException):
            with pytest.raises(Problem):
                expression_of(old, [])
            return
        try:
            said = expression_of(old, [])
        except Problem as problem:
            assert "both must match" in str(problem)  # noqa: PT017 - an error is one of two right answers
            return

        assert next_fires(parse_crontab(said, "UTC"), moment, 12) == next_fires(celery, moment, 12)


class TestIntervals:
    def test_the_interval_wins_and_counts_on_from_the_last_run(self) -> None:
        found = from_config(config_row(task_interval=3600, task_last_run_time=local("2026-03-09 10:07:30")))

        assert found.columns["interval_seconds"] == 3600
        assert "crontab" not in found.columns
        assert found.columns["start_time"] == local("2026-03-09 02:07:30")  # in the row's zone, UTC
        assert "wins over" in told(found)
        assert fires(new_cadence(found.columns, NOW)) == ["2026-03-10 13:07", "2026-03-10 14:07", "2026-03-10 15:07"]
        assert fires(found.old) == fires(new_cadence(found.columns, NOW))

    def test_without_a_last_run_it_counts_from_the_import(self) -> None:
        found = from_config(config_row(task_interval=600))

        assert "start_time" not in found.columns
        assert fires(new_cadence(found.columns, NOW), 2) == ["2026-03-10 12:40", "2026-03-10 12:50"]
        assert found.old.after(NOW) is None

    @pytest.mark.parametrize("seconds", [0, -5, "soon", 10**12, True, 2.5])
    def test_an_interval_that_is_none_is_refused(self, seconds: Any) -> None:
        (problem,) = from_config(config_row(task_interval=seconds)).problems

        assert problem.field == "task_interval"

    @given(st.integers(1, 10_000), st.integers(-100_000, 100_000))
    def test_the_old_interval_never_names_a_moment_that_has_passed(self, step: int, ago: int) -> None:
        rule = Every(timedelta(seconds=step), NOW - timedelta(seconds=ago))
        found = rule.after(NOW)

        assert found is not None
        assert found > NOW
        assert (found - (NOW - timedelta(seconds=ago))) % timedelta(seconds=step) == timedelta()
        assert found - NOW <= timedelta(seconds=max(step, step - ago))


class TestTaskTypes:
    @pytest.mark.parametrize(
        ("extra", "columns", "config"),
        [
            ({}, {}, {"message": "写日报", "user": "system", "queue": "priority_low"}),
            ({"message": None}, {}, {"message": "执行定时任务"}),
            ({"user": "王芳"}, {}, {"user": "王芳"}),
            ({"user_name": "li"}, {"create_by": "zhang"}, {"user": "li"}),
            ({"agent_id": 17}, {}, {"agent_id": "17"}),
            ({"queue": "system"}, {}, {"queue": "system"}),
            ({"queue": "celery"}, {}, {"queue": "priority_low"}),
            ({"queue": 3}, {}, {"queue": "priority_low"}),
            ({"timeout": 60}, {}, {"timeout": 60}),
            ({"timeout": 60, "task_timeout": "90"}, {}, {"timeout": 90}),
            ({"timeout": ""}, {}, {}),
            ({"max_retries": 3}, {}, {"max_retries": 3}),
            ({"max_retries": 0}, {}, {}),
            ({"conversation_id": "c-1"}, {}, {"conversation": "c-1"}),
            ({"thread_id": "t-1"}, {}, {"conversation": "t-1"}),
            ({"selected_model": "x"}, {}, {}),
        ],
    )
    def test_agent(self, extra: dict[str, Any], columns: dict[str, Any], config: dict[str, Any]) -> None:
        row = config_row({"task_type": "agent", "agent_id": "a1", "message": "写日报", **extra}, **columns)
        found = config_of(from_config(row))

        expected = {
            "task_type": "agent",
            "agent_id": "a1",
            "message": "写日报",
            "user": "system",
            "queue": "priority_low",
        }
        assert found == {**expected, **config}

    @pytest.mark.parametrize("extra", [{"queue": "urgent"}, {"selected_model": "m"}, {"message": ""}])
    def test_what_changes_on_the_way_is_noted(self, extra: dict[str, Any]) -> None:
        found = from_config(config_row({"task_type": "agent", "agent_id": "a1", "message": "写日报", **extra}))

        assert len(found.notes) == 1

    @pytest.mark.parametrize(
        ("extra", "field"),
        [
            ('{"task_type": "agent"', "task_extra_config"),
            ("[1]", "task_extra_config"),
            ('{"task_type": "agent", "agent_id": "a", "x": NaN}', "task_extra_config"),
            ('{"task_type": "agent", "agent_id": "a", "message": "\\ud83d"}', "task_extra_config"),
            ({"task_type": "agent"}, "task_extra_config.agent_id"),
            ({"task_type": "agent", "agent_id": ["a"]}, "task_extra_config.agent_id"),
            ({"task_type": "agent", "agent_id": "a", "message": {"a": 1}}, "task_extra_config.message"),
            ({"task_type": "agent", "agent_id": "a", "timeout": "soon"}, "task_extra_config.timeout"),
            ({"task_type": "agent", "agent_id": "a", "task_timeout": 0}, "task_extra_config.task_timeout"),
            ({"task_type": "agent", "agent_id": "a", "max_retries": -1}, "task_extra_config.max_retries"),
            (
                {"task_type": "agent", "agent_id": "a", "agent_url": "ftp://x", "agent_key": "k"},
                "task_extra_config.agent_url",
            ),
            (
                {"task_type": "agent", "agent_id": "a", "agent_url": "http://[", "agent_key": "k"},
                "task_extra_config.agent_url",
            ),
            ("", "task_extra_config"),
            ({"task_type": "http"}, "task_extra_config"),
            ({"task_type": "http", "url": "https://u:pw@h/x"}, "task_extra_config.url"),
            ({"task_type": "http", "url": "https://h/x", "headers": "a: b"}, "task_extra_config.headers"),
        ],
    )
    def test_what_cannot_be_read_names_its_field(self, extra: Any, field: str) -> None:
        (problem,) = from_config(config_row(extra)).problems

        assert problem.field == field
        assert problem.mend

    def test_http(self) -> None:
        headers = {"X-Team": "数据", "Authorization": f"Bearer {KEY}", "x-api-key": KEY}
        extra = {"task_type": "http", "url": "https://h/in", "method": "post", "headers": headers, "data": {"a": 1}}
        found = from_config(config_row({**extra, "auth": ["u", KEY], "verify_ssl": False, "task_timeout": 30}))

        assert config_of(found) == {
            "task_type": "http",
            "url": "https://h/in",
            "method": "POST",
            "headers": {"X-Team": "数据"},
            "body": {"a": 1},
            "queue": "priority_low",
            "timeout": 30,
        }
        assert "Authorization, x-api-key" in told(found)
        assert "auth, verify_ssl" in told(found)

    def test_a_row_without_a_type_is_http_as_before(self) -> None:
        assert config_of(from_config(config_row({"url": "https://h/"})))["method"] == "GET"
        assert "'jobs.report.send'" in told(from_config(config_row({})))

    def test_any_other_type_is_its_celery_task(self) -> None:
        row = config_row(
            {"task_type": "system", "queue": "system", "days": 30}, task_args="[1]", task_kwargs='{"a": "中"}'
        )
        found = from_config(row)

        assert config_of(found) == {
            "task_type": "celery",
            "task": "jobs.report.send",
            "args": [1],
            "kwargs": {"a": "中", "days": 30},
            "queue": "system",
        }

    def test_every_problem_of_a_row_is_named_at_once(self) -> None:
        row = config_row(
            {"task_type": "system"}, task_name=" ", task_crontab_hour="99", task_args="{}", task_kwargs="x"
        )
        found = from_config(row)

        assert [problem.field for problem in found.problems] == [
            "task_name",
            "task_crontab_hour",
            "task_args",
            "task_kwargs",
        ]

    @pytest.mark.parametrize(("name", "is_fine"), [("长" * 200, True), ("长" * 201, False), ("", False), (None, False)])
    def test_a_name_must_fit(self, name: Any, is_fine: bool) -> None:
        assert (from_config(config_row(task_name=name)).problems == []) is is_fine

    def test_the_row_says_where_it_came_from_and_is_disabled(self) -> None:
        columns = from_config(config_row(task_description="每天", create_by="王芳", task_enabled=0)).columns

        assert columns["description"] == "Imported from celery_periodic_task_configs 5 (was disabled). 每天"
        assert (columns["enabled"], columns["create_by"], columns["owner"]) == (0, "import", "王芳")

    def test_a_long_description_is_cut_and_said_to_be(self) -> None:
        found = from_config(config_row(task_description="长" * 20_000))

        assert len(found.columns["description"].encode()) < 65_535
        assert "cut" in told(found)


class TestKeys:
    def translate(self, names: EndpointNames, **extra: Any) -> tuple[Translation, Endpoint | None]:
        row = config_row({"task_type": "agent", "agent_id": "a1", "message": "m", **extra}, create_by="王芳")
        return periodic_configs.translate(row, "UTC", SHANGHAI, names)

    def test_an_address_with_its_key_becomes_the_name_of_an_endpoint(self) -> None:
        url = f"https://user:{KEY}@Agents.example.com:8443/base/?k={KEY}#x"
        found, endpoint = self.translate(EndpointNames({}), agent_url=url, agent_key=KEY)

        assert endpoint is not None
        assert config_of(found)["endpoint"] == endpoint.name == "agents-example-com-8443"
        assert endpoint.base_url == "https://agents.example.com:8443/base/api"
        assert endpoint.credential_env == "AGENT_KEY_AGENTS_EXAMPLE_COM_8443"
        assert config_of(found)["user"] == "王芳"
        assert KEY not in f"{found} {told(found)} {endpoint} {endpoint.sql}"

    @pytest.mark.parametrize("extra", [{"agent_url": "http://h"}, {"agent_key": KEY}])
    def test_one_without_the_other_was_never_used(self, extra: dict[str, str]) -> None:
        found, endpoint = self.translate(EndpointNames({}), **extra)

        assert endpoint is None
        assert "endpoint" not in config_of(found)
        assert "default endpoint" in told(found)
        assert KEY not in f"{found} {told(found)}"

    def test_each_pair_of_address_and_key_has_a_name_of_its_own(self) -> None:
        names = EndpointNames({})
        pairs = [("http://h/", "k1"), ("http://h", "k1"), ("http://h", "k2"), ("http://h:81", "k1"), ("http://i", "k1")]

        given = [names.endpoint_for(url, key).name for url, key in pairs]

        assert given == ["h", "h", "h-2", "h-81", "i"]

    def test_a_name_that_stands_for_another_address_is_left_alone(self) -> None:
        names = EndpointNames({"h": "http://h/other", "h-2": "http://h/api"})
        endpoint = names.endpoint_for("http://h", "k")

        assert (endpoint.name, endpoint.is_entered) == ("h-2", True)

    def test_names_fit_their_columns(self) -> None:
        names = EndpointNames({})
        made = [names.endpoint_for(f"http://{'a' * 60}.{'b' * 60}.com", number) for number in range(12)]

        assert len({endpoint.name for endpoint in made}) == 12
        assert all(len(endpoint.name) <= 64 and len(endpoint.credential_env) <= 64 for endpoint in made)

    def test_what_is_shown_of_a_config_hides_what_may_be_secret(self) -> None:
        kwargs = {"api_key": KEY, "deep": [{"password": KEY}], "max_tokens": 5, "url": f"https://h/x?t={KEY}"}
        shown = masked_config({"task_extra_config": json.dumps({"kwargs": kwargs})})

        assert KEY not in json.dumps(shown)
        assert shown["kwargs"]["max_tokens"] == 5


class TestExecutorsRule:
    """The old executor's own steps, each run made on time."""

    @pytest.mark.parametrize(
        ("rule", "runs"),
        [
            (("minute", 30, "2026-03-10 09:00"), ["03-10 09:30", "03-10 10:00"]),
            (("week", 2, "2026-03-10 09:00"), ["03-24 09:00", "04-07 09:00"]),
            # day 31 is the last day, and does not decay
            (("month", 1, "2026-01-31 09:00", 31), ["02-28 09:00", "03-31 09:00", "04-30 09:00", "05-31 09:00"]),
            # without a day it decays for ever
            (("month", 1, "2026-01-31 09:00"), ["02-28 09:00", "03-28 09:00", "04-28 09:00"]),
            # a first run off the day skips the day of its own month
            (("month", 1, "2026-01-10 09:00", 15), ["02-15 09:00", "03-15 09:00"]),
            (("year", 1, "2024-02-29 09:00", 29, 2), ["02-28 09:00", "02-28 09:00", "02-28 09:00", "02-29 09:00"]),
            (("year", 1, "2026-01-10 09:00", 25, 12), ["12-25 09:00", "12-25 09:00"]),
            (("none", 1, "2026-01-10 09:00"), []),
        ],
    )
    def test_following_runs(self, rule: tuple[Any, ...], runs: list[str]) -> None:
        kind, interval, first, *rest = rule
        day, month = (*rest, None, None)[:2]
        repeat = Repeat(kind, interval, local(first), SHANGHAI, day=day, month=month)
        found = []
        moment: datetime | None = repeat.first
        for _ in runs or [""]:
            moment = repeat.following(moment) if moment else None
            found += [f"{moment:%m-%d %H:%M}"] if moment else []

        assert found == runs

    def test_the_year_of_a_yearly_rule_is_the_next_one_even_where_this_years_date_is_ahead(self) -> None:
        repeat = Repeat("year", 1, local("2026-01-10 09:00"), SHANGHAI, day=25, month=12)

        assert repeat.following(repeat.first) == local("2027-12-25 09:00")

    def test_listed_weekdays_follow_each_other(self) -> None:
        repeat = Repeat("week", 1, local("2026-03-10 09:00"), SHANGHAI, weekdays=(1, 3))

        assert fires(repeat, 4, now=NOW - timedelta(days=1)) == [
            "2026-03-10 09:00",  # the first run, a Tuesday, is start_time
            "2026-03-11 09:00",
            "2026-03-16 09:00",
            "2026-03-18 09:00",
        ]


class TestRepeats:
    @pytest.mark.parametrize(
        ("row", "columns"),
        [
            (task_row("minute", repeat_interval=10), {"interval_seconds": 600}),
            (task_row("hour", repeat_interval=5), {"interval_seconds": 18_000}),
            (task_row("day"), {"interval_seconds": 86_400}),
            (task_row("week", repeat_interval=2), {"interval_seconds": 1_209_600}),
            (task_row("week", repeat_days="[]"), {"interval_seconds": 604_800}),
            (task_row("week", repeat_days="[5, 1, 7]"), {"crontab": "0 9 * * 0,1,5"}),
            (task_row("week", repeat_days="[1,2,3,4,5,6,7]"), {"crontab": "0 9 * * 0-6"}),
            (task_row("week", "2025-01-01 09:05:30", repeat_days="[3]"), {"crontab": "30 5 9 * * 3"}),
            (task_row("month", "2025-01-15 09:00", repeat_day_of_month=15), {"crontab": "0 9 15 * *"}),
            (task_row("month", "2025-01-31 09:00", repeat_day_of_month=31), {"crontab": "0 9 L * *"}),
            (task_row("month", "2025-01-28 09:00"), {"crontab": "0 9 28 * *"}),
            (task_row("month", "2025-01-31 09:00"), {"crontab": "0 9 28 * *"}),  # it has slipped there by now
            (task_row("month", repeat_interval=2, repeat_day_of_month=1), {"crontab": "0 9 1 1,3,5,7,9,11 *"}),
            (task_row("month", repeat_interval=3, repeat_day_of_month=1), {"crontab": "0 9 1 1,4,7,10 *"}),
            (
                task_row("month", "2025-01-31 09:00", repeat_interval=6, repeat_day_of_month=31),
                {"crontab": "0 9 31 1,7 *"},
            ),
            (
                task_row("month", "2025-01-30 09:00", repeat_interval=2, repeat_day_of_month=30),
                {"crontab": "0 9 30 1,3,5,7,9,11 *"},
            ),
            (
                task_row("month", "2025-04-30 09:00", repeat_interval=12, repeat_day_of_month=31),
                {"crontab": "0 9 L 4 *"},
            ),
            (task_row("year", "2025-10-01 08:00", repeat_month=10, repeat_day_of_year=1), {"crontab": "0 8 1 10 *"}),
            (task_row("year", "2024-02-29 08:00", repeat_month=2, repeat_day_of_year=29), {"crontab": "0 8 L 2 *"}),
            (task_row("year", "2025-10-01 08:00"), {"crontab": "0 8 1 10 *"}),
            # what no crontab says
            (
                task_row("month", repeat_interval=5, repeat_day_of_month=1),
                {"rrule": "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=1"},
            ),
            (
                task_row("year", repeat_interval=2, repeat_month=1, repeat_day_of_year=1),
                {"rrule": "FREQ=YEARLY;INTERVAL=2;BYMONTH=1;BYMONTHDAY=1"},
            ),
            (
                task_row("month", "2025-01-30 09:00", repeat_day_of_month=30),
                {"rrule": "FREQ=MONTHLY;BYMONTHDAY=28,29,30;BYSETPOS=-1"},
            ),
            (
                task_row("month", "2025-01-29 09:00", repeat_day_of_month=29),
                {"rrule": "FREQ=MONTHLY;BYMONTHDAY=28,29;BYSETPOS=-1"},
            ),
            (task_row("week", repeat_interval=1000), {"rrule": "FREQ=WEEKLY;INTERVAL=1000;BYDAY=WE"}),
            # a first run that the rule itself does not name
            (
                task_row("week", "2026-03-17 09:00", repeat_days="[1, 3]"),
                {"rrule": "DTSTART:20260317T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE\nRDATE:20260317T090000"},
            ),
            (
                task_row("month", "2026-04-10 09:00", repeat_day_of_month=15),
                {
                    "rrule": "DTSTART:20260410T090000\nRRULE:FREQ=MONTHLY;BYMONTHDAY=15\n"
                    "RDATE:20260410T090000\nEXDATE:20260415T090000"
                },
            ),
        ],
    )
    def test_a_rule_comes_out_where_it_can_be_said(self, row: dict[str, Any], columns: dict[str, Any]) -> None:
        found = from_task(row)

        assert found.problems == []
        assert found.columns["timezone"] == SHANGHAI
        assert {name: found.columns.get(name) for name in ("crontab", "interval_seconds", "rrule")} == {
            "crontab": None,
            "interval_seconds": None,
            "rrule": None,
            **columns,
        }
        assert found.columns["start_time"] == row["start_time"]
        assert fires(new_cadence(found.columns, NOW), 30) == fires(found.old, 30)
        assert what_is_wrong(as_row(found.columns, NOW), AROUND) == []

    @pytest.mark.parametrize(
        ("row", "field", "mend"),
        [
            (task_row("month", "2026-07-31 09:00"), "start_time", "set repeat_day_of_month"),
            (task_row("year", "2028-02-29 09:00"), "start_time", "set repeat_month"),
            (task_row("week", repeat_interval=2, repeat_days="[1]"), "repeat_interval", "repeat_days"),
            (task_row("week", repeat_days="1,3"), "repeat_days", "[1"),
            (task_row("week", repeat_days='["x"]'), "repeat_days", "1, Monday"),
            (task_row("week", repeat_days="[0]"), "repeat_days", "1, Monday"),
            (task_row("week", repeat_days="[8]"), "repeat_days", "1, Monday"),
            (task_row("week", repeat_days='{"a": 1}'), "repeat_days", "list"),
            (task_row("month", repeat_day_of_month=32), "repeat_day_of_month", "1 to 31"),
            (task_row("year", repeat_month=7, repeat_day_of_year=200), "repeat_day_of_year", "day of the month"),
            (task_row("year", repeat_month=4, repeat_day_of_year=31), "repeat_day_of_year", "day of the month"),
            (task_row("year", repeat_month=13, repeat_day_of_year=1), "repeat_month", "1 to 12"),
            (task_row("day", repeat_interval=0), "repeat_interval", "from 1"),
            (task_row("day", repeat_interval=-1), "repeat_interval", "from 1"),
            (task_row("week", repeat_interval=5218), "repeat_interval", "1 to 5217"),
            (task_row("fortnight"), "repeat_type", "week"),
            (task_row("day", status=9), "status", "1 enabled"),
            (task_row("day", start_time="0000-00-00 00:00:00"), "start_time", "2026-12-31"),
            (task_row("day", start_time=None), "start_time", "2026-12-31"),
            (task_row("day", end_time=local("2024-01-01")), "end_time", "correct"),
            (task_row("day", max_executions=-1), "max_executions", "from 0"),
            (task_row("day", input="{"), "input", "object"),
            (task_row("day", input="{}"), "input", "value"),
            (task_row("day", workflow_id=None), "workflow_id", "old row"),
            (task_row("day", name="长" * 201), "name", "shorten"),
        ],
    )
    def test_a_rule_that_cannot_be_said_names_its_field_and_what_to_write(
        self, row: dict[str, Any], field: str, mend: str
    ) -> None:
        (problem,) = from_task(row).problems

        assert problem.field == field
        assert mend in problem.mend

    def test_a_run_that_the_old_rule_skips_is_skipped(self) -> None:
        row = task_row("year", "2026-01-10 09:00", repeat_month=12, repeat_day_of_year=25)
        found = from_task(row)  # the first run was in January: its rule next names December of the next year

        assert found.columns["start_time"] == local("2027-12-25 09:00")
        assert fires(new_cadence(found.columns, NOW), 2) == ["2027-12-25 09:00", "2028-12-25 09:00"]

    def test_the_week_of_an_interval_is_that_of_the_old_rows_next_run(self) -> None:
        due = local("2026-03-25 09:04:12")  # a Wednesday like start_time, crept; three weeks from it is another week
        row = task_row("week", repeat_interval=3, execution_count=4, next_run_time=due)
        found = from_task(row)

        assert found.columns["start_time"] == local("2026-03-25 09:00")
        assert fires(new_cadence(found.columns, NOW), 2) == ["2026-03-25 09:00", "2026-04-15 09:00"]
        assert "would run next at 2026-03-25 09:04:12" in told(found)

    def test_a_run_that_crept_past_midnight_belongs_to_the_day_before(self) -> None:
        row = task_row(
            "day", "2026-03-01 23:58", repeat_interval=2, execution_count=4, next_run_time=local("2026-03-14 00:01")
        )
        found = from_task(row)

        assert fires(new_cadence(found.columns, NOW), 2) == ["2026-03-13 23:58", "2026-03-15 23:58"]

    def test_a_row_that_slipped_to_day_28_stays_there_and_says_so(self) -> None:
        row = task_row("month", "2025-12-31 09:00", execution_count=3, next_run_time=local("2026-03-28 09:00"))
        found = from_task(row)

        assert found.columns["crontab"] == "0 9 28 * *"
        assert "write L" in told(found)

    def test_repeat_days_say_what_the_old_executor_really_did(self) -> None:
        row = task_row("week", repeat_days="[1]", execution_count=1, next_run_time=local("2026-03-12 09:00"))

        assert "really ran every 1 week(s), next at 2026-03-12 09:00:00" in told(from_task(row))

    def test_a_single_run_becomes_run_at(self) -> None:
        found = from_task(task_row("none", "2026-05-01 08:00", task_type="one_time"))

        assert found.columns["run_at"] == local("2026-05-01 08:00")
        assert fires(new_cadence(found.columns, NOW)) == fires(found.old) == ["2026-05-01 08:00"]

    def test_a_single_run_that_was_missed_is_imported_with_a_warning(self) -> None:
        found = from_task(task_row("none", "2026-01-01 08:00", task_type="one_time"))

        assert found.columns["run_at"] == local("2026-01-01 08:00")
        assert "give it a later one" in told(found)

    @pytest.mark.parametrize(
        ("row", "why"),
        [
            (task_row(status=4), "deleted"),
            (task_row(max_executions=3, execution_count=3), "all of its 3 runs"),
            (task_row(end_time=local("2026-01-01 00:00")), "end_time"),
            (task_row("none", task_type="one_time", last_run_time=local("2025-01-01 09:00")), "has run"),
        ],
    )
    def test_what_would_never_fire_again_is_finished(self, row: dict[str, Any], why: str) -> None:
        found = from_task(row)

        assert why in found.finished
        assert found.problems == []

    def test_bounds_are_kept(self) -> None:
        end = local("2026-03-12 09:00")
        found = from_task(task_row(end_time=end, max_executions=10, execution_count=4))

        assert (found.columns["end_time"], found.columns["max_runs"]) == (end, 6)
        assert fires(new_cadence(found.columns, NOW)) == fires(found.old) == ["2026-03-11 09:00", "2026-03-12 09:00"]
        assert "max_runs" not in from_task(task_row()).columns

    @pytest.mark.parametrize(("status", "was"), [(1, "was enabled"), (2, "was disabled"), (3, "was paused")])
    def test_every_status_lands_disabled_and_is_told(self, status: int, was: str) -> None:
        columns = from_task(task_row(status=status, description="每周")).columns

        assert columns["enabled"] == 0
        assert columns["description"] == f"Imported from scheduled_tasks 8 ({was}, app 3, user 7). 每周"


class TestClockChanges:
    """Hosts whose clock changes: the old executor added to the wall clock."""

    @pytest.mark.parametrize(
        ("row", "columns"),
        [
            (task_row("day"), {"crontab": "0 9 * * *"}),
            (task_row("week"), {"crontab": "0 9 * * 3"}),
            (task_row("hour", repeat_interval=6), {"crontab": "0 3,9,15,21 * * *"}),
            (task_row("minute", repeat_interval=30), {"interval_seconds": 1800}),
            (task_row("month", repeat_day_of_month=1), {"crontab": "0 9 1 * *"}),
            (task_row("day", repeat_interval=2), {"rrule": "FREQ=DAILY;INTERVAL=2"}),
            (task_row("hour", repeat_interval=5), {"rrule": "FREQ=HOURLY;INTERVAL=5"}),
            (task_row("minute", repeat_interval=7), {"rrule": "FREQ=MINUTELY;INTERVAL=7"}),
            # 02:30 is in the gap of 14 March 2027: later runs keep to it
            (
                task_row("day", "2027-03-14 02:30", repeat_interval=2),
                {"rrule": "DTSTART:20270314T023000\nRRULE:FREQ=DAILY;INTERVAL=2"},
            ),
        ],
    )
    def test_the_wall_clock_time_is_kept(self, row: dict[str, Any], columns: dict[str, Any]) -> None:
        found = from_task(row, zone="America/New_York")

        assert found.problems == []
        assert columns.items() <= found.columns.items()

    def test_the_same_is_exact_where_the_clock_never_changes(self) -> None:
        assert from_task(task_row("day", repeat_interval=2)).columns["interval_seconds"] == 172_800


class TestInputs:
    @pytest.mark.parametrize(
        ("given", "inputs"),
        [
            ({"properties": {"a": {"value": 1}, "b": {"value": None}}}, {"a": 1, "b": None}),
            ({"inputs": {"properties": {"主题": {"type": "string", "value": "日报"}}}}, {"主题": "日报"}),
            ({"properties": {"a": {"type": "string"}, "b": {"value": 2}}}, {"b": 2}),
            ({"properties": {"a": 3}}, {"a": 3}),
            ({"topic": "日报"}, {"topic": "日报"}),
        ],
    )
    def test_inputs_are_flattened(self, given: dict[str, Any], inputs: dict[str, Any]) -> None:
        for spelled in (given, json.dumps(given)):
            found = config_of(from_task(task_row(input=spelled)))

            assert found == {"task_type": "workflow", "workflow_id": "42", "inputs": inputs, "user": "7"}

    def test_confirmations_are_left_out_with_a_note(self) -> None:
        assert "node_confirm_users" in told(from_task(task_row(node_confirm_users='{"n1": [3]}')))
        assert "node_confirm_users" not in told(from_task(task_row(node_confirm_users="{}")))


def _by_dateutil(row: dict[str, Any], count: int, now: datetime) -> list[datetime]:
    """Walk the documented rule with another library, in Shanghai, which has no clock changes."""
    unit, interval = row["repeat_type"], row["repeat_interval"]
    due = row["start_time"]
    runs: list[datetime] = []
    while len(runs) < count:
        moment = due.replace(tzinfo=ZoneInfo(SHANGHAI)).astimezone(UTC)
        if moment > now:
            runs.append(moment)
        day = {"day": row["repeat_day_of_month"]} if unit == "month" and row["repeat_day_of_month"] else {}
        due = due + relativedelta(**{f"{unit}s": interval}, **day)
    return runs


class TestRepeatsAgainstDateutil:
    @settings(max_examples=100, deadline=None)
    @given(
        st.sampled_from(["hour", "day", "week", "month", "year"]),
        st.integers(1, 13),
        st.none() | st.integers(1, 31),
        st.datetimes(local("2024-06-01"), local("2027-01-01")),
    )
    @example("month", 1, 31, local("2025-01-31 09:00"))
    @example("month", 1, None, local("2026-01-31 09:00"))
    @example("month", 12, 29, local("2024-02-29 09:00"))
    def test_what_comes_out_fires_as_the_old_rule(
        self, unit: str, interval: int, day: int | None, start: datetime
    ) -> None:
        start = start.replace(microsecond=0)
        row = task_row(unit, repeat_interval=interval, repeat_day_of_month=day) | {
            "start_time": start,
            "next_run_time": start,
        }
        found = from_task(row)
        is_slipping = unit in ("month", "year") and day is None and start.day > 28
        assert is_slipping or found.problems == []
        assume(not found.problems)

        cadence: Cadence = new_cadence(found.columns, NOW)

        assert next_fires(cadence, NOW, 40) == list(islice(_by_dateutil(row, 40, NOW), 40))
