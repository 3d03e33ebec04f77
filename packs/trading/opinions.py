"""A batch of questions to a model: one stock after the other, each opinion stored as soon as it is there.

A batch that was killed goes on with the stocks that have no opinion yet: no answer is paid for twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Engine

from config import get_settings
from core.outcome import AgentError, AgentRequest, AgentResult, ErrorKind, Usage
from packs.agent_call import ask, endpoint_named
from packs.task import AnyTask
from packs.trading import market
from packs.trading.indicators import adjusted_closes
from packs.trading.stock_question import (
    BARS_A_DEPTH,
    DEPTHS,
    NEWS_A_DEPTH,
    SYSTEM,
    Known,
    UnreadableAnswer,
    question,
    read_opinion,
)
from packs.trading.tables import Analysis, Indicator, Risk
from packs.upsert import upsert
from store.database import AnyRow, autocommit
from store.runs import new_run_id

N = TypeVar("N", int, float)

PROVIDER, DEPTH = "dashscope", 3
#: What is asked where no model is named.
MODELS: Final = {"dashscope": "qwen-plus", "deepseek": "deepseek-chat"}
#: How the older system named models.
OLDER_NAMES: Final = {"turbo-fast": "qwen-turbo", "plus-balanced": "qwen-plus", "max-deep": "qwen-max"}
CALL_SECONDS: Final = 180.0
SETTINGS: Final = ("llm_provider", "model_version", "research_depth", "enable_memory")


class Desk:
    """Asks about stocks in the name of one run. Raises AgentError CONFIG or INVALID for a config it cannot follow."""

    def __init__(self, task: AnyTask, engine: Engine, wanted: Mapping[str, Any]) -> None:
        self._settings = get_settings()
        self._engine = engine
        self._task = task
        self._usages: list[Usage] = []
        self._batch = task.request.id or new_run_id()
        self._depth, self._remembers = _checked(wanted)
        name = str(wanted.get("llm_provider") or PROVIDER)
        self._model = _model_of(name, wanted.get("model_version"))
        with autocommit(engine) as connection:
            self._endpoint, self._prices = endpoint_named(connection, name, self._settings)
            self._opinions = {row.symbol: row for row in market.opinions(connection, self._batch)}

    def judge(self, symbol: str) -> None:
        """Ask about one stock, unless this batch has an answer. Raises AgentError."""
        if symbol in self._opinions:
            return
        answer = self._ask(symbol)
        self._usages.append(answer.usage)
        try:
            opinion = read_opinion(answer.text)
        except UnreadableAnswer as fault:
            raise AgentError(ErrorKind.EXPECTATION, f"{symbol}: {fault}") from fault
        row = {
            "batch": self._batch,
            "symbol": symbol,
            "action": opinion.action,
            "confidence": opinion.confidence,
            "risk_score": opinion.risk_score,
            "summary": opinion.summary,
            "answer": answer.text,
            "provider": self._endpoint.name,
            "model": self._model,
            "input_tokens": answer.usage.input_tokens,
            "output_tokens": answer.usage.output_tokens,
            "create_time": market.clock(self._engine),
        }
        upsert(self._engine, Analysis, [row])
        with autocommit(self._engine) as connection:
            self._opinions[symbol] = market.opinions(connection, self._batch, symbol)[0]

    def results(self) -> list[dict[str, Any]]:
        """What there is, in the order of the symbols' names."""
        return [_shown(self._opinions[symbol]) for symbol in sorted(self._opinions)]

    def usage(self) -> Usage:
        """What this attempt's answers came to, also those that could not be read; unknown where one is unknown."""
        return Usage(
            _sum([each.input_tokens for each in self._usages]),
            _sum([each.output_tokens for each in self._usages]),
            _sum([each.cost for each in self._usages]),
            next((each.currency for each in self._usages), None),
        )

    def _ask(self, symbol: str) -> AgentResult:
        request = AgentRequest(
            kind="agent",
            target=self._model,
            run_id=self._batch,
            timeout=CALL_SECONDS,
            message=question(self._known(symbol)),
            options={"system": SYSTEM} if self._endpoint.provider == "openai_chat" else {},
        )
        return ask(self._task, self._endpoint, request, self._settings, self._prices)

    def _known(self, symbol: str) -> Known:
        with autocommit(self._engine) as connection:
            today = market.clock(self._engine).date()
            bars = market.bars(connection, symbol, today, self._depth * BARS_A_DEPTH)
            if not bars:
                raise AgentError(ErrorKind.INVALID, f"{symbol}: no daily bars are stored; sync them first")
            indicator = market.newest(connection, Indicator, symbol)
            figures = market.newest(connection, Risk, symbol)
            news = market.headlines(connection, symbol, self._depth * NEWS_A_DEPTH)
            before = market.last_opinion(connection, symbol) if self._remembers else None
        closes = [(f"{bar.day}", round(close, 4)) for bar, close in zip(bars, adjusted_closes(bars), strict=True)]
        return Known(
            symbol=symbol,
            closes=closes,
            indicators=_figures(indicator),
            risk=_figures(figures),
            news=[f"{row.published_at:%Y-%m-%d} {row.title}" for row in news],
            before=before,
        )


def _sum(figures: Sequence[N | None]) -> N | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(figures) else None


def _model_of(name: str, version: Any) -> str:
    """Name the model: as asked for, else the preset's. Raises AgentError INVALID where neither says."""
    if version is None and name in MODELS:
        return MODELS[name]
    if not isinstance(version, str) or not version:
        raise AgentError(ErrorKind.INVALID, f"model_version is {version!r}; name a model that {name} has")
    return OLDER_NAMES.get(version, version) if name == "dashscope" else version


def _checked(wanted: Mapping[str, Any]) -> tuple[int, bool]:
    """Read research_depth and enable_memory. Raises AgentError INVALID."""
    unknown = [name for name in wanted if name not in SETTINGS]
    if unknown:
        raise AgentError(ErrorKind.INVALID, f"analysis_config has {unknown[0]!r}; it takes {', '.join(SETTINGS)}")
    depth, remembers = wanted.get("research_depth", DEPTH), wanted.get("enable_memory", False)
    if type(depth) is not int or depth not in DEPTHS:  # neither true nor 3.0, which a LIMIT does not take
        raise AgentError(ErrorKind.INVALID, f"research_depth is {depth!r}; use a whole number from 1 to {DEPTHS[-1]}")
    if not isinstance(remembers, bool):
        raise AgentError(ErrorKind.INVALID, f"enable_memory is {remembers!r}; use true or false")
    return depth, remembers


def _figures(row: AnyRow | None) -> dict[str, Any]:
    return {} if row is None else {name: value for name, value in row._mapping.items() if name != "update_time"}


def _shown(row: AnyRow) -> dict[str, Any]:
    names = ("symbol", "action", "confidence", "risk_score", "summary", "provider", "model")
    return {name: getattr(row, name) for name in names}
