"""Who may do what: roles, tokens, users, sessions, and what slows a thief down."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from starlette.responses import PlainTextResponse

from api.access import Caller, Role
from api.bodies import BoundedBodies
from api.idempotency import IdempotentPosts
from api.throttle import Throttle
from api.tokens import PUBLIC
from scripts import users
from store import access
from store.database import autocommit, connect, transaction
from tests.acceptance.api_process import ADMIN, OPERATOR, TOKENS, VIEWER, Api, bearer, served
from tests.acceptance.task_api import as_admin, as_operator, audit, emptied, made

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PASSWORD = "correct horse battery"
COOKIE = "agent_scheduler_session"
#: What changes something and is open to a viewer all the same: his own session, and a question with a body.
OPEN_TO_VIEWERS = {
    ("post", "/login"), ("post", "/logout"), ("put", "/api/v2/session/password"), ("post", "/api/v2/preview"),
    ("post", "/api/v2/tasks/parse"),
}  # fmt: skip
ADMINS_OWN = ("/api/v2/users", "/api/v2/tokens")
CHANGING = {"post", "put", "patch", "delete"}
ROLES = {"viewer": VIEWER, "operator": OPERATOR, "admin": ADMIN}


@pytest.fixture(scope="module", params=["mariadb"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    yield from served(request, tmp_path_factory)


@pytest.fixture
def api(shared: Api) -> Api:
    return emptied(shared)


@pytest.fixture
def admin(api: Api) -> Iterator[httpx.Client]:
    with as_admin(api) as client:
        yield client


def browser(api: Api) -> httpx.Client:
    """Somebody without a token, who keeps his cookies."""
    return httpx.Client(base_url=api.public.base_url, timeout=30)


def add_user(admin: httpx.Client, name: str, role: str = "operator") -> int:
    answer = admin.post("/api/v2/users", json={"name": name, "password": PASSWORD, "role": role})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def log_in(client: httpx.Client, name: str, password: str = PASSWORD) -> dict[str, str]:
    """Log in and return the header that a change needs."""
    answer = client.post("/login", json={"name": name, "password": password})
    assert answer.status_code == 200, answer.text
    return {"X-CSRF-Token": answer.json()["csrf_token"]}


# -- roles ------------------------------------------------------------------------------------------


def operations(api: Api) -> list[tuple[str, str, str | None]]:
    """Every (method, path, least role) of the OpenAPI document; None: it is public."""
    document = api.viewer.get("/openapi.json", timeout=60).json()
    return [
        (method, path, operation.get("x-least-role"))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_no_operation_changes_anything_for_less_than_an_operator(api: Api) -> None:
    found = operations(api)
    weak = {(m, p) for m, p, role in found if m in CHANGING and role in (None, "viewer")}

    assert len(found) > 40
    assert weak == OPEN_TO_VIEWERS
    assert {role for _, path, role in found if path.startswith(ADMINS_OWN)} == {"admin"}


def test_each_role_may_do_what_the_document_says_and_nothing_else(api: Api) -> None:
    wrong = []
    order = list(ROLES)
    for method, path, least in operations(api):
        if path in PUBLIC:
            continue
        assert least is not None, f"{method} {path} says no role"
        address = path.replace("{task_id}", "999999").replace("{run_id}", "0199-none")
        for name in ("change", "hold", "user", "token", "backfill", "endpoint", "budget", "channel"):
            address = address.replace(f"{{{name}_id}}", "999999")
        if api.public.request(method, address).status_code != 401:
            wrong.append(f"{method} {path} answers without a token")
        for role in order[: order.index(least)]:
            answer = api.public.request(method, address, headers=bearer(ROLES[role]), content=b"{}")
            if (answer.status_code, answer.headers["content-type"]) != (403, "application/problem+json"):
                wrong.append(f"{method} {path} as {role}: {answer.status_code}")
        if address.startswith("/api/v2") and "{" not in address and not address.endswith("/events"):
            with api.public.stream(method, address, headers=bearer(ROLES[least]), content=b"nonsense") as answer:
                if answer.status_code in (401, 403):
                    wrong.append(f"{method} {path} as {least}: {answer.status_code}")

    assert wrong == []


# -- tokens -----------------------------------------------------------------------------------------


def test_a_token_is_shown_once_kept_as_its_digest_and_ends_when_it_is_revoked(api: Api, admin: httpx.Client) -> None:
    answer = admin.post("/api/v2/tokens", json={"name": "ci", "role": "operator"})
    token, token_id = answer.json()["token"], answer.json()["id"]

    with httpx.Client(base_url=api.public.base_url, headers=bearer(token), timeout=30) as client:
        assert made(client)["create_by"] == "ci"
        assert admin.delete(f"/api/v2/tokens/{token_id}").status_code == 200
        api.stack.wait_for(lambda: client.get("/api/v2/tasks").status_code == 401, "the token to end", 5)
    listed = admin.get("/api/v2/tokens").text
    stored = str(api.stack.sql("SELECT * FROM api_token")) + str(api.stack.sql("SELECT * FROM audit_log"))
    assert token not in listed + stored
    assert '"last_used_at":"' in listed


def test_a_token_expires_by_itself(api: Api, admin: httpx.Client) -> None:
    ends = datetime.now(UTC) + timedelta(days=1)
    token = admin.post("/api/v2/tokens", json={"name": "short", "expires_at": ends.isoformat()}).json()["token"]
    assert api.public.get("/api/v2/tasks", headers=bearer(token)).status_code == 200

    api.stack.sql("UPDATE api_token SET expires_at = :past", past="2026-01-01 00:00:00.000000")
    api.stack.wait_for(
        lambda: api.public.get("/api/v2/tasks", headers=bearer(token)).status_code == 401, "the token to expire", 5
    )

    late = admin.post("/api/v2/tokens", json={"name": "late", "expires_at": "2026-01-01T00:00:00Z"})
    assert late.status_code == 422


def test_an_idempotency_key_keeps_no_token(api: Api, admin: httpx.Client) -> None:
    key = {"Idempotency-Key": "make-one"}
    first = admin.post("/api/v2/tokens", json={"name": "ci"}, headers=key)
    second = admin.post("/api/v2/tokens", json={"name": "ci"}, headers=key)

    assert (first.status_code, second.status_code) == (201, 409)
    assert first.json()["token"] not in str(api.stack.sql("SELECT * FROM api_request"))


# -- users and sessions -----------------------------------------------------------------------------


def test_a_browser_logs_in_by_a_cookie_that_no_script_reads(api: Api, admin: httpx.Client) -> None:
    add_user(admin, "ann")
    with browser(api) as ann:
        answer = ann.post("/login", json={"name": "ann", "password": PASSWORD})

        cookie = answer.headers["set-cookie"].lower()
        assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
        me = ann.get("/api/v2/session").json()
        assert (me["name"], me["role"], me["via"]) == ("ann", "operator", "session")
        assert me["csrf_token"] == answer.json()["csrf_token"]
    assert PASSWORD not in str(api.stack.sql("SELECT * FROM api_user"))
    assert answer.cookies[COOKIE] not in str(api.stack.sql("SELECT * FROM api_session"))


def test_a_session_changes_something_only_with_its_csrf_token(api: Api, admin: httpx.Client) -> None:
    add_user(admin, "ann")
    add_user(admin, "eve")
    with browser(api) as ann, browser(api) as eve:
        header, of_eve = log_in(ann, "ann"), log_in(eve, "eve")

        for forged in ({}, {"X-CSRF-Token": "x"}, {"X-CSRF-Token": "\xff"}, of_eve):
            headers = {name.encode(): value.encode("latin-1") for name, value in forged.items()}
            assert ann.post("/api/v2/tasks", json={}, headers=headers).status_code == 403
        assert ann.post("/api/v2/tasks", json={}, headers=header).status_code == 422
        assert ann.get("/api/v2/tasks").status_code == 200
        assert ann.post("/login", json={}, headers={"Sec-Fetch-Site": "cross-site"}).status_code in (403, 422)


def test_a_login_from_another_site_is_refused(api: Api, admin: httpx.Client) -> None:
    add_user(admin, "ann")
    with browser(api) as ann:
        login = {"name": "ann", "password": PASSWORD}
        assert ann.post("/login", json=login, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        plain = ann.post("/login", content='{"name": "ann"}', headers={"Content-Type": "text/plain"})
        assert plain.status_code == 422
        assert not ann.cookies


def test_a_session_ends_by_logout_and_when_its_user_is_changed(api: Api, admin: httpx.Client) -> None:
    user = add_user(admin, "ann")
    with browser(api) as ann:
        header = log_in(ann, "ann")
        stolen = dict(ann.cookies)
        assert ann.post("/logout", headers=header).status_code == 204
        assert httpx.get(f"{api.public.base_url}/api/v2/tasks", cookies=stolen, timeout=30).status_code == 401

        log_in(ann, "ann")
        assert admin.patch(f"/api/v2/users/{user}", json={"disabled": True}).status_code == 200
        assert ann.get("/api/v2/tasks").status_code == 401
        assert ann.post("/login", json={"name": "ann", "password": PASSWORD}).status_code == 401


def test_a_user_changes_his_own_password_and_no_admin_locks_himself_out(api: Api, admin: httpx.Client) -> None:
    user = add_user(admin, "root", "admin")
    with browser(api) as root:
        header = log_in(root, "root")
        assert root.patch(f"/api/v2/users/{user}", json={"role": "viewer"}, headers=header).status_code == 409
        change = {"old": "wrong", "new": "another password"}
        assert root.put("/api/v2/session/password", json=change, headers=header).status_code == 403
        change["old"] = PASSWORD
        assert root.put("/api/v2/session/password", json=change, headers=header).status_code == 204
        assert root.get("/api/v2/tasks").status_code == 401
        log_in(root, "root", "another password")
    actions = [entry["action"] for entry in audit(api)]
    assert actions[0] == "session.open"
    assert {"user.create", "user.password"} <= set(actions)
    assert "another password" not in api.viewer.get("/api/v2/audit").text


def test_the_first_admin_is_made_in_the_database(api: Api) -> None:
    users.add_user(api.stack.engine, "admin", Role.ADMIN, PASSWORD, by="make run")

    assert users.has_password(api.stack.engine, "admin", PASSWORD) is True
    assert users.has_password(api.stack.engine, "admin", "x") is False
    assert users.has_password(api.stack.engine, "nobody", "x") is None
    with browser(api) as root:
        log_in(root, "admin")
        assert root.get("/api/v2/users").status_code == 200


def test_only_an_admin_reads_of_accounts_in_the_audit(api: Api, admin: httpx.Client) -> None:
    add_user(admin, "ann")
    assert admin.post("/api/v2/tokens", json={"name": "ci"}).status_code == 201
    with browser(api) as ann:
        log_in(ann, "ann")
        made(admin, "report")
        seen = ann.get("/api/v2/audit").json()["items"]

    assert [entry["kind"] for entry in seen] == ["task"]
    assert api.viewer.get("/api/v2/audit?kind=session").json()["items"] == []
    assert {entry["kind"] for entry in audit(api)} == {"task", "user", "token", "session"}


def test_a_login_with_the_old_password_opens_no_session_after_its_change(api: Api, admin: httpx.Client) -> None:
    """The password was compared before its change, the session is entered after it."""
    user = add_user(admin, "ann")
    with autocommit(api.stack.engine) as connection:
        known = access.user_by_name(connection, "ann")
    assert known is not None

    assert admin.patch(f"/api/v2/users/{user}", json={"password": "another password"}).status_code == 200
    with transaction(api.stack.engine) as tx:
        assert access.open_session(tx, "0" * 64, known, timedelta(hours=1)) is None
    assert api.stack.count("SELECT count(*) FROM api_session") == 0


def test_a_post_whose_outcome_is_not_known_is_not_done_again(api: Api, admin: httpx.Client) -> None:
    """A 5xx may come after the commit; a 4xx says that nothing was done, for a token too."""
    key = {"Idempotency-Key": "k"}
    assert admin.post("/api/v2/tokens", json={"name": ""}, headers=key).status_code == 422
    assert admin.post("/api/v2/tokens", json={"name": "ci"}, headers=key).status_code == 201

    done = 0

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        nonlocal done
        done += 1
        await PlainTextResponse("the answer got lost", 500)(scope, receive, send)

    statuses = [post_with_key(failing, api.stack.engine) for _ in range(2)]
    assert (statuses, done) == ([500, 409], 1)


def test_a_key_is_answered_503_while_the_database_is_away(api: Api) -> None:
    nowhere = connect("mysql+pymysql://u:p@127.0.0.1:1/none")

    async def unreached(*_: Any) -> None:
        raise AssertionError("nothing may be done")

    assert post_with_key(unreached, nowhere) == 503


def post_with_key(app: Any, engine: Engine) -> int:
    """Send a POST through the middleware alone; return its status."""
    scope = {
        "type": "http", "method": "POST", "path": "/x", "query_string": b"",
        "headers": [(b"idempotency-key", b"once")], "state": {"caller": Caller("ann", Role.OPERATOR, "token")},
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(IdempotentPosts(app, engine)(scope, receive, send))
    return int(sent[0]["status"])


# -- thieves ----------------------------------------------------------------------------------------


def thief(api: Api, address: str) -> httpx.Client:
    """Somebody at another address of this machine: what slows him must not slow the other tests."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=api.public.base_url, timeout=60, transport=transport)


def test_a_thousand_wrong_logins_are_refused_and_another_user_still_gets_in(api: Api, admin: httpx.Client) -> None:
    add_user(admin, "target")
    add_user(admin, "other")
    with thief(api, "127.0.0.2") as client, ThreadPoolExecutor(4) as pool:

        def guess(number: int) -> int:
            return client.post("/login", json={"name": "target", "password": f"guess {number}"}).status_code

        first = [guess(number) for number in range(12)]
        codes = Counter(pool.map(guess, range(12, 1000))) + Counter(first)
        refused = client.post("/login", json={"name": "target", "password": PASSWORD})
        log_in(client, "other")

    assert set(codes) == {401, 429}
    assert codes[401] <= 60  # five a minute for a name from one address; a slow machine takes minutes
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    with browser(api) as target:
        log_in(target, "target")


def test_guessing_tokens_is_slowed_and_known_tokens_still_serve(api: Api) -> None:
    with thief(api, "127.0.0.3") as client:
        assert client.get("/api/v2/tasks", headers=bearer(VIEWER)).status_code == 200
        codes = Counter(client.get("/api/v2/tasks", headers=bearer(f"guess-{n}")).status_code for n in range(50))
        known = client.get("/api/v2/tasks", headers=bearer(VIEWER)).status_code

    assert codes[429] >= 15
    assert known == 200


def test_nobody_chooses_the_address_that_he_comes_from(api: Api, admin: httpx.Client) -> None:
    add_user(admin, "ann")
    with browser(api) as ann:
        ann.headers["X-Forwarded-For"] = "203.0.113.9"
        log_in(ann, "ann")

    assert {entry["note"] for entry in audit(api, kind="session")} == {"127.0.0.1"}


def test_other_spellings_of_a_name_are_not_further_tries() -> None:
    throttle = Throttle()
    for name in ("josé", "JOSE", " jose ", "jose\u0301", "ｊｏｓｅ"):
        throttle.login_failed("203.0.113.9", name)

    assert throttle.login_wait("203.0.113.9", "Jose") > 0
    assert throttle.login_wait("203.0.113.9", "josef") == 0


def test_a_wrong_name_costs_as_much_time_as_a_wrong_password(api: Api, admin: httpx.Client) -> None:
    def took(name: str) -> float:
        begin = time.perf_counter()
        assert api.public.post("/login", json={"name": name, "password": "wrong"}).status_code == 401
        return time.perf_counter() - begin

    add_user(admin, "known")
    known = min(took("known") for _ in range(4))
    unknown = min(took(f"unknown {n}") for n in range(4))

    assert unknown > known / 3  # without the hash it takes a twentieth


# -- bodies and headers -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/health/live", "/api/v2/tasks", "/nothing"])
def test_every_answer_tells_a_browser_to_load_and_guess_nothing(api: Api, path: str) -> None:
    headers = api.viewer.get(path).headers

    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("has_length", [True, False])
def test_an_endless_body_is_refused_before_it_is_read(api: Api, has_length: bool) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1
            yield b"x" * 2**20

    content: Any = b"x" * (3 * 2**20) if has_length else body()
    try:
        with as_operator(api) as client:
            status = client.post("/api/v2/tasks", content=content).status_code
    except httpx.TransportError:  # the connection was closed while it was still sending
        status = 413

    assert status == 413
    assert sent < 64
    assert api.is_live()


def test_a_body_that_comes_byte_by_byte_holds_up_nobody() -> None:
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    async def drip() -> dict[str, Any]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def unreached(*_: Any) -> None:
        raise AssertionError("the body was not whole")

    scope = {"type": "http", "method": "POST", "path": "/api/v2/tasks", "headers": []}
    asyncio.run(BoundedBodies(unreached, seconds=0.3)(scope, drip, send))

    assert answers[0]["status"] == 408


def test_a_client_that_goes_away_in_the_middle_of_its_body_leaves_no_trace(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as half:
        head = (
            f"POST /api/v2/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: 900\r\n\r\n"
        )
        half.sendall(head.encode() + b'{"name": "half')

    assert api.viewer.get("/api/v2/tasks").json()["items"] == []
    out = (api.stack.folder / "api.out").read_text()
    assert "Traceback" not in out


def test_the_settings_tokens_are_told_apart_by_their_place(api: Api) -> None:
    with as_operator(api) as client:
        assert made(client)["create_by"] == f"API_TOKENS entry {1 + TOKENS.split(', ').index(f'{OPERATOR}:operator')}"
