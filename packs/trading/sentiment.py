"""How a piece of news speaks of its subject, from -1 to 1. Chinese and English, by dictionary: nothing is downloaded.

English: VADER, its lexicon completed with words of the market. Chinese: words as jieba's dictionary cuts them, weighed
by `finance_words`, with negation and degree. (SnowNLP, the model for Chinese that comes in a package, was trained on
shop reviews.)
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from packs.extras import load
from packs.trading.finance_words import CHINESE, DEGREES, ENGLISH, NEGATIONS

REQUIREMENTS: Final = "requirements-trading.txt"
NEUTRAL: Final = 0.05  # as VADER has it: below this a text says neither
READ: Final = 400  # characters of the content; the lead says what an article says
DAMPING: Final = 15.0  # VADER's: how a sum of weights becomes -1 to 1
REACH: Final = 2  # words before a word that may negate it or raise it
_CLAUSE: Final = re.compile(r"[，。；！？,.;!?\s]+")


def score_of(title: str, content: str, language: str) -> float:
    """Judge an article; its title counts twice. Raises AgentError CONFIG where a package is missing."""
    judge = chinese if language == "zh" else english
    if not content:
        return judge(title)
    return (2 * judge(title) + judge(content[:READ])) / 3


def label_of(score: float) -> str:
    """`positive`, `negative` or `neutral`."""
    return "positive" if score >= NEUTRAL else "negative" if score <= -NEUTRAL else "neutral"


def english(text: str) -> float:
    """VADER's compound."""
    return float(_vader().polarity_scores(text)["compound"])


def chinese(text: str) -> float:
    """The weights of the words, negated and raised by those before them in their clause, damped as VADER does."""
    total = sum(_weight(_words(clause)) for clause in _CLAUSE.split(text) if clause)
    return total / math.sqrt(total * total + DAMPING)


def _weight(words: Sequence[str]) -> float:
    total = 0.0
    for position, word in enumerate(words):
        weight = CHINESE.get(word, 0.0)
        if weight:
            for before in words[max(position - REACH, 0) : position]:
                weight *= -0.8 if before in NEGATIONS else DEGREES.get(before, 1.0)
            total += weight
    return total


def _words(clause: str) -> list[str]:
    """Cut a clause into words; of those that overlap in our dictionary the longest counts."""
    found: list[str] = []
    for word in load("rjieba", REQUIREMENTS).cut(clause, True):
        joined = found[-1] + word if found else word
        if found and joined in CHINESE:
            found[-1] = joined
        else:
            found.append(word)
    return found


@lru_cache(maxsize=1)
def _vader() -> Any:
    analyzer = load("vaderSentiment.vaderSentiment", REQUIREMENTS).SentimentIntensityAnalyzer()
    analyzer.lexicon.update(ENGLISH)
    return analyzer
