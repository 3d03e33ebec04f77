"""Schemathesis over the whole OpenAPI document: no server error, and no answer that the document does not describe."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.lifecycle import State
from tests.acceptance.api_process import ADMIN, Api, bearer, prepared
from tests.acceptance.test_seed_apis import PACK, QUEUES
from tests.services import MariaDBServer, ValkeyServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECONDS = 60  # at most: what it ends before it has asked stays unasked
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "4")  # of each operation, so that every one has its turn
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LEFT_OUT = (
    "/api/v2/runs/{run_id}/events",  # ends when the run does, which here is never
    "/health/ready",  # 503 by design: no beat and no worker is here
    "/api/v2/tasks/export",  # YAML, which schemathesis reads as a value and compares with the text that is described
)


@pytest.fixture
def api(mariadb: MariaDBServer, valkey: ValkeyServer, tmp_path: Path) -> Iterator[Api]:
    stack = prepared(mariadb.create_database("fuzz"), valkey.url, tmp_path)
    running = Api(stack, valkey.url, TASK_MODULES=PACK, TASK_QUEUES=QUEUES)
    running.add_runs({}, {"state": State.FAILURE, "error": "x"}, {"state": State.PENDING})
    running.add_task("daily", crontab="0 9 * * *")
    yield running
    running.close()
    mariadb.drop_database("fuzz")


def test_whatever_is_asked_the_answer_is_one_that_the_document_describes(api: Api, tmp_path: Path) -> None:
    (header,) = (f"{name}:{value}" for name, value in bearer(ADMIN).items())

    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.public.base_url}/openapi.json"),
            *("--header", header),
            *("--phases", "examples,fuzzing"),
            *("--checks", CHECKS),
            *("--max-examples", EXAMPLES),
            *("--max-time", str(SECONDS)),
            *("--seed", "1"),
            *(part for path in LEFT_OUT for part in ("--exclude-path", path)),
            "--no-shrink",
            "--no-color",
            "--continue-on-failure",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
