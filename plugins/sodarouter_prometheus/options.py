"""The options of the plugin ``prometheus``."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sodarouter import Duration, Options

ResultLabel = Literal[
    "source", "type", "outcome", "severity", "status", "dataset", "datasource", "owner", "tag", "column", "check"
]


def _distinct(labels: list[ResultLabel]) -> list[ResultLabel]:
    if len(set(labels)) < len(labels):
        raise ValueError("a label is named twice")
    return labels


def _rising(bounds: list[float]) -> list[float]:
    if any(low >= high for low, high in pairwise(bounds)):
        raise ValueError("buckets go from small to large")
    return bounds


Buckets = Annotated[list[Annotated[Duration, Field(gt=0)]], Field(min_length=1), AfterValidator(_rising)]


class PrometheusOptions(Options):
    """The ``[plugin.prometheus]`` table."""

    path: str = Field(default="/metrics", pattern="^/")
    """Where the admin listener serves the metrics."""
    result_labels: Annotated[list[ResultLabel], AfterValidator(_distinct)] = Field(
        default=["type", "outcome", "severity"], min_length=1
    )
    """The labels of `sodarouter_results_total`."""
    max_series: int = Field(default=1000, ge=1)
    """How many series a metric may have whose labels come from outside; what is beyond is counted under `_other`."""
    attempt_buckets: Buckets = Field(
        default=[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]
    )
    """The upper bounds of the buckets of `sodarouter_attempt_seconds`, as durations."""
    end_to_end_buckets: Buckets = Field(
        default=[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0]
    )
    """The upper bounds of the buckets of `sodarouter_end_to_end_seconds`, as durations."""
