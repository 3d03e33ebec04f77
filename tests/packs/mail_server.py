"""An SMTP server over real sockets that keeps what it takes, or refuses it."""

import asyncio
from email import message_from_bytes
from email.message import Message
from email.policy import default
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller

from tests.services import HOST, free_port


class MailServer:
    """Listens on a free port of loopback until it is closed.

    `refuses`: every message, for now. `holds`: takes a message and says nothing.
    """

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], Message]] = []
        self.refuses = False
        self.holds = False
        self.held = 0
        self.port = free_port()
        self._controller = Controller(self, hostname=HOST, port=self.port)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.held += 1
        while self.holds:
            await asyncio.sleep(0.05)
        if self.refuses:
            return "451 try again later"
        self.mails.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content, policy=default)))
        return "250 OK"

    def url(self, to: str) -> str:
        """The Apprise address that leads here."""
        return f"mailto://{HOST}:{self.port}?from=scheduler@example.com&to={to}"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()


def text_of(mail: Message) -> str:
    """The words of a mail, whatever its parts."""
    return "\n".join(
        str(part.get_payload(decode=True), part.get_content_charset() or "utf-8")  # type: ignore[arg-type]
        for part in mail.walk()
        if not part.is_multipart()
    )
