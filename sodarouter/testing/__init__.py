"""What plugin authors test with: sample events, a router in miniature, a server to post to, and checks.

It is part of the front door: `docs/testing.md` describes every name. Nothing in it needs pytest.
"""

from sodarouter.testing.conformance import check_destination
from sodarouter.testing.enriching import check_enricher
from sodarouter.testing.making import event_of, make
from sodarouter.testing.report import Check, Mark, Report
from sodarouter.testing.router import FakeRouter
from sodarouter.testing.samples import SAMPLES, sample, sample_delivery, sample_events
from sodarouter.testing.sink import Answer, Request, Sink, open_sink
from sodarouter.testing.translating import check_source
from sodarouter.testing.tried import Tried
from sodarouter.testing.vetting import check_verification

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
    "check_enricher",
    "check_source",
    "check_verification",
    "event_of",
    "make",
    "open_sink",
    "sample",
    "sample_delivery",
    "sample_events",
]
