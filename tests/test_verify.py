import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sodarouter import HmacSignature, Options
from sodarouter.errors import Forbidden
from sodarouter.verify import Proxy, Request, Verification, client_address, sign, verify, verify_head

NOW = 1_780_000_000.0
BODY = b'{"event": "validate"}'
KEY = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
OTHER_KEY = "whsec_" + base64.b64encode(b"another key, as long as it").decode()


class Source(Options):
    verify: list[Verification]


def rules(*tables: dict) -> list:
    return Source.model_validate({"verify": list(tables)}).verify


def request(headers: dict[str, str] | None = None, body: bytes = BODY, client: str | None = None) -> Request:
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    return Request(lower, body, client and ip_address(client))


def passes(table: dict, given: Request, now: float = NOW) -> None:
    verify(rules(table), given, now)


def refused(table: dict, given: Request, now: float = NOW) -> str:
    with pytest.raises(Forbidden) as raised:
        verify(rules(table), given, now)
    assert raised.value.status == 401
    assert table["type"] in raised.value.detail
    return raised.value.reason


HEADER = {"type": "header", "name": "Authorization", "value": "Bearer hunter2"}
BASIC = {"type": "basic", "username": "söda", "password": "pa:ss wörd "}
HMAC = {"type": "hmac", "header": "X-Soda-Signature", "secrets": ["hunter2"], "prefix": "sha256="}
STANDARD = {"type": "standard-webhooks", "secrets": [KEY]}
ADDRESS = {"type": "address", "allow": ["54.78.91.111", "10.0.0.0/8", "2001:db8::/32"]}


def test_a_header_must_hold_exactly_the_value():
    passes(HEADER, request({"Authorization": "Bearer hunter2"}))
    assert refused(HEADER, request()) == "the header Authorization is missing"
    for value in ("bearer hunter2", "Bearer hunter", "Bearer hunter22", "Bearer hunter2, Bearer hunter2", "?"):
        assert refused(HEADER, request({"Authorization": value})) == "the header Authorization holds another value"


def test_a_header_may_hold_any_value_of_a_list_so_that_one_can_be_replaced():
    table = HEADER | {"value": ["Bearer old", "Bearer new"]}
    for value in ("Bearer old", "Bearer new"):
        passes(table, request({"Authorization": value}))
    refused(table, request({"Authorization": "Bearer older"}))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_value_beyond_ascii_may_come_in_either_encoding(encoding):
    on_the_wire = "Bearer hüntér".encode(encoding)
    passes(HEADER | {"value": "Bearer hüntér"}, request({"Authorization": on_the_wire.decode("latin-1")}))


def credentials(text: str, encoding: str = "utf-8") -> str:
    return base64.b64encode(text.encode(encoding)).decode()


def test_basic_authentication_takes_user_and_password():
    for encoding in ("utf-8", "latin-1"):
        passes(BASIC, request({"Authorization": f"Basic {credentials('söda:pa:ss wörd ', encoding)}"}))
    passes(BASIC, request({"Authorization": f"bASIC  {credentials('söda:pa:ss wörd ')}"}))
    for text in ("söda:pa:ss wörd", "soda:pa:ss wörd ", "söda", ""):
        refused(BASIC, request({"Authorization": f"Basic {credentials(text)}"}))
    for value in ("Bearer x", "Basic", "Basic %%%", "Basic ëë", f"Basic {credentials('söda:pa:ss wörd ')}, Basic x"):
        refused(BASIC, request({"Authorization": value}))
    assert refused(BASIC, request()) == "the header Authorization is missing"


def test_an_address_must_be_known_and_in_a_range():
    for client in ("54.78.91.111", "10.255.0.1", "2001:db8::7"):
        passes(ADDRESS, request(client=client))
    for client in ("54.78.91.112", "11.0.0.1", "2001:db9::7", None):
        refused(ADDRESS, request(client=client))


def test_all_verifications_must_hold_and_none_lets_everybody_in():
    every = rules(HEADER, HMAC, STANDARD, ADDRESS)
    headers = sign(every, BODY, NOW)
    verify(every, request(headers, client="10.0.0.1"), NOW)
    for name in headers:
        with pytest.raises(Forbidden):
            verify(every, request({k: v for k, v in headers.items() if k != name}, client="10.0.0.1"), NOW)
    with pytest.raises(Forbidden):
        verify(every, request(headers), NOW)
    verify([], request(), NOW)


def test_the_head_alone_turns_away_a_stranger_but_not_one_whose_body_is_to_be_checked():
    every = rules(HEADER, HMAC, ADDRESS)
    verify_head(every, {"authorization": "Bearer hunter2"}, ip_address("10.0.0.1"))
    with pytest.raises(Forbidden):
        verify_head(every, {"authorization": "Bearer hunter2"}, None)
    with pytest.raises(Forbidden):
        verify_head(every, {}, ip_address("10.0.0.1"))


def test_a_refusal_tells_the_sender_less_than_the_log_and_neither_a_secret():
    with pytest.raises(Forbidden) as raised:
        verify(rules(HEADER), request({"Authorization": "guess"}), NOW)
    assert raised.value.detail == "the request did not pass this source's header verification"
    assert "hunter2" not in raised.value.reason + str(raised.value)


printable = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)


@given(st.binary(max_size=40), printable, printable, printable.filter(lambda name: ":" not in name))
def test_what_is_signed_passes_and_a_mutated_body_does_not(body, secret, prefix, user):
    bare = HMAC | {"secrets": [secret], "prefix": ""}
    signed = [
        bare | {"prefix": prefix},
        bare | {"algorithm": "sha512", "encoding": "base64", "prefix": "v1,"},
        bare | {"algorithm": "sha1", "timestamp_header": "X-Time"},
        STANDARD,
    ]
    unsigned = [HEADER | {"value": secret}, {"type": "basic", "username": user, "password": secret}]
    for table in [*signed, *unsigned]:
        passes(table, request(sign(rules(table), body, NOW), body))
    for table in signed:
        refused(table, request(sign(rules(table), body, NOW), body + b" "))


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_an_hmac_is_what_the_standard_library_makes(algorithm, encoding):
    digest = hmac.new(b"hunter2", BODY, getattr(hashlib, algorithm)).digest()
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    table = HMAC | {"algorithm": algorithm, "encoding": encoding, "prefix": f"{algorithm}="}
    passes(table, request({"x-soda-signature": f"{algorithm}={text}"}))
    assert sign(rules(table), BODY, NOW) == {"X-Soda-Signature": f"{algorithm}={text}"}
    refused(table, request({"x-soda-signature": text}))
    refused(table, request({"x-soda-signature": f"{algorithm}={text[:-1]}"}))
    refused(table, request({"x-soda-signature": f"{algorithm}={text}"}, BODY + b"\n"))


def test_an_hmac_known_from_elsewhere_is_taken():
    """The example of GitHub's documentation of webhooks."""
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    table = HMAC | {"header": "X-Hub-Signature-256", "secrets": ["It's a Secret to Everybody"]}
    passes(table, request({"X-Hub-Signature-256": signature}, b"Hello, World!"))
    passes(table, request({"X-Hub-Signature-256": signature.upper().replace("SHA", "sha")}, b"Hello, World!"))


def test_any_secret_will_do_and_the_first_one_signs():
    (old,), (new,), (both,) = (
        sign(rules(HMAC | {"secrets": s}), BODY, NOW).items() for s in (["old"], ["new"], ["new", "old"])
    )
    assert both == new
    for header in (old, new):
        passes(HMAC | {"secrets": ["new", "old"]}, request(dict([header])))
    refused(HMAC | {"secrets": ["new"]}, request(dict([old])))


@pytest.mark.parametrize("prefix", ["", "sha256=", "v1,", "HMAC-SHA256 Signature=", "{body}"])
def test_a_header_may_hold_several_signatures_behind_any_prefix(prefix):
    table = HMAC | {"prefix": prefix}
    (valid,) = sign(rules(table), BODY, NOW).values()
    for header in (valid, f"{prefix}00 {valid}", f"{valid}, {prefix}00", f"t=5,{valid}"):
        passes(table, request({"X-Soda-Signature": header}))
    refused(table, request({"X-Soda-Signature": f"x{valid}"}))


def test_a_timestamp_is_signed_and_must_be_near_in_either_direction():
    table = HMAC | {"timestamp_header": "X-Time", "tolerance": "5m"}
    headers = sign(rules(table), BODY, NOW)
    assert headers["X-Time"] == "1780000000"
    digest = hmac.new(b"hunter2", b"1780000000." + BODY, "sha256").hexdigest()
    assert headers["X-Soda-Signature"] == f"sha256={digest}"
    for now in (NOW - 300, NOW, NOW + 300):
        passes(table, request(headers), now)
    for now in (NOW - 301, NOW + 301):
        assert "301 seconds from now" in refused(table, request(headers), now)
    for changed in ("1780000001", "nan", "inf", "soon", "", "1780000000, 1780000000"):
        refused(table, request(headers | {"X-Time": changed}))


def test_why_an_hmac_is_none_is_said_as_far_as_its_form_says_it():
    signed = sign(rules(HMAC), BODY, NOW)["X-Soda-Signature"]
    digest = signed.removeprefix("sha256=")
    prefix = "the header X-Soda-Signature holds nothing that begins with 'sha256=', its prefix"
    form = "the header X-Soda-Signature holds no signature: sha256 in {}; see prefix, encoding and algorithm"
    other = (
        "the header X-Soda-Signature holds no valid signature: it was made with another secret, or of something else"
    )
    in_base64 = HMAC | {"encoding": "base64"}
    for table, value, why in (
        (HMAC, digest, prefix),
        (HMAC, f"sha1={digest}", prefix),
        (HMAC | {"prefix": ""}, signed, form.format("hex has 64 characters, and this has more")),
        (HMAC, f"sha256={digest[:40]}", form.format("hex has 64 characters, and this has fewer")),
        (in_base64, signed, form.format("base64 has 44 characters, and this has more")),
        (HMAC | {"prefix": ""}, ",", "the header X-Soda-Signature holds no signature"),
        (HMAC | {"secrets": ["hunter3"]}, signed, other),
    ):
        assert refused(table, request({"X-Soda-Signature": value})) == why


def test_what_is_signed_can_be_spelled_out():
    table = HMAC | {"timestamp_header": "X-Time", "signed": "v0:{timestamp}:{body}"}
    digest = hmac.new(b"hunter2", b"v0:1780000000:" + BODY, "sha256").hexdigest()
    assert sign(rules(table), BODY, NOW)["X-Soda-Signature"] == f"sha256={digest}"
    for signed in ("{timestamp}", "{body}{other}", "{body}"):
        with pytest.raises(ValidationError, match="signed"):
            rules(table | {"signed": signed})
    with pytest.raises(ValidationError, match="signed names"):
        rules(HMAC | {"signed": "{timestamp}{body}"})


def signed_by_the_library(key: str = KEY, at: float = NOW) -> dict[str, str]:
    when = datetime.fromtimestamp(at, UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at)),
        "webhook-signature": Webhook(key).sign("msg_1", when, BODY.decode()),
    }


def test_standard_webhooks_are_taken_as_their_library_signs_them():
    headers = signed_by_the_library()
    passes(STANDARD, request(headers))
    passes(STANDARD | {"secrets": [OTHER_KEY, KEY.removeprefix("whsec_")]}, request(headers))
    passes(STANDARD, request(headers | {"webhook-signature": f"v1a,x v1,AAAA {headers['webhook-signature']}"}))
    refused(STANDARD | {"secrets": [OTHER_KEY]}, request(headers))
    refused(STANDARD, request(headers, BODY + b" "))
    refused(STANDARD, request(headers | {"webhook-id": "msg_2"}))
    refused(STANDARD, request(headers | {"webhook-timestamp": "1780000001"}))
    refused(STANDARD, request(headers), NOW + 301)
    refused(STANDARD, request(headers), NOW - 301)
    for name in headers:
        assert (
            refused(STANDARD, request({k: v for k, v in headers.items() if k != name}))
            == f"the header {name} is missing"
        )


def test_the_library_of_standard_webhooks_takes_what_is_signed_here():
    now = datetime.now(UTC).timestamp()
    headers = sign(rules(STANDARD | {"secrets": [OTHER_KEY, KEY]}), BODY, now)
    for key in (KEY, OTHER_KEY):
        assert Webhook(key).verify(BODY, headers) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(KEY).verify(BODY + b" ", headers)


def test_a_message_keeps_its_id_over_retries():
    first, again = (sign(rules(STANDARD), BODY, now) for now in (NOW, NOW + 60))
    assert first["webhook-id"] == again["webhook-id"]
    assert first["webhook-id"] != sign(rules(STANDARD), b"other", NOW)["webhook-id"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"type": "magic"}, "magic"),
        (HEADER | {"value": []}, "at least 1 item"),
        (HEADER | {"value": "Bearer x "}, "one line without white space at its ends"),
        (HEADER | {"value": ["ok", "a\nb"]}, "one line without white space at its ends"),
        (HEADER | {"value": ""}, "must not be empty"),
        (BASIC | {"username": "a:b"}, "cannot contain a colon"),
        (ADDRESS | {"allow": []}, "at least 1 item"),
        (ADDRESS | {"allow": ["10.0.0.1/8"]}, "did you mean '10.0.0.0/8'?"),
        (ADDRESS | {"allow": ["soda.io"]}, "'soda.io' is no address or range such as"),
        (ADDRESS | {"allow": [10]}, "an address range is written like"),
        (ADDRESS | {"allow": ["::ffff:10.0.0.0/104"]}, "is a range of IPv4 addresses; write it as one"),
        (HMAC | {"secrets": []}, "at least 1 item"),
        (STANDARD | {"secrets": ["whsec_not base64"]}, "a Standard Webhooks secret is base64"),
        (STANDARD | {"secrets": ["whsec_"]}, "a Standard Webhooks secret is base64"),
    ],
)
def test_a_verification_that_could_never_hold_is_no_option(table, said):
    with pytest.raises(ValidationError) as raised:
        rules(table)
    assert said in str(raised.value)
    assert "not base64" not in str(raised.value)


def test_every_option_is_described():
    schema = Source.model_json_schema()
    for name, model in schema["$defs"].items():
        undescribed = [
            key for key, value in model["properties"].items() if key != "type" and "description" not in value
        ]
        assert not undescribed, name


class Proxies(Options):
    trusted: list[Proxy]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "proxies", "client"),
    [
        ("192.0.2.7", None, [], "192.0.2.7"),
        ("::ffff:192.0.2.7", None, [], "192.0.2.7"),
        ("2001:db8::7", None, [], "2001:db8::7"),
        # a stranger's claim is not believed
        ("192.0.2.7", "10.0.0.1", [], "192.0.2.7"),
        ("192.0.2.7", "10.0.0.1", ["10.0.0.0/8"], "192.0.2.7"),
        # a proxy's is, and what stands left of the first stranger is the stranger's own
        ("10.0.0.1", "198.51.100.1, 192.0.2.7", ["10.0.0.0/8"], "192.0.2.7"),
        ("10.0.0.1", "198.51.100.1,192.0.2.7 , 10.9.9.9", ["10.0.0.0/8"], "192.0.2.7"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.7", ["10.0.0.0/8"], "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7:4711", ["10.0.0.0/8"], "192.0.2.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", ["10.0.0.0/8"], "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", ["10.0.0.0/8"], "2001:db8::7"),
        # only proxies are known of
        ("10.0.0.1", None, ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", ["10.0.0.0/8"], "10.0.0.3"),
        # nothing is known
        ("10.0.0.1", "192.0.2.7, unknown", ["10.0.0.0/8"], None),
        ("10.0.0.1", "192.0.2.7,", ["10.0.0.0/8"], None),
        ("10.0.0.1", "_hidden", ["10.0.0.0/8"], None),
        ("nonsense", "192.0.2.7", ["0.0.0.0/0"], None),
        (None, None, [], None),
        (None, "192.0.2.7", [], None),
        (None, "192.0.2.7", ["0.0.0.0/0"], None),
        (None, None, ["unix"], None),
        (None, "192.0.2.7", ["unix"], "192.0.2.7"),
        (None, "192.0.2.7, 10.0.0.1", ["unix", "10.0.0.0/8"], "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7", ["unix"], "10.0.0.1"),
    ],
)
def test_forwarded_addresses_are_believed_only_from_named_proxies(peer, forwarded_for, proxies, client):
    trusted = Proxies.model_validate({"trusted": proxies}).trusted
    assert client_address(peer, forwarded_for, trusted) == (client and ip_address(client))


def test_an_hmac_needs_no_source_to_be_checked():
    """Destinations sign with the same options."""
    signature = HmacSignature.model_validate({k: v for k, v in HMAC.items() if k != "type"})
    signature.check({k.lower(): v for k, v in signature.sign(BODY, NOW).items()}, BODY, NOW)
