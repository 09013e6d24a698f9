"""The command line: it knows the spec and the analysis, and nothing behind them."""
