"""From a template to an answer: language, colours, rights and time of whoever looks at the page."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound
from starlette.requests import cookie_parser
from starlette.responses import Response

from api.access import Caller, Role
from api.identities import csrf_token_of
from api.services import Services
from api.tokens import COOKIE
from web import moments
from web.refusals import said
from web.static_files import address, icon
from web.wording import HTML_NAMES, LANGUAGES, Words, chosen

FOLDER: Final = Path(__file__).with_name("templates")
LANGUAGE_COOKIE: Final = "agent_scheduler_language"
THEME_COOKIE: Final = "agent_scheduler_theme"
THEMES: Final = ("auto", "light", "dark")
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {"Content-Security-Policy": POLICY, "Vary": "Accept-Language, Cookie, HX-Request"}


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the navigation; its sentences are in `words/<language>/<key>.json`, its title is `<key>.title`."""

    key: str
    path: str
    letter: str
    """After `g` it leads here."""
    icon: str
    role: Role = Role.VIEWER


@dataclass(frozen=True, slots=True)
class Reader:
    """Who looks at a page, and how he likes it."""

    words: Words
    theme: str
    zone: ZoneInfo
    now: datetime
    caller: Caller | None
    csrf: str

    def may(self, role: str) -> bool:
        """True where the reader's role covers this one."""
        return self.caller is not None and self.caller.role.covers(Role(role))


def reader_of(request: Request, now: datetime | None = None) -> Reader:
    """Tell how a page is to be shown; `now` is the database's clock where the page has read it."""
    services: Services = request.app.state.services
    cookies = cookie_parser(request.headers.get("cookie", ""))
    asked = (request.query_params.get("lang", ""), cookies.get(LANGUAGE_COOKIE, ""))
    accepted = chosen(request.headers.get("accept-language", ""))
    language = next((name for name in asked if name in LANGUAGES), accepted)
    theme = cookies.get(THEME_COOKIE, "")
    caller: Caller | None = getattr(request.state, "caller", None)
    has_session = caller is not None and caller.via == "session"
    return Reader(
        words=Words(language),
        theme=theme if theme in THEMES else THEMES[0],
        zone=ZoneInfo(services.settings.timezone),
        now=now or datetime.now(UTC),
        caller=caller,
        csrf=csrf_token_of(cookies.get(COOKIE, "")) if has_session else "",
    )


class _ReadOnce(FileSystemLoader):
    """Reads every template when it is made: a newer version's files, put there before the restart, are not ours."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        names = (name for name in self.list_templates() if name.endswith(".html"))  # not what an editor leaves there
        self._sources = {name: (folder / name).read_text(encoding=self.encoding) for name in names}

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Hand out what was read, and the file's name for tracebacks. Raises TemplateNotFound."""
        if template not in self._sources:
            raise TemplateNotFound(template)
        return self._sources[template], str(Path(self.searchpath[0], template)), lambda: True


class Templates:
    """Renders the templates of `web/templates/`, as they are now, with what every page needs."""

    def __init__(self, pages: Sequence[Page] = (), folder: Path = FOLDER) -> None:
        self.pages = pages
        self._environment = Environment(
            loader=_ReadOnce(folder),
            auto_reload=False,
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(static=address, icon=icon)
        self._environment.filters["compact"] = _compact

    def page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        now: datetime | None = None,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> HTMLResponse:
        """Render a page, or a piece of one for htmx."""
        reader = reader_of(request, now)
        words = reader.words
        html = self._environment.get_template(template).render(
            t=words,
            reader=reader,
            path=request.url.path,
            html_language=HTML_NAMES[words.language],
            languages=LANGUAGES,
            navigation=[each for each in self.pages if reader.may(each.role)],
            duration=lambda seconds: moments.duration(words, seconds),
            relative=lambda moment: moments.relative(words, moment, reader.now),
            clock=lambda moment: moments.clock(moment, reader.zone, reader.now),
            exact=lambda moment: moments.exact(moment, reader.zone),
            said=partial(said, words),
            **context,
        )
        return HTMLResponse(html, status, {**HEADERS, **(headers or {})})


def rendered(request: Request, template: str, **context: Any) -> HTMLResponse:
    """Render with the application's templates; see `Templates.page`."""
    templates: Templates = request.app.state.templates
    return templates.page(request, template, **context)


def toast(
    response: Response, text: str, *, kind: str = "ok", undo: str | None = None, events: Sequence[str] = ()
) -> None:
    """Show a sentence in the page's corner once this answer is there; `undo` is an address to POST to.

    `events` happen in the page too: `console:close` closes its dialogs, others are what its pieces wait for.
    """
    shown: dict[str, Any] = {"console:toast": {"text": text, "kind": kind, "undo": undo}}
    response.headers["HX-Trigger"] = json.dumps(shown | dict.fromkeys(events, True))  # ASCII: headers hold no more


def go_to(path: str) -> Response:
    """Answer a form sent by htmx: go to another page. A toast on this answer is shown there."""
    return Response(status_code=204, headers={"HX-Redirect": path})


def is_browser(request: Request) -> bool:
    """True where a person opens an address, who is to see a page and not a problem document."""
    headers = request.headers
    wants_page = "text/html" in headers.get("accept", "") and "hx-request" not in headers
    return request.method in ("GET", "HEAD") and wants_page and not request.url.path.startswith("/api/")


def _compact(number: float) -> str:
    """Write a count so that it stays short: 950, 12.3k, 4.5M."""
    for size, unit in ((1_000_000, "M"), (10_000, "k")):
        if number >= size:
            divisor = 1000 if unit == "k" else size
            return f"{number / divisor:.1f}".removesuffix(".0") + unit
    return f"{number:,}"
