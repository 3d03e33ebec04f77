"""Notifications: what became of runs is worked into messages, and messages are sent. A job of beat.

    end of a run ──> notify_due ──work_in──> notify_message ──send──> channel

Everything stands in the ledger's database, so neither the death of a worker nor that of a beat loses anything: at worst
a message that was sent and not yet ticked off is sent twice. Sending is done by a child process for each message.
"""

import json
import logging
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from config import Settings, read_channel_url
from core.lifecycle import Origin, State
from core.notifications import Ended, Event, Known, Told, compose, tell
from core.task_config import readable_config
from credentials import CredentialError, decrypt, encrypt, encrypt_anew
from logger import redact
from store import audit, notices, notifications
from store.audit import Actor, Change
from store.database import AnyRow, autocommit, read_clock, transaction
from store.notifications import Pending
from trouble import Trouble

logger = logging.getLogger("notify")

LOOK_SECONDS: Final = 2.0
BATCH: Final = 500
MAX_BATCHES: Final = 20  # of one look; the rest has its turn at the next
GROUPS: Final = 20
AT_ONCE: Final = 4
SEND_SECONDS: Final = 25.0
LEASE: Final = timedelta(seconds=60)
FIRST_PAUSE: Final = timedelta(seconds=10)
LAST_PAUSE: Final = timedelta(minutes=10)
UNKNOWN_KEPT: Final = timedelta(days=1)
ALERTS: Final = "ALERT_URLS"
"""The channel of the setting: alarms about the system go there, and rows may name it too."""
SHORTEST_SECRET: Final = 6
UNREADABLE: Final = (
    "its address cannot be read with this SECRET_KEY (nor SECRET_KEY_PREVIOUS): set the one that it was entered with, "
    "or enter it again: python -m scripts.channels add {}"
)

ROOT: Final = Path(__file__).resolve().parent


class ChannelFault(Exception):
    """A channel's address cannot be had, or a message was not taken; the message holds nothing secret."""


class Notifications:
    """Works in and sends; beat makes a job of `look`, every LOOK_SECONDS."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self._has_alerts = False
        self._one_step = Lock()
        self._unknown = Trouble(logger, "every channel that is told something exists")

    def look(self) -> None:
        """Do what there is to do: nothing but two reads where no row uses `notify`."""
        self.watch()
        for _ in range(MAX_BATCHES):
            if self.work_in() < BATCH:
                break
        self.send()

    # -- what is to be told -----------------------------------------------------------------------

    def work_in(self) -> int:
        """Turn ends of runs into messages, in one transaction; return how many runs were worked in."""
        with autocommit(self.engine) as connection:
            if not notifications.anything_due(connection):
                return 0
        with transaction(self.engine) as tx:
            if not notifications.take_turn(tx):
                return 0
            now = read_clock(tx)
            ended = notifications.take_ended(tx, BATCH)
            batch = _Batch(tx, now, [row for row in ended if row.id is not None])
            batch.write()
            notifications.leave(tx, [row.run_id for row in ended])
        return len(ended)

    def watch(self) -> None:
        """Tell ALERT_URLS of what beats notice and nobody may see: held rows, stalled queues. And of the end."""
        if not self.settings.alert_urls.get_secret_value():
            return
        with transaction(self.engine) as tx:
            if not notifications.take_turn(tx):
                return
            self._enter_alerts(tx)
            now = read_clock(tx)
            seen = notices.read(tx, now)
            alarms = {f"alarm:queue {each.queue}": f"nothing is taken from a queue: {each}" for each in seen.stalled}
            if seen.held is not None:
                alarms["alarm:held rows"] = str(seen.held)
            before = notifications.alarms(tx, ALERTS)
            for subject in alarms.keys() | before:
                if (subject in alarms) != (subject in before):
                    self._tell_alarm(tx, subject, alarms.get(subject), now)

    def _enter_alerts(self, tx: Connection) -> None:
        if not self._has_alerts and notifications.channel(tx, ALERTS) is None:
            with audit.silence_triggers(tx):
                channel_id = notifications.add_channel(tx, {"name": ALERTS, "url_env": ALERTS})
            entered = Change(action="channel.create", subject=channel_id, after={"name": ALERTS})
            audit.record(tx, Actor("beat", "system"), entered)
        self._has_alerts = True

    def _tell_alarm(self, tx: Connection, subject: str, text: str | None, now: datetime) -> None:
        name = subject.removeprefix("alarm:")
        told = Told(Event.ALARM, subject, text) if text else Told(Event.ALARM, f"{subject} over", "it is over")
        notifications.add_message(tx, ALERTS, Pending(told, 1, now, now, [name], None), now)
        notifications.learn(tx, ALERTS, subject, now, Known(failing=text is not None))

    # -- sending ----------------------------------------------------------------------------------

    def send(self) -> None:
        """Send what is due, one message a channel, several channels at a time."""
        with autocommit(self.engine) as connection:
            now = read_clock(connection)
            found = notifications.channels_with_messages(connection, now)
        self._tell_unknown([row.name for row in found if row.id is None])
        names = [row.name for row in found if row.id is not None]
        self._send_to_each(names)
        with transaction(self.engine) as tx:
            if lost := notifications.forget(tx, now, now - UNKNOWN_KEPT):
                logger.error("%d messages for channels that do not exist are given up", lost)

    def _send_to_each(self, names: Sequence[str]) -> None:
        """Send to several at a time, in daemon threads: a server that drips must not hold up the end of beat."""
        left, failed = deque(names), list[Exception]()

        def work() -> None:
            while True:
                try:
                    name = left.popleft()
                except IndexError:
                    return
                try:
                    self._send_to(name)
                except Exception as error:  # the edge of the thread: the caller raises it
                    failed.append(error)

        threads = [Thread(target=work, name="notify", daemon=True) for _ in names[:AT_ONCE]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    @contextmanager
    def _step(self) -> Iterator[Connection]:
        """Begin a transaction; one at a time for all threads, since beat's connections are counted."""
        with self._one_step, transaction(self.engine) as tx:
            yield tx

    def _tell_unknown(self, names: Sequence[str]) -> None:
        if names:
            what = f"notify names channels that do not exist: {', '.join(names[:10])}"
            self._unknown.goes_on(f"{what}; add them with: python -m scripts.channels add NAME", tuple(names))
        else:
            self._unknown.is_over()

    def _send_to(self, name: str) -> None:
        with self._step() as tx:
            now = read_clock(tx)
            channel = notifications.reserve(tx, name, now, LEASE)
            found = [] if channel is None else notifications.waiting(tx, name, GROUPS)
        if channel is None or not found:
            return
        zone = self.settings.timezone
        groups = [group for _, group in found]
        clocks = {moment: _clock(moment, zone) for group in groups for moment in (group.first_at, group.last_at)}
        message = compose(groups, zone, clocks)
        is_bad = any(group.event in (Event.FAILURE, Event.ALARM) for group in groups[: message.groups])
        try:
            deliver(address_of(channel, self.settings), message.title, message.body, "failure" if is_bad else "info")
        except ChannelFault as fault:
            self._put_off(channel, str(fault))
            return
        with self._step() as tx:
            notifications.settle(tx, channel.id, [row for row, _ in found[: message.groups]], read_clock(tx))
        logger.info("channel %s is told: %s", name, message.title)

    def _put_off(self, channel: AnyRow, fault: str) -> None:
        pause = min(FIRST_PAUSE * 2 ** min(channel.failures, 10), LAST_PAUSE)
        logger.error(
            "channel %s is not told, and is tried again in %.0f s: %s", channel.name, pause.total_seconds(), fault
        )
        with self._step() as tx:
            notifications.put_off(tx, channel, fault, read_clock(tx) + pause)


class _Batch:
    """Runs that have ended, and what each channel is told of them."""

    def __init__(self, tx: Connection, now: datetime, rows: Sequence[AnyRow]) -> None:
        self._tx, self._now = tx, now
        self._rows = [row for row in rows if row.origin != Origin.BACKFILL]  # old moments say nothing about today
        self._known = notifications.known(tx, {_subject(row) for row in self._rows})
        self._learnt: dict[tuple[str, str], Known] = {}
        self._pending: dict[tuple[str, Event, str], Pending] = {}

    def write(self) -> None:
        """Decide on every run in the order of their ends, and write what follows."""
        for row in self._rows:
            config = readable_config(row.config)
            if config is not None and config.notify:
                self._work_in(row, config.notify)
        for (channel, subject), what in self._learnt.items():
            if what != self._known.get((channel, subject), Known()):
                notifications.learn(self._tx, channel, subject, self._now, what)
        for (channel, _, _), pending in self._pending.items():
            notifications.add_message(self._tx, channel, pending, self._now)

    def _work_in(self, row: AnyRow, notify: Mapping[Event, Sequence[str]]) -> None:
        needs_answer = Event.CHANGE in notify and row.state == State.SUCCESS
        answer = notifications.answer_of(self._tx, row.id) if needs_answer else None
        at = row.finished_at or self._now
        run = Ended(row.id, row.task_name, State(row.state), at, row.error_kind, row.error, answer)
        for channel in dict.fromkeys(name for names in notify.values() for name in names):
            events = [event for event, names in notify.items() if channel in names]
            key = channel, _subject(row)
            told, known = tell(run, events, self._learnt.get(key) or self._known.get(key) or Known())
            self._learnt[key] = known
            for each in told:
                self._add(channel, each, run)

    def _add(self, channel: str, told: Told, run: Ended) -> None:
        told = Told(told.event, told.cause, redact(told.text))
        key = channel, told.event, told.cause
        if key in self._pending:
            self._pending[key].add(told, run.at, run.task, run.run_id)
        else:
            self._pending[key] = Pending(told, 1, run.at, run.at, [run.task], run.run_id)


def _subject(row: AnyRow) -> str:
    return f"task:{row.periodic_task_id}" if row.periodic_task_id is not None else f"run:{row.task_name[:180]}"


def _clock(moment: datetime, zone: str) -> str:
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"


# -- one channel --------------------------------------------------------------------------------------


def sealed_address(url: str, name: str, settings: Settings) -> str:
    """Encrypt a channel's address, bound to its name. Raises ChannelFault where SECRET_KEY is not set."""
    try:
        return encrypt(url, name=f"channel {name}", base_url="notify://channel", settings=settings)
    except CredentialError as error:
        raise ChannelFault(str(error)) from None


def sealed_anew(channel: AnyRow, settings: Settings) -> str:
    """Encrypt a stored address with today's SECRET_KEY. Raises ChannelFault where it cannot be read."""
    try:
        return encrypt_anew(channel.url, settings)
    except CredentialError:
        raise ChannelFault(UNREADABLE.format(channel.name)) from None


def address_of(channel: AnyRow, settings: Settings) -> str:
    """Find a channel's Apprise address. Raises ChannelFault with what to set."""
    if channel.url_env == ALERTS:
        url = settings.alert_urls.get_secret_value()
    elif channel.url_env is not None:
        try:
            url = read_channel_url(channel.url_env)
        except ValueError as error:
            raise ChannelFault(str(error)) from None
    else:
        try:
            url = decrypt(channel.url, name=f"channel {channel.name}", base_url="notify://channel", settings=settings)
        except CredentialError:
            raise ChannelFault(UNREADABLE.format(channel.name)) from None
    if not url:
        raise ChannelFault(f"the environment variable {channel.url_env} is not set")
    return url


def kinds_of(channel: AnyRow, settings: Settings) -> list[str] | None:
    """Say of which kinds an address is, such as dingtalk or mailtos; None where it cannot be read."""
    try:
        parts = address_of(channel, settings).split(",")
        schemes = {urlsplit(part.strip()).scheme for part in parts if "://" in part}  # others are of a password, say
    except (ChannelFault, ValueError):
        return None
    return sorted(scheme for scheme in schemes if scheme)


def send_test(channel: AnyRow, settings: Settings) -> None:
    """Send a channel a message now, counted against nothing. Raises ChannelFault."""
    text = f"A test of the channel {channel.name}. What tasks name in `notify` arrives here."
    deliver(address_of(channel, settings), "Agent scheduler: test", text)


def deliver(url: str, title: str, body: str, kind: str = "info") -> None:
    """Send a message now; takes SEND_SECONDS at most. Raises ChannelFault, in words without the address."""
    _ask_child(url, title=title, body=body, notify_type=kind)


def check_address(url: str) -> None:
    """Check that Apprise can read an address; sends nothing. Raises ChannelFault."""
    _ask_child(url)


def _ask_child(url: str, **message: str) -> None:
    asked = json.dumps({"url": url, **message})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "apprise_child"],
            input=asked.encode(),
            capture_output=True,
            cwd=ROOT,
            timeout=SEND_SECONDS,
            check=False,
        )
        error: Any = (
            json.loads(done.stdout)["error"] if done.returncode == 0 else done.stderr.decode(errors="replace")[-300:]
        )
    except subprocess.TimeoutExpired:
        error = f"it was not sent within {SEND_SECONDS:g} s"
    except (OSError, ValueError, KeyError) as fault:
        error = f"the process that sends it failed: {type(fault).__name__}"
    if error is not None:
        raise ChannelFault(without_secrets(str(error), url))


def without_secrets(text: str, url: str) -> str:
    """Hide every piece of an address that may be a secret."""
    pieces = {piece for piece in re.split(r"[\s,:/@?&=#]+", url) if len(piece) >= SHORTEST_SECRET}
    for piece in sorted(pieces, key=len, reverse=True):
        text = text.replace(piece, "***")
    return redact(text)
