"""What HTTP/1.1 refuses is told in plain words, and never by quoting what a stranger sent."""

import pytest
from rawhttp import echo, served

pytestmark = pytest.mark.usefixtures("http")


@pytest.mark.parametrize(
    ("request_bytes", "detail"),
    [
        (b"GARBAGE\r\n\r\n", "illegal request line"),
        (b"GAR'BAGE\r\n\r\n", "illegal request line"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nGARBAGE\r\n\r\n", "illegal header line"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nGARBAGE\r\n", "illegal chunk header"),
        (b"GET / HTTP/1.1\r\n\r\n", "Missing mandatory Host: header"),
    ],
)
async def test_the_detail_of_a_refusal_is_plain_text_without_what_was_sent(request_bytes, detail):
    async with served(echo) as server, server.connect() as client:
        answer = await client.ask(request_bytes)
    assert (answer.status, answer.problem["detail"]) == (400, detail)
