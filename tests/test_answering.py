"""What is written without h11 is what h11 reads."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodarouter.problem import problem
from sodarouter.serve.answering import Answering

FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"x-a", b"X-B", b"content-type", b"Set-Cookie", b"connection", b"transfer-encoding", b"date"]),
        st.sampled_from([b"", b"a", b"a b\tc", b"\xe9", b"close", b"chunked", b" padded "]),
    ),
    max_size=4,
)
PIECES = st.lists(st.binary(max_size=20), min_size=1, max_size=4)


def told(answering: Answering, status: int, fields: list[tuple[bytes, bytes]], pieces: list[bytes]) -> bytes:
    """All that a client is sent."""
    sent = answering.bytes_of({"type": "http.response.start", "status": status, "headers": fields})
    for number, piece in enumerate(pieces, 1):
        more = number < len(pieces)
        sent += answering.bytes_of({"type": "http.response.body", "body": piece, "more_body": more})
    return sent


def read(method: bytes, sent: bytes) -> tuple[h11.Response, bytes, bool]:
    """The answer, its body, and whether the connection may be used again."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    response, body = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            client.receive_data(b"")
        else:
            assert isinstance(event, h11.Data)
            body += event.data
    assert client.trailing_data[0] == b""
    return response, body, client.their_state is h11.DONE


@given(
    st.sampled_from([b"GET", b"HEAD", b"POST"]),
    st.sampled_from([b"1.1", b"1.0"]),
    st.booleans(),
    st.sampled_from([200, 204, 304, 404, 503]),
    FIELDS,
    PIECES,
    st.booleans(),
)
def test_a_client_reads_what_the_application_said(
    method: bytes,
    version: bytes,
    keep_alive: bool,
    status: int,
    fields: list[tuple[bytes, bytes]],
    pieces: list[bytes],
    length: bool,
) -> None:
    answering = Answering(method, version, keep_alive=keep_alive)
    given = [*fields, *([(b"Content-Length", b"%d" % sum(map(len, pieces)))] if length else [])]
    response, body, again = read(method, told(answering, status, given, pieces))
    assert response.status_code == status
    assert body == (b"" if method == b"HEAD" or status in {204, 304} else b"".join(pieces))
    own = {b"connection", b"transfer-encoding", b"date", b"content-length"}
    assert [(n, v) for n, v in response.headers if n not in own] == [
        (n.lower(), v.strip()) for n, v in fields if n.lower() not in own
    ]
    assert again == answering.keep_alive
    assert answering.whole
    if not keep_alive:
        assert not again


@pytest.mark.parametrize(
    "fields",
    [
        [(b"a b", b"c")],
        [(b"a", b"b\r\nc: d")],
        [(b"a", b"b\nc")],
        [(b"a", b"\0")],
        [(b"a\r\nb", b"c")],
        [(b"", b"c")],
        [(b":status", b"200")],
    ],
)
def test_what_would_be_another_header_field_is_not_sent(fields: list[tuple[bytes, bytes]]) -> None:
    answering = Answering(b"GET", b"1.1", keep_alive=True)
    with pytest.raises(ValueError, match="header field"):
        told(answering, 200, fields, [b""])
    instead = answering.bytes_instead(problem(500, "Internal Server Error"))
    assert read(b"GET", instead)[0].status_code == 500


@pytest.mark.parametrize("pieces", [[b"hell"], [b"hello!"], [b"hel", b"lo!"]])
def test_a_body_of_another_length_than_was_told_is_not_made_to_fit(pieces: list[bytes]) -> None:
    answering = Answering(b"GET", b"1.1", keep_alive=True)
    with pytest.raises(ValueError, match="another length"):
        told(answering, 200, [(b"content-length", b"5")], pieces)
    assert not answering.whole
    assert answering.begun == (len(pieces) > 1)


@pytest.mark.parametrize("kinds", [["body"], ["start", "start"], ["start", "body", "body"], ["start", "trailers"]])
def test_a_message_that_cannot_come_now_is_the_application_s_fault(kinds: list[str]) -> None:
    answering = Answering(b"GET", b"1.1", keep_alive=True)
    *before, last = [{"type": f"http.response.{kind}", "status": 200} for kind in kinds]
    for message in before:
        answering.bytes_of(message)
    with pytest.raises(ValueError, match="where it cannot be"):
        answering.bytes_of(last)
