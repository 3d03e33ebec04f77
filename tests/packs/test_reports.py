"""The trading pack's reports, from real prices: their figures, their words in Chinese, and their files."""

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from bokeh_sampledata import stocks

from core.outcome import AgentError, ErrorKind
from packs.trading import report_tasks as tasks
from packs.trading.positions import PositionsFault, read_csv
from packs.trading.report_content import file_name
from packs.trading.report_figures import Day, Position, performance, value_by_day
from tests.integration.engine import Ledger
from tests.packs.conftest import on_sqlite
from tests.packs.pack_ledger import command, pack_ledger, settings_of

SYMBOLS = ("AAPL", "GOOG", "IBM")
INDEX = "MSFT"
DAY = date(2013, 2, 28)  # a Thursday
NEWS = "谷歌股价创新高 <script>alert(1)</script> #panic() $x$"


def closes(symbol: str, last: date = DAY) -> dict[date, tuple[float, int]]:
    """Close and volume of each day of four months, as the package has them."""
    table = getattr(stocks, symbol)
    days = [date.fromisoformat(str(day)[:10]) for day in table["date"]]
    rows = zip(days, table["close"], table["volume"], strict=True)
    first = last - timedelta(days=120)
    return {day: (float(close), int(volume)) for day, close, volume in rows if first <= day <= last}


def fill(ledger: Ledger) -> None:
    rows = [
        {"symbol": symbol, "day": day.isoformat(), "close": close, "volume": volume, "amount": close * volume}
        for symbol in (*SYMBOLS, INDEX)
        for day, (close, volume) in closes(symbol).items()
    ]
    with ledger.engine.connect() as connection:
        from sqlalchemy import text

        connection.execute(
            text(
                "INSERT INTO trading_bar (symbol, day, open, high, low, close, volume, amount, adj_factor, source, "
                "update_time) VALUES (:symbol, :day, :close, :close, :close, :close, :volume, :amount, 1, 'test', "
                "'2013-03-01 00:00:00.000000')"
            ),
            rows,
        )
    ledger.sql(
        "INSERT INTO trading_sentiment (day, symbol, score, articles, positive, negative, neutral, update_time) "
        "VALUES (:day, '*', 0.42, 3, 2, 1, 0, '2013-03-01 00:00:00.000000')",
        day=DAY.isoformat(),
    )
    ledger.sql(
        "INSERT INTO trading_news (digest, symbol, title, content, published_at, language, sentiment, source, "
        "fetched_at) VALUES ('d', 'GOOG', :title, 'c', '2013-02-28 05:00:00.000000', 'zh', 0.8, 'test', "
        "'2013-02-28 06:00:00.000000')",
        title=NEWS,
    )


@pytest.fixture
def ledger(packs_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    with (
        pack_ledger(packs_url, "trading") as ledger,
        settings_of(
            monkeypatch,
            database_url=packs_url,
            report_dir=tmp_path / "reports",
            trading_symbols=",".join(SYMBOLS),
            trading_benchmark=INDEX,
        ),
    ):
        fill(ledger)
        yield ledger


class Text(HTMLParser):
    """The words of a page, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def words_of_pdf(path: str) -> str:
    document = pypdfium2.PdfDocument(path)
    return re.sub(r"\s+", "", "".join(page.get_textpage().get_text_bounded() for page in document))


def fonts_of(path: str) -> bytes:
    return b" ".join(re.findall(rb"/BaseFont\s*/([^\s/]+)", Path(path).read_bytes()))


def test_the_daily_report_says_what_the_prices_say(ledger: Ledger) -> None:
    moves = {}
    for symbol in (*SYMBOLS, INDEX):
        (_, (before, _)), (_, (last, _)) = sorted(closes(symbol).items())[-2:]
        moves[symbol] = last / before - 1

    data = tasks.generate_daily_market_report(date=DAY.isoformat())["report_data"]

    followed = {symbol: moves[symbol] for symbol in SYMBOLS}
    summary = data["market_summary"]
    assert data["date"] == "2013-02-28"
    assert summary["up"] == sum(move > 0 for move in followed.values())
    assert summary["down"] == sum(move < 0 for move in followed.values())
    assert summary["average_change"] == pytest.approx(sum(followed.values()) / 3, abs=1e-6)
    assert summary["benchmark_change"] == pytest.approx(moves[INDEX], abs=1e-6)
    assert summary["sentiment"] == 0.42
    up = sorted((symbol for symbol in followed if followed[symbol] > 0), key=lambda symbol: -followed[symbol])
    down = sorted((symbol for symbol in followed if followed[symbol] < 0), key=lambda symbol: followed[symbol])
    assert [each["symbol"] for each in data["top_gainers"]] == up
    assert [each["symbol"] for each in data["top_losers"]] == down
    assert [each["change"] for each in data["top_losers"]] == pytest.approx([followed[s] for s in down], abs=1e-6)


@on_sqlite
def test_both_files_hold_the_figures_the_charts_and_the_chinese_words(ledger: Ledger) -> None:
    files = tasks.generate_daily_market_report(date=DAY.isoformat())["report_data"]["files"]

    page = Text(Path(files["html"]["path"]).read_text())
    text, printed = "".join(page.words), words_of_pdf(files["pdf"]["path"])
    close = f"{closes('AAPL')[DAY][0]:,.2f}"
    for words in (text, printed):
        for wanted in ("每日市场报告", "2013年02月28日（星期四）", "个股表现", "各股当日涨跌幅", "偏多", close, "AAPL"):
            assert wanted in words
    assert page.tags.count("svg") == 2
    assert "script" not in page.tags  # a headline is text, and nothing else
    assert NEWS in page.words
    assert NEWS.replace(" ", "") in printed
    assert b"NotoSansCJKsc" in fonts_of(files["pdf"]["path"])  # inside the file: the reader needs none


@on_sqlite
def test_the_chinese_of_the_pdf_is_drawn_and_no_row_of_boxes(ledger: Ledger) -> None:
    files = tasks.generate_daily_market_report(date=DAY.isoformat())["report_data"]["files"]

    page = pypdfium2.PdfDocument(files["pdf"]["path"])[0]
    words = page.get_textpage()
    shapes = []
    for at, sign in enumerate("每日市场报告"):
        assert words.get_text_range(at, 1) == sign
        left, bottom, right, top = words.get_charbox(at)
        width, height = page.get_size()
        drawn = page.render(scale=4, crop=(left, bottom, width - right, height - top), grayscale=True).to_pil()
        shapes.append(drawn.tobytes())
        assert min(shapes[-1]) < 100 < max(shapes[-1])
    assert len(set(shapes)) == 6  # boxes would look alike


@on_sqlite
def test_a_report_that_is_made_again_is_the_same_to_the_byte(ledger: Ledger) -> None:
    first = tasks.generate_daily_market_report(date=DAY.isoformat())["report_data"]["files"]
    before = {kind: Path(file["path"]).read_bytes() for kind, file in first.items()}

    again = tasks.generate_daily_market_report()["report_data"]["files"]  # the newest day that has data

    assert {kind: Path(file["path"]).read_bytes() for kind, file in again.items()} == before
    assert len(list(Path(first["pdf"]["path"]).parent.iterdir())) == 2


@on_sqlite
def test_a_report_that_is_stopped_in_the_middle_leaves_the_one_before(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tasks.generate_daily_market_report(date=DAY.isoformat())["report_data"]["files"]
    page = Path(files["html"]["path"])
    page.write_text("the one before")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("packs.whole_file.os.rename", stop)
        with pytest.raises(KeyboardInterrupt):
            tasks.generate_daily_market_report(date=DAY.isoformat())

    assert page.read_text() == "the one before"
    assert len(list(page.parent.iterdir())) == 2


@on_sqlite
def test_a_day_without_bars_may_be_tried_again_later(ledger: Ledger) -> None:
    with pytest.raises(AgentError, match="no bars of 2013-03-01") as failed:
        tasks.generate_daily_market_report(date="2013-03-01")

    assert failed.value.kind is ErrorKind.UNAVAILABLE


# -- portfolios ---------------------------------------------------------------------------------------


HELD = '代码,名称,数量,成本价\nAAPL,苹果,100,500\nIBM,国际商业机器,50.5,"190.25"\nNONE,没有行情,1,1\n'


def test_the_weekly_report_values_what_a_csv_file_brought_in(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "positions.csv"
    file.write_bytes(HELD.encode("gb18030"))
    taken = command("scripts.positions", "import", str(file), DATABASE_URL=ledger.url)
    assert taken.returncode == 0, taken.stderr

    data = tasks.generate_weekly_portfolio_report(week_start="2013-02-25")["report_data"]

    apple, ibm = closes("AAPL"), closes("IBM")
    last, before = DAY, date(2013, 2, 22)
    value = 100 * apple[last][0] + 50.5 * ibm[last][0]
    start = 100 * apple[before][0] + 50.5 * ibm[before][0]
    assert (data["week_start"], data["week_end"]) == ("2013-02-25", "2013-03-03")
    assert data["total_value"] == pytest.approx(value, abs=0.01)
    assert data["weekly_profit"] == pytest.approx(value - start, abs=0.01)
    assert data["weekly_return"] == pytest.approx(value / start - 1, abs=1e-6)
    assert data["total_profit"] == pytest.approx(value - 100 * 500 - 50.5 * 190.25, abs=0.01)
    assert data["without_prices"] == ["NONE"]
    printed = words_of_pdf(data["files"]["pdf"]["path"])
    for wanted in (
        "每周投资组合报告",
        "持仓占比",
        "组合市值（按现有持仓）",
        "国际商业机器",
        f"{value:,.2f}",
        "没有日线数据",
    ):
        assert wanted in printed


@on_sqlite
def test_a_position_without_prices_in_the_week_did_not_move_and_one_of_nothing_is_no_part(
    ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "positions.csv"
    file.write_text("symbol,name,quantity,cost_price\nAAPL,$\\bad$ <b>,0,1\n")
    assert command("scripts.positions", "import", str(file), DATABASE_URL=ledger.url).returncode == 0

    data = tasks.generate_weekly_portfolio_report(week_start="2013-03-04")["report_data"]
    moved = tasks.generate_weekly_portfolio_report(week_start="2013-02-25")["report_data"]

    assert (data["weekly_profit"], data["weekly_return"], data["positions"][0]["weekly_return"]) == (None, None, None)
    assert moved["positions"][0]["weekly_return"] is not None
    page = Text(Path(moved["files"]["html"]["path"]).read_text())
    assert "AAPL $\\bad$ <b>" in page.words
    assert "b" not in page.tags


@on_sqlite
def test_a_report_on_other_symbols_leaves_the_daily_one_as_it_is(ledger: Ledger) -> None:
    daily = Path(tasks.generate_daily_market_report(date=DAY.isoformat())["report_data"]["files"]["html"]["path"])
    before = daily.read_bytes()
    config = {"type": "market", "symbols": ["IBM"], "date_range": ["2013-01-02", DAY.isoformat()]}

    custom = tasks.generate_custom_report(config)["report_data"]["files"]["html"]["path"]

    assert daily.read_bytes() == before
    assert Path(custom).name == "market-2013-02-28-IBM.html"


def test_many_symbols_that_begin_alike_have_files_of_their_own() -> None:
    many = [f"{number:06}" for number in range(50)]

    assert file_name("x", many) != file_name("x", [*many, "600519"])
    assert len(file_name("x", many)) < 120


def test_a_portfolio_that_holds_nothing_says_how_to_enter_it(ledger: Ledger) -> None:
    with pytest.raises(AgentError, match=r"scripts\.positions import"):
        tasks.generate_weekly_portfolio_report(portfolio="nobody-s")
    with pytest.raises(AgentError, match="portfolio is"):
        tasks.generate_weekly_portfolio_report(portfolio="../x")


def test_a_custom_report_compares_symbols_over_a_span(ledger: Ledger) -> None:
    config = {"type": "symbols", "symbols": ["AAPL", "IBM"], "date_range": ["2013-01-02", "2013-02-28"]}

    data = tasks.generate_custom_report(config)["report_data"]

    apple = [close for day, (close, _) in sorted(closes("AAPL").items()) if day >= date(2013, 1, 2)]
    deepest = max(1 - low / max(apple[: at + 1]) for at, low in enumerate(apple))
    assert data["performance"]["AAPL"]["return"] == pytest.approx(apple[-1] / apple[0] - 1, abs=1e-6)
    assert data["performance"]["AAPL"]["max_drawdown"] == pytest.approx(deepest, abs=1e-6)
    assert "相对走势" in words_of_pdf(data["files"]["pdf"]["path"])


@on_sqlite
@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"type": "sectors"}, "report_config takes type"),
        ({"symbols": ["AAPL"], "sectors": ["tech"], "date_range": ["2013-01-02", "2013-01-03"]}, "not sectors"),
        ({"symbols": "AAPL"}, "report_config takes type"),
        ([], "is an object"),
        ({"type": "market", "symbols": ["../x"], "date_range": ["2013-01-02", "2013-01-03"]}, "a list of names"),
        ({"symbols": ["AAPL"]}, "date_range takes two days"),
        ({"symbols": ["AAPL"], "date_range": ["2013-02-01", "2013-01-01"]}, "after its end"),
        ({"symbols": [], "date_range": ["2013-01-02", "2013-01-03"]}, "name one or more"),
        ({"symbols": ["NONE"], "date_range": ["2013-01-02", "2013-01-03"]}, "no bars of NONE"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(ledger: Ledger, config: dict[str, Any], why: str) -> None:
    with pytest.raises(AgentError, match=why) as refused:
        tasks.generate_custom_report(config)

    assert not refused.value.kind.retryable
    assert json.dumps(config)


# -- pure ---------------------------------------------------------------------------------------------


def test_a_split_is_no_loss() -> None:
    days = [Day(date(2024, 1, 2), 100.0, 1.0), Day(date(2024, 1, 3), 51.0, 2.0)]

    done = performance(days)

    assert done is not None
    assert done.total == pytest.approx(0.02)
    assert done.drawdown == 0.0
    values = value_by_day([Position("A", 10, 1.0)], {"A": days})
    assert values == {date(2024, 1, 2): pytest.approx(500.0), date(2024, 1, 3): pytest.approx(510.0)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("symbol,quantity\nA,1\n", "no column cost_price"),
        ("symbol,quantity,cost_price\nA,many,1\n", "line 2: quantity is 'many'"),
        ("symbol,quantity,cost_price\nA,1,nan\n", "line 2: cost_price is 'nan'"),
        ("symbol,quantity,cost_price\nA,1,1\nA,2,2\n", "line 3: A stands in the file twice"),
        ("symbol,quantity,cost_price\n,1,1\n", "line 2: symbol takes"),
        ("symbol,quantity,cost_price\nA,-1,1\n", "line 2: quantity is '-1'"),
        ("symbol,quantity,cost_price\nA\n", "line 2: quantity is ''"),
        ("symbol,quantity,cost_price\nA,1,200,1688.50\n", "line 2: more cells than line 1 names"),
        (f"symbol,quantity,cost_price\n{'A' * 200_000},1,1\n", "it is no CSV file"),
    ],
)
def test_a_file_with_a_mistake_names_the_line(text: str, why: str) -> None:
    with pytest.raises(PositionsFault, match=why):
        read_csv(text)


def test_both_languages_and_thousands_are_read() -> None:
    assert read_csv('\ufeffsymbol, name, quantity, cost_price\nA,,"1,200",3.5\n') == [Position("A", 1200.0, 3.5)]
    assert read_csv("代码,名称,数量,成本价\n600519,贵州茅台,100,1688.5\n") == [
        Position("600519", 100.0, 1688.5, "贵州茅台")
    ]
