"""The OpenAPI document in the repository is the API's, and `/docs` shows it without the internet."""

import re
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

import pytest

from api.documents import COMMITTED, as_text, document
from config import Settings
from tests.acceptance.api_process import NOWHERE, Api, prepared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api-document")
    running = Api(prepared(f"sqlite:///{folder}/s.db", NOWHERE, folder), NOWHERE)
    yield running
    running.close()


def test_the_document_in_the_repository_is_that_of_the_code(tmp_path: Path) -> None:
    now = as_text(document(Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/s.db")))

    kept = COMMITTED.read_text(encoding="utf-8")
    changes = unified_diff(kept.splitlines(), now.splitlines(), "docs/openapi.json", "the code", lineterm="", n=1)
    assert now == kept, "make openapi writes this change:\n" + "\n".join(list(changes)[:200])


def test_the_document_does_not_depend_on_the_settings(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    other = Settings(_env_file=None, database_url=url, timezone="UTC", api_port=1, task_queues=("x",))

    assert document(other) == document(Settings(_env_file=None, database_url=url))


def test_every_answer_of_a_change_and_every_parameter_is_described(tmp_path: Path) -> None:
    described = document(Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/s.db"))

    for path, methods in described["paths"].items():
        if not path.startswith("/api/"):
            continue
        for method, operation in methods.items():
            assert operation.get("description"), (method, path)
            assert {"401", "503"} <= set(operation["responses"]), (method, path)
            assert operation["security"], (method, path)


def test_the_page_and_its_files_come_from_here(api: Api) -> None:
    page = api.viewer.get("/docs")

    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sorted(addresses) == ["/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "data:,"]
    for address in addresses[1:]:
        answer = api.viewer.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["content-type"].partition(";")[0] in {"text/css", "text/javascript"}
    assert "SwaggerUIBundle" in api.viewer.get("/docs/swagger-ui-bundle.js").text
    assert api.viewer.get("/docs/start.js").text.count("/openapi.json") == 1


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui.css", "/docs/start.js"])
def test_a_stranger_reads_no_document(api: Api, path: str) -> None:
    assert api.public.get(path).status_code == 401


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2F__init__.py", "favicon.png"])
def test_no_other_file_is_given_out(api: Api, name: str) -> None:
    assert api.viewer.get(f"/docs/{name}").status_code in (404, 422)
