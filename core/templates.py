"""`template`: messages and inputs that name the last run, the moment and the like. Sandboxed Jinja.

Checking only parses. Compiling is left to a child process, as rendering is: Jinja computes constants while it compiles,
and `{{ "x"|center(10**9) }}` is one. No list of forbidden words makes a template language finite; the limits of the
operating system do (`worker/bounded.py`).

Jinja is imported where a row asks for it: most rows have no template.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

MAX_SOURCE: Final = 256 * 1024
MAX_RENDERED: Final = 1024 * 1024
"""Characters of all texts of one run together, before and after."""
MAX_FAULT: Final = 500
TOO_LONG: Final = (
    f"what it renders is longer than {MAX_RENDERED} characters; cut it, for example {{{{ last.result[:2000] }}}}"
)
VARIABLES: Final[dict[str, tuple[str, ...]]] = {
    "last": ("result", "state", "finished_at"),
    "scheduled_for": (),
    "task": ("name",),
    "run": ("id",),
    "attempt": (),
    "after": ("result", "state", "error", "task", "run_id", "scheduled_for", "finished_at"),
}
#: What would make two renderings of one run differ, or its text grow out of nothing.
LEFT_OUT: Final = {"filters": ("random",), "globals": ("lipsum",)}


class TemplateFault(ValueError):
    """A template cannot be used, or not be rendered; the message says why and the mend."""


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=True, finalize=lambda value: "" if value is None else value
    )
    for place, names in LEFT_OUT.items():
        for name in names:
            del getattr(made, place)[name]
    return made


def check(source: str) -> None:
    """Find what is wrong with a template before it is ever rendered. Raises TemplateFault."""
    from jinja2 import TemplateSyntaxError

    if len(source) > MAX_SOURCE:
        raise TemplateFault(f"it is longer than {MAX_SOURCE} characters; shorten it")
    try:
        _check_tree(_environment(), source)
    except TemplateSyntaxError as error:
        raise TemplateFault(f"line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise TemplateFault("it is nested too deeply; simplify it") from None


def _check_tree(environment: Any, source: str) -> None:
    from jinja2 import nodes

    tree = environment.parse(source)
    if next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None) is not None:
        raise TemplateFault("there is nothing that it could include, import or extend")
    for kind, of_kind, known in (
        ("filter", nodes.Filter, environment.filters),
        ("test", nodes.Test, environment.tests),
    ):
        for node in tree.find_all(of_kind):
            if node.name not in known:
                raise TemplateFault(f"line {node.lineno}: there is no {kind} {node.name!r}{_near(node.name, known)}")
    _check_names(tree, environment)


def _check_names(tree: Any, environment: Any) -> None:
    from jinja2 import nodes

    names = list(tree.find_all(nodes.Name))
    known = {*VARIABLES, *environment.globals, *(name.name for name in names if name.ctx != "load")}
    known |= {macro.name for macro in tree.find_all(nodes.Macro)}
    # What a macro or a loop brings along by itself.
    known |= {"loop", "self", "caller", "varargs", "kwargs"}
    for name in names:
        if name.name not in known:
            raise TemplateFault(f"line {name.lineno}: {name.name!r} is unknown{_near(name.name, VARIABLES)}; {_LIST}")
    for part in tree.find_all((nodes.Getattr,)):
        owner = part.node.name if isinstance(part.node, nodes.Name) else ""
        if VARIABLES.get(owner) and part.attr not in VARIABLES[owner]:
            have = ", ".join(f"{owner}.{attribute}" for attribute in VARIABLES[owner])
            raise TemplateFault(f"line {part.lineno}: {owner}.{part.attr} is unknown; there is {have}")


_LIST: Final = "known: " + ", ".join(
    f"{name}.{attribute}" if attribute else name for name, parts in VARIABLES.items() for attribute in parts or ("",)
)


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(name[:64], list(known), 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def render(sources: Sequence[str], variables: Mapping[str, Any]) -> list[str]:
    """Render the texts of one run. Raises TemplateFault. Takes what it takes: to be called under limits only.

    Moments come as {"moment": ISO text, "zone": name}, since they have crossed a pipe.
    """
    from jinja2 import TemplateError

    values = {name: _value(value) for name, value in variables.items()}
    rendered, left = [], MAX_RENDERED
    for source in sources:
        pieces: list[str] = []
        try:
            for piece in _environment().from_string(source).generate(**values):
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    raise TemplateFault(TOO_LONG)
        except TemplateError as error:
            raise TemplateFault(str(error.message)[:MAX_FAULT]) from None
        except TemplateFault:
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise TemplateFault(f"{type(error).__name__}: {error}"[:MAX_FAULT]) from None
        rendered.append("".join(pieces))
    return rendered


def _value(value: Any) -> Any:
    match value:
        case {"moment": str() as text, "zone": str() as zone}:
            return datetime.fromisoformat(text).astimezone(ZoneInfo(zone))
        case dict():
            return {name: _value(inner) for name, inner in value.items()}
    return value


def texts_in(value: Any) -> Iterator[str]:
    """Name every text inside inputs, in order; keys are left alone."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)


def replace_texts(value: Any, following: Callable[[], str]) -> Any:
    """Put the next text in the place of each one, in the order of `texts_in`."""
    if isinstance(value, str):
        return following()
    if isinstance(value, Mapping):
        return {name: replace_texts(inner, following) for name, inner in value.items()}
    if isinstance(value, list):
        return [replace_texts(inner, following) for inner in value]
    return value
