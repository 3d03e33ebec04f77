"""The trading pack's fifteen schedules, at the times of the exchange in Shanghai."""

from typing import Final

from packs.schedule import Schedule

DATA, ANALYSIS = "packs.trading.data_tasks", "packs.trading.analysis_tasks"
MAINTENANCE, REPORTS = "packs.trading.maintenance_tasks", "packs.trading.report_tasks"

SCHEDULES: Final = (
    Schedule(
        entry="sync-daily-stock-data",
        task=f"{DATA}.sync_daily_stock_data",
        crontab="30 16 * * *",
        calendar="XSHG",
        queue="data",
        description="Daily bars of every symbol, gaps filled, on trading days / 每日股票数据拉取",
    ),
    Schedule(
        entry="update-realtime-prices",
        task=f"{DATA}.update_realtime_prices",
        crontab="*/5 * * * *",
        calendar="XSHG:open",
        queue="data",
        timeout=240,
        max_retries=1,
        retry_backoff=20,
        catch_up="none",
        description="Prices every five minutes while the exchange is open / 实时价格更新",
    ),
    Schedule(
        entry="sync-financial-data",
        task=f"{DATA}.sync_financial_data",
        crontab="0 2 * * 1",
        queue="data",
        description="Reported figures, on Mondays / 财务数据同步",
    ),
    Schedule(
        entry="fetch-news-data",
        task=f"{DATA}.fetch_news_data",
        crontab="0 * * * *",
        queue="data",
        description="News of every symbol, hourly / 新闻数据抓取",
    ),
    Schedule(
        entry="calculate-technical-indicators",
        task=f"{ANALYSIS}.calculate_technical_indicators",
        crontab="0 17 * * *",
        queue="analysis",
        description="Technical indicators from the daily bars / 技术指标计算",
    ),
    Schedule(
        entry="analyze-market-sentiment",
        task=f"{ANALYSIS}.analyze_market_sentiment",
        crontab="0 18 * * *",
        queue="analysis",
        description="How the day's news speak of the market and of each symbol / 市场情绪分析",
    ),
    Schedule(
        entry="update-risk-assessment",
        task=f"{ANALYSIS}.update_risk_assessment",
        crontab="0 3 * * 0",
        queue="analysis",
        description="Volatility, drawdown, value at risk, beta, on Sundays / 风险评估更新",
    ),
    Schedule(
        entry="analyze-trending-stocks",
        task=f"{ANALYSIS}.analyze_trending_stocks",
        crontab="0 19 * * *",
        queue="analysis",
        description="The symbols that stand out today / 热门股票分析",
    ),
    Schedule(
        entry="cleanup-old-data",
        task=f"{MAINTENANCE}.cleanup_old_data",
        crontab="0 1 * * 0",
        queue="maintenance",
        description="Deletes what is older than days_to_keep, on Sundays / 数据清理",
    ),
    Schedule(
        entry="refresh-cache",
        task=f"{MAINTENANCE}.refresh_cache",
        crontab="30 * * * *",
        queue="maintenance",
        timeout=600,
        description="Renews what is kept in the cache, hourly / 缓存刷新",
    ),
    Schedule(
        entry="archive-logs",
        task=f"{MAINTENANCE}.archive_logs",
        crontab="30 0 * * *",
        queue="maintenance",
        description="Packs old log files / 日志归档",
    ),
    Schedule(
        entry="backup-database",
        task=f"{MAINTENANCE}.backup_database",
        crontab="0 2 * * *",
        queue="maintenance",
        timeout=7200,
        description="Backs up the database / 数据库备份",
    ),
    Schedule(
        entry="health-check",
        task=f"{MAINTENANCE}.health_check",
        crontab="*/10 * * * *",
        queue="maintenance",
        timeout=300,
        max_retries=0,
        catch_up="none",
        description="Looks at every service / 健康检查",
    ),
    Schedule(
        entry="generate-daily-market-report",
        task=f"{REPORTS}.generate_daily_market_report",
        crontab="0 20 * * *",
        queue="analysis",
        description="The daily market report, HTML and PDF / 每日市场报告",
    ),
    Schedule(
        entry="generate-weekly-portfolio-report",
        task=f"{REPORTS}.generate_weekly_portfolio_report",
        crontab="0 21 * * 0",
        queue="analysis",
        description="The weekly portfolio report, HTML and PDF, on Sundays / 每周投资组合报告",
    ),
)
