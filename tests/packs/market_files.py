"""A folder as TRADING_SOURCE=files reads it, with real daily prices: AAPL, GOOG, IBM and MSFT, 2011-03 to 2013-02.

The prices are public domain (Quandl WIKI), from the package bokeh_sampledata. MSFT stands where an index would.
The news are headlines written for these tests; the reported figures are those of the companies' fiscal years.
"""

import csv
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from bokeh_sampledata import stocks

STOCKS = ("AAPL", "GOOG", "IBM")
INDEX = "MSFT"
FIRST, LAST = date(2011, 3, 1), date(2013, 2, 28)
NEWS = (
    # symbol, published (UTC), title, what it is: 1 good, -1 bad, 0 neither
    ("AAPL", "2013-02-28T01:00:00Z", "Apple shares soar after record quarterly profit", 1),
    ("AAPL", "2013-02-28T02:00:00Z", "Apple to hold annual meeting on Wednesday", 0),
    ("IBM", "2013-02-28T03:00:00Z", "IBM misses estimates, shares tumble", -1),
    ("IBM", "2013-02-28T04:00:00Z", "IBM 业绩不及预期，股价大跌", -1),
    ("GOOG", "2013-02-28T05:00:00Z", "谷歌股价创新高，机构看好", 1),
    ("GOOG", "2013-02-27T05:00:00Z", "谷歌净利润大幅增长", 1),
)
REPORTS = (("2011-12-31", 106916e6, 15855e6, 13.06), ("2012-12-31", 104507e6, 16604e6, 14.37))  # IBM


@lru_cache(maxsize=1)
def prices() -> dict[str, Any]:
    """The bars of each symbol, as the package has them, cut to FIRST to LAST."""
    found = {}
    for symbol in (*STOCKS, INDEX):
        table = pd.DataFrame(getattr(stocks, symbol))
        days = pd.to_datetime(table["date"]).dt.date
        found[symbol] = table[(days >= FIRST) & (days <= LAST)].reset_index(drop=True)
    return found


def write_folder(folder: Path) -> Path:
    """Write CSV for all but one, and that one as Parquet."""
    (folder / "bars").mkdir(parents=True)
    (folder / "reports").mkdir()
    for symbol, table in prices().items():
        if symbol == "GOOG":
            table.to_parquet(folder / "bars" / f"{symbol}.parquet")
        else:
            table.to_csv(folder / "bars" / f"{symbol}.csv", index=False)
    lines = ["period_end,revenue,net_profit,earnings_per_share"]
    lines += [",".join(map(str, row)) for row in REPORTS]
    (folder / "reports" / "IBM.csv").write_text("\n".join(lines))
    with (folder / "prices.csv").open("w", newline="") as out:
        csv.writer(out).writerows(
            [
                ("symbol", "at", "price", "previous_close", "volume"),
                ("AAPL", "2013-02-28T20:55:00Z", "441.9", "444.57", "11500000"),
                ("AAPL", "2013-02-28T21:00:00Z", "441.4", "444.57", "11518400"),
                ("IBM", "2013-03-01T05:00:00+08:00", "200.83", "202.33", "4700000"),
            ]
        )
    write_news(folder, NEWS)
    return folder


def write_news(folder: Path, articles: Any) -> None:
    with (folder / "news.csv").open("w", newline="", encoding="utf-8") as out:
        rows = (
            (symbol, at, title, "", f"https://news.example/{n}", "wire")
            for n, (symbol, at, title, _) in enumerate(articles)
        )
        csv.writer(out).writerows([("symbol", "published_at", "title", "content", "url", "publisher"), *rows])
