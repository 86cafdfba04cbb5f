"""Where requests may go: the guard, the network that asks it about each address, and the client that plugins are given."""

import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
import trustme
from distributions import SitePackages
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from running import LISTEN, OUTGOING, SOURCE, running_router, until
from sink import Answer, open_sink
from support import LOOPBACK, opened, payload

from sodarouter import Destination, HttpAnswer, HttpClient, HttpOptions, HttpUrl, Outgoing, Reject, Retry
from sodarouter.config import load
from sodarouter.delivery import State
from sodarouter.errors import ConfigError
from sodarouter.options import Place
from sodarouter.outgoing import Guard
from sodarouter.outgoing.guard import allowable, can_be_allowed, literal
from sodarouter.outgoing.network import addresses

EVERYTHING = Guard((ip_network("10.0.0.0/8"), ip_network("172.16.0.0/12"), ip_network("192.168.0.0/16"),
                    ip_network("100.64.0.0/10"), ip_network("127.0.0.0/8"), ip_network("::1/128"),
                    ip_network("fc00::/7")))  # fmt: skip
"""Allows all that can be allowed."""


def outgoing(*allow: str, **more: Any) -> Outgoing:
    return Outgoing.model_validate({"allow": list(allow), **more}, context=Place())


@asynccontextmanager
async def client(*allow: str, options: HttpOptions | None = None, **more: Any) -> AsyncIterator[HttpClient]:
    made = HttpClient(options, outgoing(*allow, **more))
    try:
        yield made
    finally:
        await made.close()


class Names(trio.abc.HostnameResolver):
    """Resolves each name to the addresses of its list, one list after the other; the last stays."""

    def __init__(self, **names: Sequence[Sequence[str]]) -> None:
        self._names = {name.replace("_", "."): list(lists) for name, lists in names.items()}
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, *_: Any):
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        lists = self._names[name]
        addresses = lists.pop(0) if len(lists) > 1 else lists[0]
        return [entry for one in addresses for entry in socket.getaddrinfo(one, port, type=socket.SOCK_STREAM)]

    async def getnameinfo(self, *_: Any):
        raise AssertionError


def names(**lists: Sequence[Sequence[str]]) -> Names:
    resolver = Names(**lists)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver


@pytest.fixture
def dialled(monkeypatch):
    """The addresses that a connection was tried to."""
    with _dialled(monkeypatch) as found:
        yield found


def _noting(connect: Any, found: list[str]) -> Any:
    async def noted(self: Any, address: Any) -> None:
        found.append(address[0])
        await connect(self, address)

    return noted


@contextmanager
def _dialled(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    # what is given is trio's own kind of socket, which is not the one that it shows
    with socket.socket() as plain:
        kind = type(trio.socket.from_stdlib_socket(plain))
    found: list[str] = []
    patch.setattr(kind, "connect", _noting(kind.connect, found))
    yield found


# the guard


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("169.254.169.254", "link-local"),
        ("169.254.0.1", "link-local"),
        ("192.0.0.192", "reserved"),
        ("192.0.2.1", "documentation"),
        ("198.51.100.7", "documentation"),
        ("203.0.113.7", "documentation"),
        ("192.88.99.1", "6to4"),
        ("198.18.0.1", "benchmarks"),
        ("198.19.255.255", "benchmarks"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::2", "reserved"),
        ("::127.0.0.1", "reserved"),
        ("::ffff:127.0.0.1", "IPv4"),
        ("::ffff:93.184.215.14", "IPv4"),
        ("::ffff:0:127.0.0.1", "reserved"),
        ("64:ff9b::169.254.169.254", "not public"),
        ("64:ff9b::10.0.0.1", "not public"),
        ("64:ff9b:1::1", "reserved"),
        ("100::1", "reserved"),
        ("2001::1", "Teredo"),
        ("2001:20::1", "reserved"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("3fff::1", "documentation"),
        ("4000::1", "reserved"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("fd00:42::42", "metadata"),
        ("fe80::1", "link-local"),
        ("fe80::1%lo", "link-local"),
        ("fe80::a9fe:a9fe", "link-local"),
        ("fec0::1", "reserved"),
        ("ff02::1", "multicast"),
    ],
)
def test_these_are_always_refused(address, why):
    assert why in EVERYTHING.refusal(ip_address(address))
    assert not can_be_allowed(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.9.9.9", "172.16.0.1",
     "172.31.255.255", "192.168.1.1", "::1", "fc00::1", "fd12:3456::1"],
)  # fmt: skip
def test_these_are_refused_unless_they_are_allowed(address):
    asked = ip_address(address)
    assert re.search("private|shared|loopback", Guard().refusal(asked))
    assert not EVERYTHING.refusal(asked)
    assert not Guard((ip_network(address),)).refusal(asked)
    assert can_be_allowed(asked)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "9.255.255.255", "11.0.0.0", "93.184.215.14", "100.63.255.255", "100.128.0.0", "126.255.255.255",
     "128.0.0.1", "172.15.255.255", "172.32.0.0", "192.167.255.255", "223.255.255.255", "2606:4700::1111",
     "2a00:1450:4001::1", "64:ff9b::1.1.1.1"],
)  # fmt: skip
def test_public_addresses_are_not_refused(address):
    assert Guard().refusal(ip_address(address)) == ""


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), st.integers(0, 2**32 - 1).map(IPv4Address),
                      st.integers(0, 2**128 - 1).map(IPv6Address))  # fmt: skip


@given(ADDRESSES)
def test_what_is_not_refused_is_public(address):
    """By Python's own table, which knows less."""
    if not Guard().refusal(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.sampled_from(EVERYTHING.allow), st.data())
def test_an_allowed_range_lets_through_what_is_in_it_and_nothing_else(private, data):
    inside = data.draw(st.ip_addresses(network=private))
    prefix = data.draw(st.integers(private.prefixlen, private.max_prefixlen))
    network = ip_network((inside, prefix), strict=False)
    assume(can_be_allowed(network[0]) or can_be_allowed(network[-1]))
    guard = Guard((allowable(network),))
    other = data.draw(st.one_of(st.ip_addresses(network=private), ADDRESSES))
    for address in (inside, network[0], network[-1], other):
        allowed = address in network and can_be_allowed(address)
        assert guard.refusal(address) == ("" if allowed else Guard().refusal(address))


@given(ADDRESSES, st.integers(0, 128))
def test_no_range_can_be_allowed_but_parts_of_the_private_ones(address, prefix):
    network = ip_network((address, min(prefix, address.max_prefixlen)), strict=False)
    private = any(network[0] in one and network[-1] in one for one in EVERYTHING.allow)
    private = private and (can_be_allowed(network[0]) or can_be_allowed(network[-1]))
    try:
        assert allowable(network) == network
        assert private
    except ValueError:
        assert not private


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("169.254.169.254", "is a link-local address, which is always refused"),
        ("100.100.100.200", "is a cloud's metadata, which is always refused"),
        ("0.0.0.0/0", "is an unspecified address, which is always refused; what can be allowed is in 10.0.0.0/8"),
        ("93.184.215.14", "is not private: public addresses need no leave"),
        ("10.0.0.0/7", "is not private"),
        ("::/0", "is always refused"),
        ("fe80::/10", "is a link-local address"),
        ("10.0.0.1/8", "has bits set beyond its prefix"),
        ("localhost", "is no address or range"),
        (7, "an address range is written like"),
    ],
)
def test_what_cannot_be_allowed_is_a_fault(given, said):
    with pytest.raises(ValidationError, match=re.escape(said)):
        Outgoing.model_validate({"allow": [given]})


# spellings


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "0x7f.0.0x0.1",
    ],
)
def test_every_spelling_of_an_address_is_known(host):
    assert literal(host) == ip_address("127.0.0.1")


@pytest.mark.parametrize(
    "host", ["example.org", "localhost", "127.0.0.1.nip.io", "", "a" * 300, "1.2.3.4.5", "[::1", "\0"]
)
def test_a_name_is_no_address(host):
    assert literal(host) is None or host == "[::1"


def spellings(address: IPv4Address | IPv6Address) -> list[str]:
    if isinstance(address, IPv6Address):
        return [f"[{address}]", f"[{address.exploded}]", f"[{address}%lo]", f"[{address}%25lo]", f"[{address}%251]"]
    number = int(address)
    one, two, three, four = address.packed
    last, rest = (three << 8) + four, (two << 16) + (three << 8) + four
    return [
        str(address), str(number), hex(number), oct(number).replace("0o", "0"), f"0x{number:032x}",
        f"{one}.{rest}", f"{one}.{two}.{last}", f"0x{one:x}.{two:#x}.{three}.0{four:o}", f"0{one:o}.{rest}",
        f"[::ffff:{address}]", f"[::ffff:{number >> 16:x}:{number & 0xffff:x}]", f"[::{address}]",
        f"[64:ff9b::{address}]" , f"{address}.", f"%{ord(str(address)[0]):x}{str(address)[1:]}",
        str(address).translate({ord(str(digit)): chr(0xFF10 + digit) for digit in range(10)}),
    ]  # fmt: skip


REFUSED = ADDRESSES.filter(lambda address: bool(Guard().refusal(address)))


@settings(max_examples=150)
@given(REFUSED, st.data())
def test_no_spelling_reaches_an_address_that_is_refused(address, data):
    host = data.draw(st.sampled_from(spellings(address)))

    async def ask() -> None:
        # a name reaches no network here
        names()
        async with client() as http:
            with pytest.raises((Retry, Reject, KeyError)):
                await http.request("POST", f"http://{host}:9/")

    with pytest.MonkeyPatch.context() as patch, _dialled(patch) as found:
        trio.run(ask)
    assert found == []


# the network


async def test_a_name_that_leads_elsewhere_the_next_time_gains_nothing():
    """Rebinding: what is connected to is what was asked about, and the name is not resolved again for it."""
    async with open_sink(Answer(200, {"Connection": "close"})) as outside:
        port = urlsplit(outside.url).port
        async with open_sink(host="127.0.0.2", port=port) as inside, client("127.0.0.1") as http:
            resolver = names(rebinding_example=[["127.0.0.1"], ["127.0.0.2"]])
            url = f"http://rebinding.example:{port}/hook"
            assert (await http.request("POST", url)).status == 200
            assert resolver.asked == ["rebinding.example"]
            with pytest.raises(Retry, match=r"^not connected: 127\.0\.0\.2 is a loopback address, and "):
                await http.request("POST", url)
            assert len(resolver.asked) == 2
            assert (len(outside.requests), inside.connections) == (1, 0)


async def test_a_kept_connection_goes_to_the_address_that_was_asked_about():
    async with open_sink() as sink, client("127.0.0.1") as http:
        resolver = names(rebinding_example=[["127.0.0.1"], ["127.0.0.2"]])
        url = f"http://rebinding.example:{urlsplit(sink.url).port}/"
        for _ in range(3):
            await http.request("POST", url)
        assert (len(sink.requests), sink.connections, len(resolver.asked)) == (3, 1, 1)


async def test_every_address_of_a_name_is_asked_about_and_those_that_are_refused_are_passed_over(dialled):
    async with open_sink() as sink, client("127.0.0.1") as http:
        names(mixed_example=[["169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1", "127.0.0.1", "fe80::1", "127.0.0.2"]])
        await http.request("POST", f"http://mixed.example:{urlsplit(sink.url).port}/")
        assert len(sink.requests) == 1
    assert dialled == ["127.0.0.1"]


async def test_a_name_none_of_whose_addresses_may_be_connected_to_says_of_each_why():
    names(inside_example=[["10.0.0.5", "169.254.169.254"]])
    async with client() as http:
        with pytest.raises(Retry) as caught:
            await http.request("POST", "https://inside.example/c4nary?c4nary")
    assert caught.value.reason == (
        'not connected: 10.0.0.5 is a private address, and "10.0.0.5" is not in [outgoing] allow; '
        "169.254.169.254 is a link-local address, which is always refused"
    )
    assert caught.value.__cause__ is None


async def test_when_the_first_address_refuses_the_next_is_tried_at_once():
    async with open_sink() as sink, client("127.0.0.0/8", "::1") as http:
        names(two_example=[["127.0.0.3", "127.0.0.1"]])
        with trio.fail_after(5):
            await http.request("POST", f"http://two.example:{urlsplit(sink.url).port}/")
        assert len(sink.requests) == 1


async def test_when_no_address_answers_the_cause_is_told():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        names(two_example=[["127.0.0.1", "127.0.0.3"]])
        async with client("127.0.0.0/8") as http:
            with pytest.raises(Retry, match=r"^ConnectError: Connection refused$"):
                await http.request("POST", f"http://two.example:{bound.getsockname()[1]}/")


async def test_an_address_that_hangs_is_not_waited_for(dialled):
    """Happy eyeballs: the next address is tried beside it."""
    with hanging("127.0.0.3") as port:
        async with open_sink(port=port) as sink, client("127.0.0.0/8") as http:
            names(slow_example=[["127.0.0.3", "127.0.0.1", "127.0.0.4"]])
            with trio.fail_after(5):
                await http.request("POST", f"http://slow.example:{port}/")
            assert len(sink.requests) == 1
    assert dialled == ["127.0.0.3", "127.0.0.1"]


async def test_the_time_to_connect_holds_for_all_addresses_together_and_for_the_lookup():
    class Never(Names):
        async def getaddrinfo(self, *_: Any, **__: Any):
            await trio.sleep_forever()

    options = HttpOptions.model_validate({"connect_timeout": "300ms"})
    with hanging("127.0.0.3") as port:
        async with client("127.0.0.0/8", options=options) as http:
            names(slow_example=[["127.0.0.3", "127.0.0.3"]])
            with trio.fail_after(5), pytest.raises(Retry, match=r"^ConnectTimeout: no connection within"):
                await http.request("POST", f"http://slow.example:{port}/")
            trio.socket.set_custom_hostname_resolver(Never())
            with trio.fail_after(5), pytest.raises(Retry, match=r"^ConnectTimeout: no connection within"):
                await http.request("POST", f"http://slow.example:{port}/")


@contextmanager
def hanging(host: str) -> Iterator[int]:
    """A port whose queue is full, so that nothing answers there: not even a refusal."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex((host, port))
            waiting.append(one)
        try:
            yield port
        finally:
            for one in waiting:
                one.close()


async def test_addresses_of_both_kinds_take_turns():
    names(both_example=[["127.0.0.1", "127.0.0.2", "::1", "127.0.0.1"]])
    found = await addresses(EVERYTHING, "both.example", 80)
    assert list(map(str, found)) == ["127.0.0.1", "::1", "127.0.0.2"]


async def test_tls_and_host_go_by_the_name(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hooks.example.org").configure_cert(context)
    seen: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    async with open_sink(tls=context) as sink, client("127.0.0.1", ca=str(tmp_path / "ca.pem")) as http:
        names(hooks_example_org=[["127.0.0.1"]], other_example_org=[["127.0.0.1"]])
        port = urlsplit(sink.url).port
        await http.request("POST", f"https://hooks.example.org:{port}/")
        assert sink.requests[0].headers["host"] == f"hooks.example.org:{port}"
        with pytest.raises(Retry, match=r"^ConnectError: certificate not accepted: Hostname mismatch$"):
            await http.request("POST", f"https://other.example.org:{port}/")
    assert seen == ["hooks.example.org", "other.example.org"]


def test_what_trusts_the_same_is_made_once(tmp_path):
    """Reading the authorities of a system takes as long as all else that a destination needs to open."""
    ca, authority = tmp_path / "ca.pem", trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    own = tmp_path / "own.pem"
    authority.issue_cert("client.example.org").private_key_and_cert_chain_pem.write_to_path(str(own))

    def contexts(tls: dict[str, Any], **more: Any) -> set[ssl.SSLContext]:
        return {HttpOptions.model_validate({"tls": tls}).tls.context(outgoing(**more)) for _ in range(3)}

    usual, trusting = contexts({}), contexts({"ca": str(ca)})
    assert (len(usual), len(trusting), len(contexts({"verify": False}))) == (1, 1, 1)
    assert contexts({}, ca=str(ca)) == trusting
    # one that shows a certificate is not shared, or others would show it
    assert len(contexts({"ca": str(ca), "cert": str(own)})) == 3
    # nor is one that was made of what the file had before
    ca.write_bytes(authority.cert_pem.bytes() + trustme.CA().cert_pem.bytes())
    assert not contexts({"ca": str(ca)}) & trusting


async def test_a_name_that_cannot_be_looked_up_means_later():
    async with client() as http:
        with pytest.raises(Retry, match=r"^ConnectError: "):
            await http.request("POST", f"http://{'a' * 70}.example/")


# proxies


async def test_the_proxys_own_address_is_asked_about(dialled):
    options = HttpOptions.model_validate({"proxy": "http://me:c4nary@127.0.0.1:9"})
    async with client(options=options) as http:
        with pytest.raises(Retry, match=r"^not connected: 127\.0\.0\.1 is a loopback address") as caught:
            await http.request("POST", "http://hooks.example.org/")
    assert dialled == []
    assert "c4nary" not in repr(caught.value)


async def test_a_proxy_is_asked_for_names_and_for_no_address_that_is_refused():
    async with open_sink() as proxy:
        async with client("127.0.0.1", proxy=f"http://me:s3cret@{proxy.url[7:]}") as http:
            resolver = names()
            assert (await http.request("POST", "http://inside.example/hook")).status == 200
            for url in ("http://169.254.169.254/", "http://0xa000001/", "https://[fe80::1]/", "http://10.0.0.1/"):
                with pytest.raises(Retry, match=r"^not asked of the proxy: "):
                    await http.request("POST", url)
        assert resolver.asked == []
        assert [request.target for request in proxy.requests] == ["http://inside.example/hook"]
        assert "proxy-authorization" in proxy.requests[0].headers


async def test_a_destination_can_do_without_the_proxy_of_all():
    options = HttpOptions.model_validate({"proxy": "off"})
    async with open_sink() as sink, client("127.0.0.1", options=options, proxy="http://127.0.0.1:9") as http:
        await http.request("POST", sink.url)
        assert sink.requests[0].target == "/"


def test_off_is_no_secret():
    place = Place()
    HttpOptions.model_validate({"proxy": "off"}, context=place)
    assert place.secrets == set()


# the client


async def test_redirects_are_not_followed():
    async with open_sink(Answer(302, {"Location": "http://169.254.169.254/"})) as sink, client("127.0.0.1") as http:
        answer = await http.request("GET", sink.url)
        assert (answer.status, answer.headers["location"]) == (302, "http://169.254.169.254/")
        with pytest.raises(Reject, match="answered 302 Found, and redirects are not followed"):
            answer.raise_unless_taken()
        assert len(sink.requests) == 1


async def test_what_is_sent_is_what_was_asked_for():
    async with open_sink() as sink, client("127.0.0.1") as http:
        await http.request("POST", f"{sink.url}/a%2Fb?c=d%20e#f", json={"text": "Zo\u00eb"}, headers={"X-A": "b"})
        await http.request("PUT", sink.url, content=b"\x00", headers={"User-Agent": "own/1", "content-type": "a/b"})
        await http.request("GET", sink.url)
        post, put, get = sink.requests
    assert (post.target, post.body) == ("/a%2Fb?c=d%20e", '{"text": "Zo\u00eb"}'.encode())
    assert (post.headers["content-type"], post.headers["x-a"]) == ("application/json", "b")
    assert post.headers["user-agent"].startswith("sodarouter/")
    assert (put.body, put.headers["user-agent"], put.headers["content-type"]) == (b"\x00", "own/1", "a/b")
    assert "content-length" not in get.headers


@pytest.mark.parametrize(
    "url", ["c4nary", "ftp://c4nary/", "http://", "http:///c4nary", "http://me:c4nary@example.org/", "unix:///c4nary",
            "http+unix://c4nary/", "file:///c4nary", "http://x/c4nary\x00", "http://c4nary:99999999/"],
)  # fmt: skip
async def test_what_is_no_url_of_the_web_is_refused_and_not_quoted(url):
    async with client() as http:
        with pytest.raises(Reject, match=r"^the URL ") as caught:
            await http.request("POST", url)
    assert "c4nary" not in repr(caught.value)


@pytest.mark.parametrize("url", ["http://c4nary:x/", "http://me:c4nary@h/", "c4nary"])
def test_an_option_for_a_url_takes_nothing_else_and_does_not_quote_it(url):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(HttpUrl).validate_python(url)
    assert "c4nary" not in str(caught.value).replace(repr(url), "")


async def test_a_body_without_end_is_read_up_to_its_limit():
    async with open_sink(Answer(200, body=repeat(b"x" * 1000))) as sink, client("127.0.0.1") as http:
        answer = await http.request("GET", sink.url)
    assert not answer.whole
    assert 65_536 <= len(answer.body) < 300_000


async def test_an_answer_is_kept_without_what_it_quotes_of_the_request():
    def quoting(request: Any) -> Answer:
        lines = [request.target, "c4nary in query", *(f"{name}: {value}" for name, value in request.headers.items())]
        return Answer(400, body="\n".join(lines).encode())

    async with open_sink() as sink, client("127.0.0.1") as http:
        sink.reply = quoting
        answer = await http.request(
            "POST",
            f"{sink.url}/c4nary-in-path?key=c4nary%20in%20query",
            headers={"Authorization": "Bearer c4nary-in-header", "X-Key": "c4nary-in-key"},
            json={},
        )
    with pytest.raises(Reject) as caught:
        answer.raise_unless_taken()
    assert "c4nary" not in f"{caught.value!r}{caught.value.response}{answer!r}".replace(repr(answer.body), "")
    assert "content-type: application/json" in caught.value.response


def test_a_status_of_its_own_has_no_phrase():
    with pytest.raises(Retry, match=r"^answered 599$"):
        HttpAnswer(599, {"retry-after": "7"}, b"", whole=True).raise_unless_taken()


async def test_a_client_that_was_closed_opens_again():
    async with open_sink() as sink, client("127.0.0.1") as http:
        await http.request("POST", sink.url)
        await http.close()
        await http.close()
        await http.request("POST", sink.url)
        assert sink.connections == 2


async def test_requests_at_once_get_over_connections_that_the_server_has_closed():
    async def four(http: HttpClient, url: str) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(http.request, "POST", url)

    async with client("127.0.0.1") as http:
        async with open_sink() as before, trio.open_nursery() as nursery:
            before.script(Answer(hold=(hold := trio.Event())))
            nursery.start_soon(four, http, before.url)
            await before.until_requests(4)
            hold.set()
        async with open_sink(port=urlsplit(before.url).port) as after:
            await four(http, before.url)
            assert (before.connections, len(after.requests)) == (4, 4)


async def test_a_destination_made_by_hand_reaches_no_private_address():
    class Own(Destination[HttpOptions]):
        type = "own"

        async def deliver(self) -> None:
            await self.http.request("POST", "http://127.0.0.1:9/")

    with pytest.raises(Retry, match=r"^not connected"):
        await Own("here", HttpOptions()).deliver()
    async with opened(Own, {}, outgoing=LOOPBACK) as own:
        with pytest.raises(Retry, match="Connection refused"):
            await own.deliver()


# the configuration


def faults(folder: Path, toml: str) -> list[str]:
    (folder / "router.toml").write_text(LISTEN.removeprefix(OUTGOING) + SOURCE + toml)
    try:
        load(folder / "router.toml")
    except ConfigError as error:
        return [str(fault).removeprefix("router.toml: ") for fault in error.faults]
    return []


ASIDE = "and may not be connected to"


@pytest.mark.parametrize(
    ("url", "allow", "fault"),
    [
        (
            "http://127.0.0.1:9000/c4nary",
            "",
            f'127.0.0.1 is a loopback address, {ASIDE}; if it is meant: [outgoing] allow = ["127.0.0.0/8"]',
        ),
        (
            "https://10.1.2.3/{{ event.id }}",
            '"10.2.0.0/16"',
            f'10.1.2.3 is a private address, {ASIDE}; if it is meant, add "10.1.2.3" to [outgoing] allow',
        ),
        ("http://[::1]/", "", f'::1 is a loopback address, {ASIDE}; if it is meant: [outgoing] allow = ["::1"]'),
        ("http://LOCALHOST/", "", "127.0.0.1 is a loopback address"),
        ("http://2130706433/", "", "127.0.0.1 is a loopback address"),
        (
            "http://169.254.169.254/",
            "",
            f"169.254.169.254 is a link-local address, {ASIDE}; no configuration allows it",
        ),
        ("http://localhost/", '"127.0.0.1"', None),
        ("http://localhost/", '"::1"', None),
        ("http://10.1.2.3/", '"10.1.0.0/16"', None),
        ("https://hooks.example.org/127.0.0.1", "", None),
        ("https://93.184.215.14/", "", None),
    ],
)
def test_an_address_that_will_be_refused_is_told_with_the_line_that_allows_it(tmp_path, url, allow, fault):
    table = f'[destination.there]\ntype = "forward"\nurl = "{url}"\n[[route]]\nto = ["there"]\n'
    found = faults(tmp_path, f"[outgoing]\nallow = [{allow}]\n{table}")
    assert [one.startswith(f"destination.there.url: {fault}") for one in found] == ([True] if fault else [])
    assert "c4nary" not in str(found)


def test_proxies_are_looked_at_too(tmp_path):
    table = '[destination.there]\ntype = "forward"\nurl = "https://h.example/"\nproxy = "http://127.0.0.1:3128"\n'
    found = faults(
        tmp_path, f'[outgoing]\nproxy = "http://me:c4nary@10.0.0.1:3128"\n{table}[[route]]\nto = ["there"]\n'
    )
    assert [one.partition(",")[0] for one in found] == [
        "outgoing.proxy: 10.0.0.1 is a private address",
        "destination.there.proxy: 127.0.0.1 is a loopback address",
    ]


@pytest.mark.parametrize("line", ['proxy = "off"', 'proxy = "https://p.example/"', 'ca = "none.pem"', "alow = []"])
def test_what_outgoing_cannot_have_is_a_fault(tmp_path, line):
    [fault] = faults(tmp_path, f"[outgoing]\n{line}\n[unrouted]\nto = []\n")
    assert fault.startswith("outgoing")


HOOK = """
[destination.hook]
type = "forward"
url = "http://inside.example:{port}/"
retry = {{ initial = "50ms", max_delay = "50ms" }}
[[route]]
to = ["hook"]
"""


async def test_a_reload_changes_where_requests_may_go(tmp_path):
    listen = LISTEN.removeprefix(OUTGOING)
    async with open_sink() as sink:
        names(inside_example=[["127.0.0.1"]])
        toml = HOOK.format(port=urlsplit(sink.url).port)
        async with running_router(tmp_path, toml, listen=listen) as router:
            await router.post(payload("v4-2026-checkEvaluation"))
            await until(lambda: any(one.reason for one in router.reader.deliveries(limit=1)))
            [delivery] = router.reader.deliveries(limit=1)
            assert delivery.reason == (
                'not connected: 127.0.0.1 is a loopback address, and "127.0.0.0/8" is not in [outgoing] allow'
            )
            (tmp_path / "router.toml").write_text(OUTGOING + listen + SOURCE + toml)
            assert await router.bound.reload() == ()
            [delivery] = await router.until_settled()
            assert delivery.state is State.DELIVERED
            assert len(sink.requests) == 1


# plugins


PAGE = (Path(__file__).parent.parent / "docs/plugins/tools.md").read_text(encoding="utf-8")
(CHAT,) = re.findall(r"```python\n(# sodarouter_chat.py\n.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def chat(tmp_path, monkeypatch):
    SitePackages(tmp_path / "site", monkeypatch).install(
        "sodarouter-chat", {"chat": "sodarouter_chat"}, sodarouter_chat=CHAT
    )


@pytest.mark.usefixtures("chat")
async def test_the_plugin_of_the_documentation_delivers(tmp_path):
    async with open_sink(Answer(503), Answer(200)) as sink:
        toml = f'[destination.chat]\ntype = "chat"\nurl = "{sink.url}/c4nary"\nretry = {{ initial = "50ms" }}\n'
        async with running_router(tmp_path, toml + '[[route]]\nto = ["chat"]\n') as router:
            await router.post(payload("v4-2026-checkEvaluation"))
            [delivery] = await router.until_settled()
        assert delivery.state is State.DELIVERED
        await sink.until_closed()
    assert [request.body for request in sink.requests] == [b'{"text": "Soda: checkEvaluation"}'] * 2


@pytest.mark.usefixtures("chat")
def test_a_plugins_url_is_looked_at_when_its_options_say_that_it_uses_the_client(tmp_path):
    toml = '[destination.chat]\ntype = "chat"\nurl = "http://10.0.0.1/"\n[[route]]\nto = ["chat"]\n'
    [fault] = faults(tmp_path, toml)
    assert fault.startswith("destination.chat.url: 10.0.0.1 is a private address")
