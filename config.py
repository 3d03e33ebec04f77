"""Settings: the only place that reads the environment.

Built once, frozen, passed down. A wrong value stops the program with the name, the value and the
mend; an unknown name close to a known one is suggested. `NAME_FILE` names a file that holds the value of NAME,
as Docker, Kubernetes and systemd hand over secrets.
"""

import os
import re
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit
from zoneinfo import reset_tzpath

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

from core.task_config import QUEUE_NAME
from core.zones import zone_hint, zone_names
from setting_sources import FILE_SUFFIX, VariableSource, one_value, readable
from setting_sources import SettingsError as SettingsError  # who reads settings imports it from here

# The tzdata package, not the machine's files: every host and container then agrees on every clock change.
reset_tzpath(to=())

BASE_DIR: Final = Path(__file__).resolve().parent
ENV_FILE: Final = BASE_DIR / ".env"

CORE_QUEUES: Final = ("system", "priority_high", "priority_low")
FALLBACK_QUEUE: Final = "celery"
EMBEDDED_BROKER_PORT: Final = 6390  # not 6379: `make run` works beside the machine's own Redis
MAX_POLL_SECONDS: Final = 30.0

#: The task packs with their queues, highest rank first. Between packs: URGENT_PACK_QUEUES, then in this order.
PACK_QUEUES: Final = {
    "trading": ("data", "analysis", "maintenance"),
    "assistant": ("ai_high_priority", "knowledge_default", "notification_default", "default"),
}
URGENT_PACK_QUEUES: Final = ("ai_high_priority",)  # somebody waits for the answer: before priority_low
#: What needs the CPU, and so processes instead of threads.
PREFORK_QUEUES: Final = ("data", "analysis", "maintenance", "knowledge_default")

SYMBOL_NAME: Final = r"[A-Za-z0-9.\-]{1,32}"

PURGE_TASK: Final = "tasks.purge_runs"  # housekeeping: beat sends it by name, on the system queue

#: Names of the Celery tasks that carry a run, by task_type: beat sends by name and imports no worker code.
RUN_TASKS: Final = {
    "agent": "agent_tasks.execute_agent_periodic_task",
    "workflow": "agent_tasks.execute_workflow_periodic_task",
    "http": "agent_tasks.execute_http_periodic_task",
    "celery": "agent_tasks.execute_celery_periodic_task",
}

# Names of other programs that sit near ours in the environment and are none of our business.
_FOREIGN = {"MONGODB_URL"}


def _split(value: object) -> object:
    """Read `a, b` as a tuple; leave what is no text alone."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _known_zone(value: str) -> str:
    if value not in zone_names():
        raise ValueError(f"no such IANA time zone; {zone_hint(value)}")
    return value


def _parts(value: str) -> SplitResult:
    """Split an address. Its own words for what is wrong are not used: they may quote the password."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(
            "cannot be read as an address; in a user name or password write /, :, @, # and the like as %2F, %3A, …"
        ) from None
    return parts


def _database_address(value: str) -> str:
    """`mysql://` and `mariadb://` mean PyMySQL here; utf8mb4, since names and answers are Chinese too."""
    parts = _parts(value)
    if parts.scheme == "sqlite":
        return _sqlite_file(parts)
    if parts.scheme in {"mysql", "mariadb", "mariadb+pymysql"}:
        parts = parts._replace(scheme="mysql+pymysql")
    if parts.scheme != "mysql+pymysql" or not parts.path.strip("/"):
        raise ValueError("use mysql://user:password@host:3306/database or sqlite:////path/to/file")
    if "charset=" not in parts.query:
        parts = parts._replace(query="&".join(filter(None, [parts.query, "charset=utf8mb4"])))
    return urlunsplit(parts)


def _sqlite_file(parts: SplitResult) -> str:
    """Take a relative path from the project's folder: beat and workers started elsewhere must meet in one file."""
    if parts.netloc or parts.path in {"", "/", "/:memory:"}:
        raise ValueError("use sqlite:////path/to/file: every process must find the same file")
    query = f"?{parts.query}" if parts.query else ""
    return f"sqlite:///{BASE_DIR / parts.path.removeprefix('/')}{query}"


def _broker_address(value: str) -> str:
    for address in filter(None, value.split(";")):  # several sentinels stand in one setting
        if "://" not in address or not _parts(address).scheme:
            raise ValueError("use redis://:password@host:6379/0")
    return value


def _redis_address(value: str) -> str:
    if value and _parts(value).scheme not in {"redis", "rediss", "redis+socket"}:
        raise ValueError("use redis://host:6379/0, or rediss:// for TLS")
    return value


def _queue_names(names: tuple[str, ...]) -> tuple[str, ...]:
    bad = [name for name in names if not re.fullmatch(QUEUE_NAME, name)]
    if bad:
        raise ValueError(f"{', '.join(map(repr, bad))}: a queue's name is up to 64 letters, digits, '_', '.' and '-'")
    return names


def _pack_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in PACK_QUEUES:
            near = get_close_matches(name, PACK_QUEUES, 1, 0.6)
            mend = f"did you mean {near[0]}?" if near else f"use {' or '.join(PACK_QUEUES)}"
            raise ValueError(f"there is no task pack {name!r}; {mend}")
    return tuple(dict.fromkeys(names))


def _symbols(names: tuple[str, ...]) -> tuple[str, ...]:
    bad = [name for name in names if not re.fullmatch(SYMBOL_NAME, name)]
    if bad:
        raise ValueError(f"{', '.join(map(repr, bad))}: a symbol is up to 32 letters, digits, '.' and '-'")
    return tuple(dict.fromkeys(names))


def _networks(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        try:
            ip_network(name)
        except ValueError as error:
            raise ValueError(f"{error}; write a network such as 169.254.0.0/16 or one address") from error
    return names


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Port = Annotated[int, Field(ge=1, le=65535, description="a port from 1 to 65535")]


class Settings(BaseSettings):
    """Every setting with its default; `.env.example` lists them in this order."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: Annotated[str, AfterValidator(_database_address), Field(repr=False)] = (
        f"sqlite:///{BASE_DIR / 'data' / 'scheduler.db'}"
    )
    celery_broker_url: Annotated[str, AfterValidator(_broker_address), Field(repr=False)] = ""
    redis_url: Annotated[str, AfterValidator(_redis_address), Field(repr=False)] = ""
    redis_password: SecretStr = SecretStr("")
    celery_result_backend: str = "store.result_backend:LedgerBackend"
    timezone: Annotated[str, AfterValidator(_known_zone)] = "Asia/Shanghai"

    agent_api_provider: str = "agent_platform"
    agent_api_base_url: str = ""
    agent_api_key: SecretStr = SecretStr("")

    beat_poll_interval: Annotated[
        float, Field(ge=0.01, allow_inf_nan=False, description=f"seconds from 0.01 to {MAX_POLL_SECONDS:g}")
    ] = 0.5
    worker_lease_seconds: Annotated[float, Field(ge=3, le=300, description="seconds from 3 to 300")] = 30.0
    drain_seconds: Annotated[float, Field(ge=0, le=3600, description="seconds from 0 to 3600")] = 50.0
    worker_concurrency: Annotated[int, Field(ge=1, le=5000, description="a whole number from 1 to 5000")] = 100

    run_retention_days: Annotated[int, Field(ge=0, description="a whole number of days; 0 keeps all")] = 90
    audit_retention_days: Annotated[int, Field(ge=0, description="a whole number of days; 0 keeps all")] = 0
    result_max_bytes: Annotated[
        int, Field(ge=1024, le=256 * 1024 * 1024, description="a whole number of bytes from 1024 to 268435456")
    ] = 8 * 1024 * 1024

    task_queues: Annotated[Names, AfterValidator(_queue_names)] = ()
    task_modules: Names = ()
    task_packs: Annotated[Names, AfterValidator(_pack_names)] = ()
    trading_source: Annotated[
        Literal["akshare", "tushare", "files"], Field(description="akshare, tushare or files")
    ] = "akshare"
    trading_symbols: Annotated[Names, AfterValidator(_symbols)] = ("000001", "000858", "600036", "600519")
    trading_benchmark: str = "sh000300"
    trading_data_dir: Path = Path("data/market")
    tushare_token: SecretStr = SecretStr("")
    report_dir: Path = Path("data/reports")
    backup_dir: Path = Path("data/backups")
    backup_keep: Annotated[int, Field(ge=0, description="a whole number of backups; 0 keeps all")] = 14
    assistant_endpoint: str = ""
    assistant_agent: str = ""
    knowledge_roots: Names = ("data/knowledge",)
    embedding_endpoint: str = ""
    embedding_model: str = ""

    http_allowed_hosts: Names = ()
    endpoint_allowed_networks: Annotated[Names, AfterValidator(_networks)] = ()

    api_host: str = "127.0.0.1"
    api_port: Port = 8003
    api_trusted_proxies: Annotated[Names, AfterValidator(_networks)] = ()
    api_tokens: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    secret_key_previous: SecretStr = SecretStr("")

    flower_port: Port = 5555
    flower_user: str = "admin"
    flower_password: SecretStr = SecretStr("")

    celery_log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        Field(description="DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    ] = "INFO"
    log_dir: Path = Path("logs")
    alert_urls: SecretStr = SecretStr("")
    sentry_dsn: SecretStr = SecretStr("")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before `.env`, and files where either names one.

        The two are merged by name before empty values are left out, so that an empty one hides that of `.env`.
        """
        variables: dict[str, str | None] = {}
        for source in (dotenv_settings, env_settings):
            if isinstance(source, EnvSettingsSource):
                variables |= source.env_vars
        return (init_settings, VariableSource(settings_cls, variables, BASE_DIR))

    @model_validator(mode="before")
    @classmethod
    def _upper_log_level(cls, values: dict[str, Any]) -> dict[str, Any]:
        level = values.get("celery_log_level")
        return {**values, "celery_log_level": level.upper()} if isinstance(level, str) else values

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue, highest rank first; further ones stand before the fallback, and TASK_QUEUES ranks them first."""
        further = [name for name in self.task_queues if name not in (*CORE_QUEUES, FALLBACK_QUEUE)]
        packs = [name for pack in PACK_QUEUES if pack in self.task_packs for name in PACK_QUEUES[pack]]
        urgent = [name for name in URGENT_PACK_QUEUES if name in packs and name not in further]
        *urgent_core, lowest = CORE_QUEUES
        return tuple(dict.fromkeys((*urgent_core, *urgent, lowest, *further, *packs, FALLBACK_QUEUE)))

    @property
    def prefork_queues(self) -> tuple[str, ...]:
        """The queues of the packs in use whose tasks need the CPU."""
        packs = {name for pack in self.task_packs for name in PACK_QUEUES[pack]}
        return tuple(name for name in self.queues if name in packs and name in PREFORK_QUEUES)

    @property
    def broker_url(self) -> str:
        """CELERY_BROKER_URL, else REDIS_URL with REDIS_PASSWORD, else the embedded broker of `make run`."""
        if self.celery_broker_url:
            return self.celery_broker_url
        if not self.redis_url:
            return f"redis://127.0.0.1:{EMBEDDED_BROKER_PORT}/0"
        password = self.redis_password.get_secret_value()
        parts = urlsplit(self.redis_url)
        if password and not parts.password:
            host = parts.netloc.rpartition("@")[2]
            parts = parts._replace(netloc=f"{parts.username or ''}:{quote(password, safe='')}@{host}")
        return urlunsplit(parts)

    @property
    def poll_seconds(self) -> float:
        """The longest a tick may sleep: an edit is noticed within it, whatever the setting says."""
        return min(self.beat_poll_interval, MAX_POLL_SECONDS)

    @property
    def log_path(self) -> Path:
        """LOG_DIR, taken from the project's folder when relative."""
        return self.log_dir if self.log_dir.is_absolute() else BASE_DIR / self.log_dir

    def notices(self) -> list[str]:
        """What is worth one log line at start: lowered values, near-miss names, settings without effect."""
        found = []
        if self.beat_poll_interval > MAX_POLL_SECONDS:
            found.append(
                f"BEAT_POLL_INTERVAL={self.beat_poll_interval:g} is lowered to {MAX_POLL_SECONDS:g}: "
                "an edit of a row must be noticed within 30 seconds"
            )
        if self.redis_password.get_secret_value() and (self.celery_broker_url or not self.redis_url):
            found.append(
                "REDIS_PASSWORD is set and not used: it belongs to REDIS_URL, and CELERY_BROKER_URL goes first"
            )
        names = set(_variables())
        if "MONGODB_URL" in names:
            found.append("MONGODB_URL is set and not used: results are stored in DATABASE_URL")
        known = {f"{name.upper()}{end}" for name in type(self).model_fields for end in ("", FILE_SUFFIX)}
        for name in sorted(names - known - _FOREIGN):
            near = get_close_matches(name, known, 1, 0.88)
            if near:
                found.append(f"{name} is not a setting; did you mean {near[0]}?")
        return found


def describe(error: ValidationError) -> str:
    """Put pydantic's findings into lines an operator can act on; values of secrets are left out."""
    lines = []
    for issue in error.errors():
        field = str(issue["loc"][0]) if issue["loc"] else "settings"
        declared = Settings.model_fields.get(field)
        # An address may hold a password, and this line ends up in logs.
        secret = declared is not None and (declared.annotation is SecretStr or field.endswith("_url"))
        value = "(hidden)" if secret else repr(issue["input"])
        mend = declared.description if declared is not None else None
        message = f"use {mend}" if mend else issue["msg"].removeprefix("Value error, ")
        default = "" if declared is None or secret else f" (default: {declared.default or 'none'})"
        lines.append(f"{field.upper()}={value}: {message}{default}")
    return "\n".join(lines)


#: Who may write agent_endpoint must not be able to send DATABASE_URL or SECRET_KEY to a server of their own.
CREDENTIAL_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")


def read_credential(name: str) -> str:
    """Read the environment variable an endpoint names for its key, from .env too; empty where it is not set.

    Raises ValueError for a name that does not end in _API_KEY, and for a file of NAME_FILE that cannot be read.
    """
    if not CREDENTIAL_NAME.fullmatch(name):
        raise ValueError(f"credential_env {name!r} must be the name of a variable that ends in _API_KEY")
    return _read_variable(name)


#: The same for notify_channel.
CHANNEL_URL_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*_NOTIFY_URL")


def read_channel_url(name: str) -> str:
    """Read the environment variable that holds a channel's address, from .env too; empty where it is not set.

    Raises ValueError for a name that does not end in _NOTIFY_URL, and for a file of NAME_FILE that cannot be read.
    """
    if not CHANNEL_URL_NAME.fullmatch(name):
        raise ValueError(f"url_env {name!r} must be the name of a variable that ends in _NOTIFY_URL")
    return _read_variable(name)


def _read_variable(name: str) -> str:
    """Read a variable that is no setting, else the file of NAME_FILE. Raises ValueError for what `Settings` refuses."""
    try:
        variables = _variables()
        return one_value(name, variables.get(name), variables.get(f"{name}{FILE_SUFFIX}"), BASE_DIR) or ""
    except SettingsError as error:
        raise ValueError(str(error)) from None


def _variables() -> dict[str, str | None]:
    """The variables of `.env` and of the environment, which wins. Raises SettingsError."""
    with readable(ENV_FILE):
        return dotenv_values(ENV_FILE) | os.environ


def put_into_environment(name: str, value: str) -> None:
    """Hand a value to a library of this process that takes it from nowhere else."""
    os.environ[name] = value


def supervisor_address() -> str | None:
    """Say where the supervisord listens that started this process; it tells its programs so. None: it was another."""
    return os.environ.get("SUPERVISOR_SERVER_URL") or None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the settings once for this process. Raises SettingsError."""
    try:
        with readable(ENV_FILE):
            return Settings()
    except ValidationError as error:
        raise SettingsError(describe(error)) from None  # its own text quotes the values, passwords too
