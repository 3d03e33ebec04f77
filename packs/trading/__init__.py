"""The trading pack: market data, analysis, maintenance and reports of a stock desk."""
