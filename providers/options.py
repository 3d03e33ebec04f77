"""`options` of a task: what each platform takes, checked before anything is sent. Pure."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from core.outcome import AgentError, ErrorKind

#: What an option may be: one of these types (bool is no number here), or one of these words.
Rule = tuple[type, ...] | frozenset[str]
Rules = Mapping[str, Rule]

NUMBER: Final = (int, float)
TEXT: Final = (str,)
FLAG: Final = (bool,)
COUNT: Final = (int,)

_TYPE_WORDS: Final = {int: "a whole number", float: "a number", str: "text", bool: "true or false", list: "a list"}


def check(options: Mapping[str, Any], rules: Rules, *, owner: str) -> None:
    """Raise AgentError CONFIG for an option that `owner` does not take, naming the near miss, or a wrong value."""
    for name, value in options.items():
        rule = rules.get(name)
        if rule is None:
            raise AgentError(ErrorKind.CONFIG, f"{owner} has no option {name!r}{near_miss(name, rules)}")
        if isinstance(rule, frozenset):
            if value not in sorted(rule):
                raise AgentError(
                    ErrorKind.CONFIG, f"option {name!r} must be {' or '.join(sorted(rule))}, not {value!r}"
                )
        elif not isinstance(value, rule) or (isinstance(value, bool) and bool not in rule):
            words = _TYPE_WORDS.get(rule[-1], "an object")
            raise AgentError(ErrorKind.CONFIG, f"option {name!r} must be {words}, not {value!r}")


def near_miss(name: str, known: Mapping[str, Any]) -> str:
    """The end of a sentence that says what was probably meant, or what there is."""
    near = get_close_matches(name, known, 1, 0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there is {', '.join(sorted(known))}" if known else "; it takes none"
