"""Figures of the trading pack against an independent computation: pandas, over real prices."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from packs.trading import risk
from packs.trading.indicators import adjusted_closes, indicators_of
from packs.trading.sentiment import english, label_of, score_of
from packs.trading.stock_question import Known, UnreadableAnswer, question, read_opinion
from packs.trading.trends import standing_of
from tests.packs.market_files import INDEX, NEWS, STOCKS, prices

SETTLED = 60  # after so many days an average that never forgets no longer depends on how it began


@dataclass(frozen=True)
class StoredBar:
    day: date
    high: float
    low: float
    close: float
    adj_factor: float


def bars_of(symbol: str) -> list[Any]:
    table = prices()[symbol]
    return [
        StoredBar(pd.Timestamp(row.date).date(), row.high, row.low, row.close, row.adj_close / row.close)
        for row in table.itertuples()
    ]


def adjusted(symbol: str) -> "pd.DataFrame":
    """High, low and close in the prices of the last day, computed from the package's own adjusted closes."""
    table = prices()[symbol]
    scale = (table["adj_close"] / table["close"]) / (table["adj_close"] / table["close"]).iloc[-1]
    return pd.DataFrame({name: table[name] * scale for name in ("high", "low", "close")})


def wilder(values: "pd.Series[float]", days: int) -> "pd.Series[float]":
    return values.ewm(alpha=1 / days, adjust=False).mean()


@pytest.mark.parametrize("symbol", STOCKS)
def test_indicators_are_those_that_pandas_computes(symbol: str) -> None:
    found = pd.DataFrame(indicators_of(bars_of(symbol)))
    table = adjusted(symbol)
    close = table["close"]
    gain, loss = close.diff().clip(lower=0), -close.diff().clip(upper=0)
    true_range = pd.concat(
        [
            table["high"] - table["low"],
            (table["high"] - close.shift()).abs(),
            (table["low"] - close.shift()).abs(),
        ],
        axis=1,
    ).max(axis=1)
    fast, slow = close.ewm(span=12, adjust=False).mean(), close.ewm(span=26, adjust=False).mean()
    lowest, highest = table["low"].rolling(9).min(), table["high"].rolling(9).max()
    k = (100 * (close - lowest) / (highest - lowest)).rolling(3).mean()
    wanted = {
        "close": close,
        **{f"ma{days}": close.rolling(days).mean() for days in (5, 10, 20, 60)},
        "ema12": fast,
        "ema26": slow,
        "macd": fast - slow,
        "macd_signal": (fast - slow).ewm(span=9, adjust=False).mean(),
        "boll_upper": close.rolling(20).mean() + 2 * close.rolling(20).std(ddof=0),
        "boll_middle": close.rolling(20).mean(),
        "boll_lower": close.rolling(20).mean() - 2 * close.rolling(20).std(ddof=0),
        "rsi14": 100 - 100 / (1 + wilder(gain, 14) / wilder(loss, 14)),
        "atr14": wilder(true_range, 14),
        "stoch_k": k,
        "stoch_d": k.rolling(3).mean(),
    }
    settled = slice(250, None)

    assert len(found) == len(table)
    for name, values in wanted.items():
        assert found[name][settled].tolist() == pytest.approx(values[settled].tolist(), rel=1e-4, abs=1e-3), name
    assert found["macd_hist"][settled].tolist() == pytest.approx(
        (found["macd"] - found["macd_signal"])[settled].tolist()
    )
    assert found["ma60"][:59].isna().all()


def test_a_split_is_no_fall() -> None:
    halved: list[Any] = [
        StoredBar(date(2025, 1, 1 + n), price * 1.01, price * 0.99, price, factor)
        for n, (price, factor) in enumerate([(100.0, 1.0)] * 5 + [(50.0, 2.0)] * 5)
    ]

    assert adjusted_closes(halved) == [50.0] * 10
    assert indicators_of(halved)[-1]["ma10"] == pytest.approx(50.0)


@pytest.mark.parametrize("symbol", STOCKS)
def test_risk_is_what_pandas_and_numpy_compute(symbol: str) -> None:
    close = adjusted(symbol)["close"]
    market = adjusted(INDEX)["close"]
    returns, of_market = close.pct_change().dropna(), market.pct_change().dropna()
    tail = float(np.quantile(returns, 0.05))

    figures = risk.figures_of(close.tolist())

    assert figures is not None
    assert figures.days == len(returns)
    assert figures.volatility == pytest.approx(returns.std() * np.sqrt(252))
    assert figures.max_drawdown == pytest.approx((1 - close / close.cummax()).max())
    assert figures.var_95 == pytest.approx(-tail)
    assert figures.var_99 == pytest.approx(-float(np.quantile(returns, 0.01)))
    assert figures.cvar_95 == pytest.approx(-returns[returns <= tail].mean())
    assert risk.beta(returns.tolist(), of_market.tolist()) == pytest.approx(
        np.cov(returns, of_market)[0, 1] / of_market.var()
    )


def test_too_few_days_give_no_risk_and_a_market_that_stands_still_gives_no_beta() -> None:
    assert risk.figures_of([1.0] * 20) is None
    assert risk.figures_of([1.0, 1.1] * 11) is not None
    assert risk.beta([0.01] * 30, [0.0] * 30) is None


def test_a_stock_stands_out_by_its_move_its_volume_and_its_news() -> None:
    closes = [100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 105.0]

    found = standing_of("X", closes, [10.0] * 6 + [30.0], articles=5)

    assert found is not None
    assert [found.change_1d, found.change_5d] == pytest.approx([0.05, 0.05])
    assert (found.volume_ratio, found.articles) == (3.0, 5)
    assert found.score == pytest.approx(40 * 0.5 + 20 * 0.25 + 25 + 15 * 0.5)
    assert standing_of("X", closes[2:], [10.0] * 5, 0) is None
    wild = standing_of("X", [100.0] * 6 + [20.0], [0.0] * 6 + [5.0], articles=99)
    assert wild is not None
    assert wild.score == pytest.approx(40 + 20 + 0 + 15)


@pytest.mark.parametrize(("title", "direction"), [(title, direction) for _, _, title, direction in NEWS])
def test_headlines_are_judged_as_a_reader_would(title: str, direction: int) -> None:
    language = "zh" if any(character > "\u4e00" for character in title) else "en"

    assert label_of(score_of(title, "", language)) == {1: "positive", -1: "negative", 0: "neutral"}[direction]


@pytest.mark.parametrize(
    ("title", "label"),
    [
        ("某公司因涉嫌财务造假被证监会立案调查", "negative"),
        ("五粮液召开年度股东大会", "neutral"),
        ("业绩没有增长", "negative"),
        ("公司否认存在违约", "positive"),
        ("北向资金净流入 白酒股集体上涨", "positive"),
    ],
)
def test_chinese_words_of_the_market_negation_included(title: str, label: str) -> None:
    assert label_of(score_of(title, "", "zh")) == label


def test_degree_counts_and_the_title_counts_twice() -> None:
    assert (
        score_of("净利润大幅增长", "", "zh") > score_of("净利润增长", "", "zh") > score_of("净利润小幅增长", "", "zh")
    )
    title, content = "Shares soar", "The company faces a lawsuit over fraud."
    assert score_of(title, content, "en") == pytest.approx((2 * english(title) + english(content)) / 3)


def test_an_answer_is_read_with_and_without_a_fence() -> None:
    text = '{"action": "buy", "confidence": 0.8, "risk_score": 0.25, "summary": "业绩稳健。"}'

    assert read_opinion(text) == read_opinion(f"Here it is:\n```json\n{text}\n```") == read_opinion(f"  {text}\n")
    assert (read_opinion(text).action, read_opinion(text).confidence) == ("buy", 0.8)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("I would buy it.", "not valid JSON"),
        ('{"action": "long", "confidence": 1, "risk_score": 0, "summary": "x"}', "not one of buy, hold, sell"),
        ('{"action": "buy", "confidence": 80, "risk_score": 0, "summary": "x"}', "confidence is 80"),
        ('{"action": "buy", "confidence": true, "risk_score": 0, "summary": "x"}', "confidence is True"),
        ('{"action": "buy", "confidence": 1, "risk_score": NaN, "summary": "x"}', "NaN"),
        ('{"action": "buy", "confidence": 1, "risk_score": 0, "summary": " "}', "no summary"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_refused(answer: str, said: str) -> None:
    with pytest.raises(UnreadableAnswer, match=said):
        read_opinion(answer)


def test_the_question_holds_the_data() -> None:
    known = Known(
        symbol="600519",
        closes=[("2025-01-20", 1500.0)],
        indicators={"rsi14": 55.5},
        risk={"beta": 0.9},
        news=["2025-01-20 白酒股上涨"],
        before="观望",
    )

    asked = question(known)

    for part in ("600519", "2025-01-20", "1500.0", "55.5", "白酒股上涨", "观望"):
        assert part in asked
