"""The backtest: what other rules, or one more silence, would have made of the events that came."""

from sodarouter.backtest.compare import Side, compare, without_and_with
from sodarouter.backtest.report import Change, Kind, Report, Sample, Unrouted, Volume

__all__ = ["Change", "Kind", "Report", "Sample", "Side", "Unrouted", "Volume", "compare", "without_and_with"]
