"""The addresses that a configuration itself names and the guard will refuse: told at once, not at the first delivery."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr

from sodarouter.config.destinations import ConfiguredDestination
from sodarouter.errors import Fault
from sodarouter.faults import dotted
from sodarouter.outgoing import HttpOptions, Outgoing
from sodarouter.outgoing.guard import Ip, can_be_allowed, leave, literal
from sodarouter.template import HiddenTemplate


def refused(destinations: Sequence[ConfiguredDestination], outgoing: Outgoing) -> Iterator[Fault]:
    """A fault for each URL whose host is an address that may not be connected to. What names lead to shows later.

    Only the options of those destinations are looked at that say that they use the router's client.
    """
    if outgoing.proxy:
        yield from _judged("outgoing.proxy", outgoing.proxy.get_secret_value(), outgoing)
    for one in destinations:
        if isinstance(one.options, HttpOptions):
            for key, value in one.options:
                yield from _judged(dotted(["destination", one.name, key]), _text(value), outgoing)


def _text(value: object) -> str:
    match value:
        case HiddenTemplate():
            return value.head
        case SecretStr():
            return value.get_secret_value()
        case str():
            return value
    return ""


def _judged(place: str, text: str, outgoing: Outgoing) -> Iterator[Fault]:
    refusals = {address: outgoing.guard.refusal(address) for address in _addresses(text)}
    if refusals and all(refusals.values()):
        address, why = next(iter(refusals.items()))
        yield Fault(place, f"{address} is {why}, and may not be connected to", _hint(address, outgoing))


def _addresses(text: str) -> Sequence[Ip]:
    if not text.startswith(("http://", "https://")):
        return ()
    try:
        host = urlsplit(text).hostname or ""
    except ValueError:
        return ()
    if host == "localhost" or host.endswith(".localhost"):
        return ip_address("127.0.0.1"), ip_address("::1")
    address = literal(host)
    return () if address is None else (address,)


def _hint(address: Ip, outgoing: Outgoing) -> str:
    if not can_be_allowed(address):
        return "no configuration allows it"
    if outgoing.allow:
        return f'if it is meant, add "{leave(address)}" to [outgoing] allow'
    return f'if it is meant: [outgoing] allow = ["{leave(address)}"]'
