"""`Idempotency-Key` on POST: asked twice, done once. The second time the first answer comes again."""

import json
import logging
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import Caller
from api.problems import problem
from logger import redact
from store import requests
from store.database import AnyRow, autocommit, in_words

HEADER: Final = "idempotency-key"
LONGEST_KEY: Final = 200
KEPT_HEADERS: Final = ("content-type", "location", "etag")
LONGEST_ANSWER: Final = 1024 * 1024
NOT_DONE: Final = range(400, 500)  # nothing was done, and a mended request may have the same key
UNKNOWN: Final = 500  # from here on it may have been done: the key stays, without an answer
SHOWN_ONCE: Final = frozenset({"/api/v2/tokens"})  # such an answer is a secret and is not kept: the key is just used up

logger = logging.getLogger("api")


class IdempotentPosts:
    """ASGI middleware behind the gate; keys belong to their caller and are kept for a day.

    A process that dies in the middle, or answers 5xx, leaves a key without an answer. Whether its change was made
    cannot be known here, so such a key is refused for that day and never carried out twice.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app = app
        self.engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry out a new key, repeat the answer of a known one."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        caller: Caller | None = scope.get("state", {}).get("caller")
        key = headers.get(HEADER)
        if scope["type"] != "http" or scope["method"] != "POST" or key is None or caller is None:
            await self.app(scope, receive, send)
            return
        if not 1 <= len(key) <= LONGEST_KEY:
            await problem(400, f"Idempotency-Key must have 1 to {LONGEST_KEY} characters.")(scope, receive, send)
            return
        message = await receive()
        body = message.get("body", b"")
        target = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
        digest = sha256("\n".join([caller.via, caller.name, target, key]).encode("utf-8", "replace")).hexdigest()
        body_digest = sha256(body).hexdigest()
        try:
            known = await run_in_threadpool(self._begin, digest, body_digest)
        except SQLAlchemyError as error:
            logger.error("a key cannot be looked up: %s", redact(in_words(error)))
            told = "The database does not answer, so nothing was done. Try again in a moment."
            await problem(503, told, headers={"Retry-After": "5"})(scope, receive, send)
            return
        if known is not None:
            await _again(known, body_digest)(scope, receive, send)
            return
        await self._carry_out(digest, scope, _one(message, receive), send)

    async def _carry_out(self, digest: str, scope: Scope, receive: Receive, send: Send) -> None:
        kept: dict[str, Any] = {"status": UNKNOWN, "headers": {}, "body": bytearray()}

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = Headers(raw=message["headers"])
                kept["status"] = message["status"]
                kept["headers"] = {name: sent[name] for name in KEPT_HEADERS if name in sent}
            elif len(kept["body"]) <= LONGEST_ANSWER:
                kept["body"] += message.get("body", b"")
                is_kept = kept["status"] < UNKNOWN and scope["path"] not in SHOWN_ONCE
                if not message.get("more_body", False) and (is_kept or kept["status"] in NOT_DONE):
                    # before the answer goes out: who has it may ask again at once
                    await run_in_threadpool(self._end, digest, kept)
            await send(message)

        await self.app(scope, receive, keep)

    def _begin(self, digest: str, body_digest: str) -> AnyRow | None:
        with autocommit(self.engine) as connection:
            return requests.begin(connection, digest, body_digest)

    def _end(self, digest: str, kept: dict[str, Any]) -> None:
        try:
            with autocommit(self.engine) as connection:
                if kept["status"] in NOT_DONE:
                    requests.forget(connection, digest)
                    return
                answer = {"headers": kept["headers"], "body": kept["body"].decode("utf-8", "replace")}
                requests.answered(connection, digest, kept["status"], json.dumps(answer, ensure_ascii=False))
        except SQLAlchemyError as error:
            logger.error("an answer could not be kept for its key: %s", redact(in_words(error)))


def _again(known: AnyRow, body_digest: str) -> Response:
    if known.body_digest != body_digest:
        return problem(422, "This Idempotency-Key was used for another body; use a new key for a new request.")
    if known.status is None:
        told = (
            "This Idempotency-Key is being carried out, or its first try failed and its outcome is not known. "
            "Look whether it was done; to do it again, use a new key."
        )
        return problem(409, told)
    answer = json.loads(known.answer)
    return Response(answer["body"], known.status, {**answer["headers"], "Idempotent-Replay": "true"})


def _one(message: Message, receive: Receive) -> Receive:
    pending = [message]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
