"""Tables of the trading pack."""
