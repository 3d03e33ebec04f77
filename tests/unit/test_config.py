"""Settings: defaults, errors that name setting, value and mend, and passwords that never show."""

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

import config
from config import BASE_DIR, Settings, SettingsError, get_settings

SECRET = "s3cr3t-пароль"
NAMES = [name.upper() for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(config, "ENV_FILE", tmp_path / ".env")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    get_settings.cache_clear()


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> "Load":
    return Load(monkeypatch)


class Load:
    """Read the settings from these variables."""

    def __init__(self, environment: pytest.MonkeyPatch) -> None:
        self.environment = environment

    def __call__(self, **variables: str) -> Settings:
        for name, value in variables.items():
            self.environment.setenv(name, value)
        get_settings.cache_clear()
        return get_settings()

    def error(self, **variables: str) -> SettingsError:
        with pytest.raises(SettingsError) as refused:
            self(**variables)
        return refused.value

    def told(self, **variables: str) -> str:
        return str(self.error(**variables))


# -- defaults ---------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_contract(load: Load) -> None:
    settings = load()

    assert settings.database_url == f"sqlite:///{BASE_DIR}/data/scheduler.db"
    assert settings.broker_url == "redis://127.0.0.1:6390/0"
    assert settings.timezone == "Asia/Shanghai"
    assert settings.agent_api_provider == "agent_platform"
    assert (settings.poll_seconds, settings.worker_lease_seconds) == (0.5, 30)
    assert (settings.run_retention_days, settings.result_max_bytes) == (90, 8 * 1024 * 1024)
    assert settings.queues == ("system", "priority_high", "priority_low", "celery")
    assert settings.http_allowed_hosts == ()
    assert (settings.api_host, settings.api_port, settings.flower_port) == ("127.0.0.1", 8003, 5555)
    assert (settings.celery_log_level, settings.log_path) == ("INFO", BASE_DIR / "logs")
    assert settings.notices() == []


def test_an_empty_value_means_the_default(load: Load) -> None:
    assert load(**dict.fromkeys(NAMES, "")) == Settings(_env_file=None)


def test_the_environment_goes_before_the_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_PORT=9001\nFLOWER_PORT=9002\n")

    settings = load(API_PORT="9000")

    assert (settings.api_port, settings.flower_port) == (9000, 9002)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_value_of_the_environment_hides_that_of_the_file(load: Load, tmp_path: Path, name: str) -> None:
    (tmp_path / ".env").write_text(f"{name}=7\n{name}_FILE=none\n")

    assert load(**{name: "", f"{name}_FILE": ""}) == Settings(_env_file=None)


def test_settings_cannot_be_changed_afterwards(load: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().api_port = 1  # type: ignore[misc]


# -- wrong values -----------------------------------------------------------------------------------

WRONG = [
    ("BEAT_POLL_INTERVAL", "fast", "use seconds from 0.01 to 30 (default: 0.5)"),
    ("BEAT_POLL_INTERVAL", "0", "use seconds from 0.01 to 30 (default: 0.5)"),
    ("BEAT_POLL_INTERVAL", "-1", "use seconds from 0.01 to 30 (default: 0.5)"),
    ("BEAT_POLL_INTERVAL", "1e-9", "use seconds from 0.01 to 30 (default: 0.5)"),
    ("BEAT_POLL_INTERVAL", "nan", "use seconds from 0.01 to 30 (default: 0.5)"),
    ("BEAT_POLL_INTERVAL", "inf", "use seconds from 0.01 to 30 (default: 0.5)"),
    ("WORKER_LEASE_SECONDS", "1", "use seconds from 3 to 300 (default: 30.0)"),
    ("WORKER_LEASE_SECONDS", "301", "use seconds from 3 to 300 (default: 30.0)"),
    ("WORKER_CONCURRENCY", "0", "use a whole number from 1 to 5000 (default: 100)"),
    ("WORKER_CONCURRENCY", "true", "use a whole number from 1 to 5000 (default: 100)"),
    ("RUN_RETENTION_DAYS", "-1", "use a whole number of days; 0 keeps all (default: 90)"),
    ("RUN_RETENTION_DAYS", "forever", "use a whole number of days; 0 keeps all (default: 90)"),
    ("RESULT_MAX_BYTES", "8MB", "use a whole number of bytes from 1024 to 268435456 (default: 8388608)"),
    ("API_PORT", "0", "use a port from 1 to 65535 (default: 8003)"),
    ("API_PORT", "8003.5", "use a port from 1 to 65535 (default: 8003)"),
    ("FLOWER_PORT", "65536", "use a port from 1 to 65535 (default: 5555)"),
    ("CELERY_LOG_LEVEL", "VERBOSE", "use DEBUG, INFO, WARNING, ERROR or CRITICAL (default: INFO)"),
    ("TIMEZONE", "Asia/Shanghia", "no such IANA time zone; did you mean 'Asia/Shanghai'? (default: Asia/Shanghai)"),
    ("TIMEZONE", "Asia/Beijing", "no such IANA time zone; did you mean 'Asia/Shanghai'? (default: Asia/Shanghai)"),
    ("TIMEZONE", "UTC+9", "no such IANA time zone; use a name such as 'Asia/Shanghai' (default: Asia/Shanghai)"),
    ("TASK_QUEUES", "data,a b,数据",
     "'a b', '数据': a queue's name is up to 64 letters, digits, '_', '.' and '-' (default: none)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "mend"), WRONG)
def test_a_wrong_value_is_told_with_name_value_and_mend(load: Load, name: str, value: str, mend: str) -> None:
    assert load.told(**{name: value}) == f"{name}='{value}': {mend}"


def test_every_wrong_value_has_a_line(load: Load) -> None:
    lines = load.told(API_PORT="x", FLOWER_PORT="y", TIMEZONE="z").splitlines()

    assert sorted(line.split("=")[0] for line in lines) == ["API_PORT", "FLOWER_PORT", "TIMEZONE"]


def test_a_log_level_may_be_written_small(load: Load) -> None:
    assert load(CELERY_LOG_LEVEL="debug").celery_log_level == "DEBUG"


ADDRESS = "cannot be read as an address; in a user name or password write /, :, @, # and the like as %2F, %3A, …"
DATABASE = "use mysql://user:password@host:3306/database or sqlite:////path/to/file"
ADDRESSES = [
    ("DATABASE_URL", f"postgresql://u:{SECRET}@h/db", DATABASE),
    ("DATABASE_URL", f"mysql://u:{SECRET}@h", DATABASE),
    ("DATABASE_URL", f"u:{SECRET}@h/db", DATABASE),
    ("DATABASE_URL", f"mysql://u:{SECRET}℀@h/db", ADDRESS),
    ("DATABASE_URL", f"mysql://u:{SECRET}/x@h/db", ADDRESS),
    ("DATABASE_URL", f"mysql://u:{SECRET}@[h/db", ADDRESS),
    ("DATABASE_URL", f"mysql://u:{SECRET}@h:port/db", ADDRESS),
    ("DATABASE_URL", f"mysql://u:{SECRET}@h:99999/db", ADDRESS),
    ("DATABASE_URL", "sqlite://", "use sqlite:////path/to/file: every process must find the same file"),
    ("DATABASE_URL", "sqlite:///:memory:", "use sqlite:////path/to/file: every process must find the same file"),
    ("DATABASE_URL", "sqlite://data/x.db", "use sqlite:////path/to/file: every process must find the same file"),
    ("REDIS_URL", "localhost:6379", "use redis://host:6379/0, or rediss:// for TLS"),
    ("REDIS_URL", "http://h:6379", "use redis://host:6379/0, or rediss:// for TLS"),
    ("REDIS_URL", f"redis://:{SECRET}#@h:6379/0", ADDRESS),
    ("REDIS_URL", f"redis://:{SECRET}@[::1:6379/0", ADDRESS),
    ("CELERY_BROKER_URL", "redis//h", "use redis://:password@host:6379/0"),
    ("CELERY_BROKER_URL", f"redis://:{SECRET}/@h:6379/0", ADDRESS),
    ("CELERY_BROKER_URL", f"sentinel://:{SECRET}@a:1/0;b:2", "use redis://:password@host:6379/0"),
]


@pytest.mark.parametrize(("name", "value", "mend"), ADDRESSES)
def test_a_wrong_address_is_told_without_its_value(load: Load, name: str, value: str, mend: str) -> None:
    assert load.told(**{name: value}) == f"{name}=(hidden): {mend}"


@pytest.mark.parametrize(("name", "value"), [case[:2] for case in ADDRESSES])
def test_no_part_of_an_address_shows_in_its_error(load: Load, name: str, value: str) -> None:
    shown = "".join(traceback.format_exception(load.error(**{name: value})))

    assert "s3cr3t" not in shown


def test_pydantics_own_error_quotes_no_value_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{SECRET}@h/db")

    with pytest.raises(ValidationError) as refused:
        Settings()

    assert "s3cr3t" not in str(refused.value)


def test_a_secret_beside_a_wrong_value_does_not_show(load: Load) -> None:
    secrets = {name.upper() for name, field in Settings.model_fields.items() if field.annotation is SecretStr}
    assert {"SECRET_KEY", "API_TOKENS", "AGENT_API_KEY", "REDIS_PASSWORD", "FLOWER_PASSWORD"} <= secrets

    error = load.error(API_PORT="x", DATABASE_URL=f"mysql://u:{SECRET}@h/db", **dict.fromkeys(secrets, SECRET))

    assert "s3cr3t" not in "".join(traceback.format_exception(error))


def test_printing_the_settings_shows_no_password(load: Load) -> None:
    settings = load(
        DATABASE_URL="mysql://u:s3cr3t@h/db",
        CELERY_BROKER_URL="redis://:s3cr3t@h/0",
        REDIS_URL="redis://:s3cr3t@h/0",
        SECRET_KEY="s3cr3t",
        SENTRY_DSN="https://s3cr3t@sentry.example.com/1",
    )

    assert "s3cr3t" not in f"{settings!r} {settings}"


# -- addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("mysql://u:p@h:3306/db", "mysql+pymysql://u:p@h:3306/db?charset=utf8mb4"),
        ("mariadb://u:p@h/db", "mysql+pymysql://u:p@h/db?charset=utf8mb4"),
        ("mysql+pymysql://u:p@h/db?charset=latin1", "mysql+pymysql://u:p@h/db?charset=latin1"),
        ("mysql://u:p@h/db?ssl_ca=/ca.pem", "mysql+pymysql://u:p@h/db?ssl_ca=/ca.pem&charset=utf8mb4"),
        ("mysql://u:p%40%2F%3A@h/db", "mysql+pymysql://u:p%40%2F%3A@h/db?charset=utf8mb4"),
        ("mysql://u:p@[::1]:3306/db", "mysql+pymysql://u:p@[::1]:3306/db?charset=utf8mb4"),
        ("mysql://u@/db?unix_socket=/run/m.sock", "mysql+pymysql://u@/db?unix_socket=/run/m.sock&charset=utf8mb4"),
        ("sqlite:////var/lib/scheduler.db", "sqlite:////var/lib/scheduler.db"),
        ("sqlite:///data/other.db", f"sqlite:///{BASE_DIR}/data/other.db"),
    ],
)
def test_a_database_address_is_read(load: Load, given: str, read: str) -> None:
    assert load(DATABASE_URL=given).database_url == read


@pytest.mark.parametrize(
    ("variables", "broker"),
    [
        ({"REDIS_URL": "redis://h:6379/1"}, "redis://h:6379/1"),
        ({"REDIS_URL": "redis://h:6379/1", "REDIS_PASSWORD": "pw"}, "redis://:pw@h:6379/1"),
        ({"REDIS_URL": "redis://u@h/1", "REDIS_PASSWORD": "pw"}, "redis://u:pw@h/1"),
        ({"REDIS_URL": "redis://:@h/1", "REDIS_PASSWORD": "pw"}, "redis://:pw@h/1"),
        ({"REDIS_URL": "redis://:own@h/1", "REDIS_PASSWORD": "pw"}, "redis://:own@h/1"),
        ({"REDIS_URL": "rediss://h/0?ssl_cert_reqs=none", "REDIS_PASSWORD": "p"},
         "rediss://:p@h/0?ssl_cert_reqs=none"),
        ({"REDIS_URL": "redis://[::1]:6379/0", "REDIS_PASSWORD": "p"}, "redis://:p@[::1]:6379/0"),
        ({"REDIS_URL": "redis://h/0", "REDIS_PASSWORD": "@/:#?% +密"},
         "redis://:%40%2F%3A%23%3F%25%20%2B%E5%AF%86@h/0"),
        ({"CELERY_BROKER_URL": "redis://b/2", "REDIS_URL": "redis://h/1"}, "redis://b/2"),
        ({"CELERY_BROKER_URL": "sentinel://a:26379;sentinel://b:26379"}, "sentinel://a:26379;sentinel://b:26379"),
        ({"CELERY_BROKER_URL": "memory://"}, "memory://"),
    ],
)  # fmt: skip
def test_the_broker_is_built_from_what_is_set(load: Load, variables: dict[str, str], broker: str) -> None:
    assert load(**variables).broker_url == broker


def test_a_password_with_every_special_character_arrives_at_redis_as_it_was_written(load: Load) -> None:
    from kombu import Connection

    password = "".join(map(chr, range(33, 127))) + " 密"

    url = load(REDIS_URL="redis://h:6379/3", REDIS_PASSWORD=password).broker_url

    read = Connection(url).info()
    assert (read["password"], read["hostname"], read["port"]) == (password, "h", 6379)


# -- derived values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "queues"),
    [
        ("data", ("system", "priority_high", "priority_low", "data", "celery")),
        ("b, a ,,b", ("system", "priority_high", "priority_low", "b", "a", "celery")),
        ("celery,system,x,priority_low", ("system", "priority_high", "priority_low", "x", "celery")),
        (" , ", ("system", "priority_high", "priority_low", "celery")),
    ],
)
def test_further_queues_rank_between_priority_low_and_celery_as_written(
    load: Load, given: str, queues: tuple[str, ...]
) -> None:
    assert load(TASK_QUEUES=given).queues == queues


@pytest.mark.parametrize(("given", "seconds", "lowered"), [("0.5", 0.5, False), ("30", 30, False), ("31", 30, True)])
def test_a_poll_above_thirty_seconds_is_lowered_and_said(
    load: Load, given: str, seconds: float, *, lowered: bool
) -> None:
    settings = load(BEAT_POLL_INTERVAL=given)

    assert settings.poll_seconds == seconds
    assert settings.notices() == (
        ["BEAT_POLL_INTERVAL=31 is lowered to 30: an edit of a row must be noticed within 30 seconds"]
        if lowered
        else []
    )


def test_a_relative_log_folder_is_the_projects(load: Load) -> None:
    assert load(LOG_DIR="elsewhere").log_path == BASE_DIR / "elsewhere"
    assert load(LOG_DIR="/var/log/x").log_path == Path("/var/log/x")


# -- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("DATABASE_URI", "DATABASE_URL"),
        ("REDIS_PASWORD", "REDIS_PASSWORD"),
        ("TIME_ZONE", "TIMEZONE"),
        ("BEAT_POLL_INTERVALL", "BEAT_POLL_INTERVAL"),
        ("AGENT_API_BASEURL", "AGENT_API_BASE_URL"),
        ("API_TOKEN", "API_TOKENS"),
    ],
)
def test_a_name_near_a_setting_is_told_from_environment_and_file(
    load: Load, tmp_path: Path, wrong: str, right: str
) -> None:
    notice = f"{wrong} is not a setting; did you mean {right}?"

    (tmp_path / ".env").write_text(f"{wrong}={SECRET}\n")
    assert load().notices() == [notice]

    (tmp_path / ".env").unlink()
    assert load(**{wrong: SECRET}).notices() == [notice]


def test_names_of_other_programs_are_left_alone(load: Load) -> None:
    others = dict.fromkeys(["PATH_INFO", "API_KEY", "LOGNAME", "DATABASE", "REDIS_HOST", "PORT", "TZ", "HOST"], "x")

    assert load(**others).notices() == []


def test_settings_without_effect_are_told(load: Load) -> None:
    assert load(MONGODB_URL="mongodb://h").notices() == [
        "MONGODB_URL is set and not used: results are stored in DATABASE_URL"
    ]


@pytest.mark.parametrize("beside", [{}, {"CELERY_BROKER_URL": "redis://h/0", "REDIS_URL": "redis://h/0"}])
def test_a_redis_password_that_nothing_uses_is_told(load: Load, beside: dict[str, str]) -> None:
    assert load(REDIS_PASSWORD=SECRET, **beside).notices() == [
        "REDIS_PASSWORD is set and not used: it belongs to REDIS_URL, and CELERY_BROKER_URL goes first"
    ]
