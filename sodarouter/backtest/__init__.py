"""The backtest: what other rules, or one more silence, would have made of the events that came."""

from sodarouter.backtest.compare import Side, compare, what_if
from sodarouter.backtest.report import Change, Kind, Report, Sample, Unrouted, Volume

__all__ = ["Change", "Kind", "Report", "Sample", "Side", "Unrouted", "Volume", "compare", "what_if"]
