"""What plugin authors test with: sample events, a router in miniature, a server to post to, and the checks of a destination.

It is part of the front door: `docs/testing.md` describes every name. Nothing in it needs pytest.
"""

from sodarouter.testing.conformance import check_destination
from sodarouter.testing.report import Check, Mark, Report
from sodarouter.testing.router import FakeRouter, Tried
from sodarouter.testing.samples import SAMPLES, sample, sample_delivery, sample_events
from sodarouter.testing.sink import Answer, Request, Sink, open_sink

__all__ = [
    "SAMPLES",
    "Answer",
    "Check",
    "FakeRouter",
    "Mark",
    "Report",
    "Request",
    "Sink",
    "Tried",
    "check_destination",
    "open_sink",
    "sample",
    "sample_delivery",
    "sample_events",
]
