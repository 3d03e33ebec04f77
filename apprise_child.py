"""Sends one message through Apprise, in a process of its own: python -m apprise_child, a JSON object on its input.

    {"url": …, "title": …, "body": …, "notify_type": "failure"}  ->  {"error": null} or {"error": "why it was not sent"}

A process of its own, since Apprise bounds neither how long a server may drip nor what a plugin keeps in memory, and a
thread that waits cannot be ended. The address comes on the input: arguments are seen by every account of the machine.
"""

import json
import logging
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

LAST_SECOND: Final = 30  # should nobody wait for the answer any more

#: Their robots answer HTTP 200 to a message that they refuse, and say so in the body, which Apprise does not read.
VERDICTS: Final = {
    "oapi.dingtalk.com": ("errcode", "errmsg"),
    "qyapi.weixin.qq.com": ("errcode", "errmsg"),
    "open.feishu.cn": ("code", "msg"),
    "open.larksuite.com": ("code", "msg"),
}


def refusal(host: str, answer: Any) -> str | None:
    """Say why a robot refuses a message in an answer with HTTP 200; None where it took it."""
    if host not in VERDICTS:
        return None
    code, reason = VERDICTS[host]
    if not isinstance(answer, dict) or code not in answer:
        return f"{host} answered without a {code}"
    return None if answer[code] == 0 else f"{host} refuses: {code} {answer[code]}: {answer.get(reason, '')}"


def send(url: str, message: Mapping[str, Any]) -> str | None:
    """Send a message to every address in `url` (comma-separated); say why not, where one did not take it.

    Without a body only the addresses are read.
    """
    import apprise
    import requests

    notes: list[str] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())

    logging.getLogger("apprise").addHandler(Notes(level=logging.WARNING))
    post = requests.post

    def honest_post(*args: Any, **kwargs: Any) -> requests.Response:
        """Post, and read the robots' verdict; its plugin takes a RequestException for a failure."""
        response = post(*args, **kwargs)
        host = (urlsplit(response.url).hostname or "").lower()
        if response.ok and host in VERDICTS:
            try:
                why = refusal(host, response.json())
            except ValueError:
                why = f"{host} did not answer in JSON"
            if why is not None:
                notes.append(why)
                raise requests.RequestException(why)
        return response

    requests.post = honest_post
    target = apprise.Apprise()
    if not target.add(url):
        return f"Apprise does not know this kind of address ({'; '.join(notes)[:300] or 'see its documentation'})"
    if not message or target.notify(**message, body_format=apprise.NotifyFormat.TEXT):
        return None
    return "; ".join(dict.fromkeys(notes))[:1000] or "it was not taken"


def main() -> None:
    """Read the message, send it, and say how that went."""
    signal.alarm(LAST_SECOND)
    asked = json.load(sys.stdin)
    json.dump({"error": send(asked.pop("url"), asked)}, sys.stdout)


if __name__ == "__main__":
    main()
