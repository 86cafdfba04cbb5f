"""Takes in Soda Cloud webhooks, makes them durable, decides where each goes, and delivers it through plugins.

This is the front door: what a plugin may import, and all that it needs.
"""

from sodarouter.batch import BatchItem, ItemAnswer
from sodarouter.delivery import (
    Breaker,
    Cause,
    Condition,
    Delivery,
    Fallback,
    Halt,
    Lag,
    Loaded,
    Queue,
    Settled,
    State,
    Stats,
    Workers,
)
from sodarouter.destination import Destination
from sodarouter.errors import Reject, Retry, SpoolError, Untranslatable, Unverified
from sodarouter.event import Event
from sodarouter.http import HttpRequest, HttpResponse, HttpRoute, WebhookRequest
from sodarouter.link import IncidentLink
from sodarouter.metrics import Metric, MetricKind, Metrics, Sample
from sodarouter.options import ConfigPath, Duration, Options, Secret, Size
from sodarouter.outgoing import ClientTls, HttpAnswer, HttpClient, HttpOptions, HttpUrl, Outgoing
from sodarouter.plugin import API_VERSION, Plugin, hookimpl
from sodarouter.preview import Preview
from sodarouter.signature import HmacSignature, Signature, StandardWebhooks
from sodarouter.source import SourceType
from sodarouter.store import Store
from sodarouter.template import HiddenTemplate, HtmlTemplate, SecretTemplate, Template, TextTemplate, UrlTemplate, sees
from sodarouter.verification import VerificationType
from sodarouter.view import Agreement, Contract, Dataset, Incident, Link, Person, Result, Team, View

__all__ = [
    "API_VERSION",
    "Agreement",
    "BatchItem",
    "Breaker",
    "Cause",
    "ClientTls",
    "Condition",
    "ConfigPath",
    "Contract",
    "Dataset",
    "Delivery",
    "Destination",
    "Duration",
    "Event",
    "Fallback",
    "Halt",
    "HiddenTemplate",
    "HmacSignature",
    "HtmlTemplate",
    "HttpAnswer",
    "HttpClient",
    "HttpOptions",
    "HttpRequest",
    "HttpResponse",
    "HttpRoute",
    "HttpUrl",
    "Incident",
    "IncidentLink",
    "ItemAnswer",
    "Lag",
    "Link",
    "Loaded",
    "Metric",
    "MetricKind",
    "Metrics",
    "Options",
    "Outgoing",
    "Person",
    "Plugin",
    "Preview",
    "Queue",
    "Reject",
    "Result",
    "Retry",
    "Sample",
    "Secret",
    "SecretTemplate",
    "Settled",
    "Signature",
    "Size",
    "SourceType",
    "SpoolError",
    "StandardWebhooks",
    "State",
    "Stats",
    "Store",
    "Team",
    "Template",
    "TextTemplate",
    "Untranslatable",
    "Unverified",
    "UrlTemplate",
    "VerificationType",
    "View",
    "WebhookRequest",
    "Workers",
    "hookimpl",
    "sees",
]
