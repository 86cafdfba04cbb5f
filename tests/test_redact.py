import base64
import html
import json
import re
import threading
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import escape

from sodarouter.redact import REDACTED, Redactor

plain = st.text(st.characters(exclude_characters="*", codec="utf-8"), min_size=4, max_size=12)

SHOWN = {
    "as it is": str,
    "repr": repr,
    "repr beside an apostrophe": lambda secret: repr(secret + "'"),
    "repr of a repr": lambda secret: repr([repr([secret]), '"']),
    "repr of its bytes": lambda secret: repr(secret.encode()),
    "JSON": json.dumps,
    "JSON with its own letters": lambda secret: json.dumps(secret, ensure_ascii=False),
    "JSON as PHP writes it": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "JSON inside JSON": lambda secret: json.dumps(json.dumps({"a": [secret]})),
    "JSON inside repr": lambda secret: repr(json.dumps({"a": [secret]}).encode()),
    "JSON in HTML": lambda secret: html.escape(json.dumps(secret, ensure_ascii=False)),
    "HTML": html.escape,
    "HTML of a template": lambda secret: str(escape(secret)),
    "percent": lambda secret: quote(secret, safe=""),
    "percent in lower case": lambda secret: re.sub("%..", lambda code: code[0].lower(), quote(secret, safe="")),
    "percent in a path": quote,
    "a form": quote_plus,
    "a browser's component": lambda secret: quote(secret, safe="!'()*"),
    "hexadecimal": lambda secret: secret.encode().hex(),
}
"""How others show a secret."""


@given(plain, plain)
@example('quo"te\\back\nslash', "é\N{SNOWMAN}é\t")
def test_a_known_secret_is_redacted_in_text_repr_and_json(secret, other):
    redact = Redactor([secret, other])
    for text in (secret, repr(secret), json.dumps(secret), json.dumps({"a": [secret]}, ensure_ascii=False)):
        redacted = redact(f"{other} before {text} after {other}")
        assert secret not in redacted
        assert json.dumps(secret)[1:-1] not in redacted


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize("secret", ["hunter2-canary", "p/a s+s&w=\"o'rd<é>\\%\N{SNOWMAN}"])
def test_a_secret_is_known_in_every_spelling(secret, show):
    redacted = Redactor([secret])(f"before {show(secret)} after")
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert REDACTED in redacted
    left = redacted.removeprefix("before ").removesuffix(" after").replace(REDACTED, "")
    assert not set(left) - set("b[]{}'\"\\a:, &quot;"), "more is left than what stands round it"


@given(
    st.text(st.characters(exclude_characters="*", codec="utf-8"), min_size=8, max_size=24),
    st.binary(max_size=7),
    st.binary(max_size=4),
)
def test_a_secret_inside_something_in_base64_is_redacted(secret, before, after):
    """As passwords are in HTTP's Basic credentials and in SMTP's AUTH PLAIN."""
    redact = Redactor([secret])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(before + secret.encode() + after).decode()
        redacted = redact(text)
        assert REDACTED in redacted
        assert REDACTED in redact(quote(text, safe=""))
        assert REDACTED in redact(text.replace("/", "\\/"))
        # what is shared with its neighbours: at most a character on either side
        assert len(redacted) - len(REDACTED) <= 4 * (-(-len(before + after) // 3) + 2)


def test_short_pieces_of_base64_are_no_secrets():
    text = base64.b64encode(b"user:abcd-").decode()
    assert Redactor(["abcd"])(text) == text
    assert Redactor(["abcd"])(b"abcd".hex()) == REDACTED


def test_redaction_reaches_every_depth_and_leaves_the_rest():
    redact = Redactor(["hunter2", "hunter2-longer", "abc", "one line\nanother line"])
    assert redact.within({"hunter2": ["hunter2-longer!", ("x", 1, None)]}) == {
        REDACTED: [f"{REDACTED}!", ("x", 1, None)]
    }
    assert (
        redact("abc: under four characters would blot out words") == "abc: under four characters would blot out words"
    )
    assert redact("only another line") == f"only {REDACTED}"
    assert Redactor([])("hunter2") == "hunter2"


def test_the_parts_of_a_secret_url_that_servers_quote_are_redacted_too():
    redact = Redactor(["https://hooks.example.org/services/T0000/canarycanary4711?key=canary0815canary"])
    for said in ("Cannot POST /services/T0000/canarycanary4711?key=canary0815canary", "no hook canarycanary4711"):
        assert "canary" not in redact(said)
    assert redact("services of hooks.example.org") == "services of hooks.example.org"


@pytest.mark.parametrize("shown", ["hunt:er2@", "hunt%3Aer2%40", base64.b64encode(b"router:hunt:er2@").decode()])
def test_the_password_in_a_url_is_a_secret_by_itself(shown):
    redact = Redactor(["http://router:hunt:er2%40@proxy.example.org:8080"])
    assert "router" in redact(f"router, {shown}, proxy.example.org")
    assert shown not in redact(f"router, {shown}, proxy.example.org")
    assert "hunt" not in redact(f"router, {shown}, proxy.example.org")


def test_the_credentials_of_an_authorization_header_are_a_secret_by_themselves():
    redact = Redactor(["Bearer canary4711"])
    assert redact("the token canary4711 of the scheme Bearer") == f"the token {REDACTED} of the scheme Bearer"
    assert Redactor(["correct horse"])("a horse") == "a horse"


def test_soda_s_callback_url_is_a_secret_that_everybody_knows():
    redact = Redactor()
    assert "token" not in redact('{"incidentLinkCallbackUrl": "https://hooks.example.org/token"}')
    assert redact("POST https://cloud.soda.io/incident-link/1/token failed") == (
        f"POST https://cloud.soda.io/incident-link/{REDACTED} failed"
    )


def test_what_is_learnt_later_is_known_besides():
    redact = Redactor(["hunter2"])
    redact.learn(["hunter3-longer", "hunter2"])
    assert redact("hunter2 hunter3-longer") == f"{REDACTED} {REDACTED}"


def test_others_redact_while_secrets_are_learnt():
    redact = Redactor(["known-secret"])
    done = threading.Event()
    seen: set[str] = set()

    def use() -> None:
        while not done.is_set():
            seen.add(redact("known-secret"))

    thread = threading.Thread(target=use)
    thread.start()
    for number in range(100):
        redact.learn([f"secret-{number}"])
    done.set()
    thread.join()
    assert seen == {REDACTED}
