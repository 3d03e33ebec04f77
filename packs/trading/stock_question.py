"""What a model is asked about a stock, and how its answer is read. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.strict_json import JSONError, read_object

ACTIONS: Final = ("buy", "hold", "sell")
DEPTHS: Final = range(1, 6)  # research_depth
BARS_A_DEPTH, NEWS_A_DEPTH = 20, 5
SYSTEM: Final = (
    "You are an equity analyst. You judge by the data you are given, and say so where they do not suffice. "
    "You answer with one JSON object and nothing else."
)
_FENCED: Final = re.compile(r"```(?:json)?\s*(\{.*\})\s*```", re.DOTALL)


class UnreadableAnswer(Exception):
    """The model's answer is not what was asked for; the message says where."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a model says. Confidence and risk from 0 to 1."""

    action: str
    confidence: float
    risk_score: float
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is stored about a stock, as far as the question goes into it."""

    symbol: str
    closes: Sequence[tuple[str, float]]
    indicators: Mapping[str, Any]
    risk: Mapping[str, Any]
    news: Sequence[str]
    before: str | None = None
    """What was said the last time, where the model is to remember it."""


def question(known: Known) -> str:
    """Write the message."""
    parts = {
        "symbol": known.symbol,
        "adjusted_closes": dict(known.closes),
        "technical_indicators": known.indicators,
        "risk": known.risk,
        "news": list(known.news),
    }
    if known.before:
        parts["your_last_answer"] = known.before
    data = json.dumps(parts, ensure_ascii=False, default=str)
    return (
        f"Judge the stock {known.symbol} by these data:\n{data}\n\n"
        'Answer with {"action": "buy" or "hold" or "sell", "confidence": 0 to 1, "risk_score": 0 to 1, '
        '"summary": "two or three sentences, in the language of the news"}'
    )


def read_opinion(answer: str) -> Opinion:
    """Read the model's answer; a code fence around it is taken off. Raises UnreadableAnswer."""
    fenced = _FENCED.search(answer)
    try:
        said = read_object(fenced[1] if fenced else answer.strip())
    except JSONError as error:
        raise UnreadableAnswer(f"the answer {error}: {answer[:120]!r}") from error
    action, summary = said.get("action"), said.get("summary")
    if action not in ACTIONS:
        raise UnreadableAnswer(f"action is {action!r}, and not one of {', '.join(ACTIONS)}")
    if not isinstance(summary, str) or not summary.strip():
        raise UnreadableAnswer("the answer has no summary")
    return Opinion(action, _share(said, "confidence"), _share(said, "risk_score"), summary.strip())


def _share(said: Mapping[str, Any], name: str) -> float:
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UnreadableAnswer(f"{name} is {value!r}, and no number from 0 to 1")
    return float(value)
