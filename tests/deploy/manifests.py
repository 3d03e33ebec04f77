"""The files of deploy/ as data."""

from typing import Any, Final

from ruamel.yaml import YAML

from config import BASE_DIR

COMPOSE: Final = BASE_DIR / "deploy" / "compose"
KUBERNETES: Final = BASE_DIR / "deploy" / "kubernetes"


def compose() -> dict[str, Any]:
    """The compose file, its anchors resolved."""
    read: dict[str, Any] = YAML(typ="safe").load((COMPOSE / "docker-compose.yml").read_text(encoding="utf-8"))
    return read


def documents() -> list[dict[str, Any]]:
    """Every document of every file of deploy/kubernetes, the kustomization's included."""
    files = sorted(KUBERNETES.glob("*.yaml"))
    return [each for file in files for each in YAML(typ="safe").load_all(file.read_text(encoding="utf-8"))]


def of_kind(kind: str) -> list[dict[str, Any]]:
    """The documents of one kind."""
    return [each for each in documents() if each["kind"] == kind]
