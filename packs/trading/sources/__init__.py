"""Where market data come from: TRADING_SOURCE names one."""

from config import BASE_DIR, Settings
from packs.trading.sources.base import Source


def configured(settings: Settings) -> Source:
    """Build the source of TRADING_SOURCE. Raises AgentError CONFIG that says what is missing."""
    if settings.trading_source == "akshare":
        from packs.trading.sources.from_akshare import AkShare

        return AkShare()
    if settings.trading_source == "tushare":
        from packs.trading.sources.from_tushare import Tushare

        return Tushare(settings.tushare_token.get_secret_value())
    from packs.trading.sources.from_files import Files

    return Files(BASE_DIR / settings.trading_data_dir)
