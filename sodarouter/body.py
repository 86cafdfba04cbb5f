"""What a request brings, made plain: its header fields by name, and its body without what it was packed into."""

import zlib
from collections.abc import Iterable

from sodarouter.errors import Malformed, SenderError


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case; the values of one that came several times joined with commas (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding.

    Raises:
        Malformed: It is not encoded so.
        SenderError: 413 when it grows over ``limit``, 415 for another encoding.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip" | "deflate":
            # 32 added to the window size takes both the gzip and the zlib format
            decoder = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
        case _:
            raise SenderError(415, "Encoding not supported", "the body may be plain, gzip or deflate")
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error:
        raise Malformed(400, "Not decompressible", "the body is not what its Content-Encoding says") from None
    if len(plain) > limit:
        raise too_large(limit)
    if not decoder.eof or decoder.unused_data:
        raise Malformed(400, "Not decompressible", "the compressed body ends too early or too late")
    return plain


def too_large(limit: int) -> SenderError:
    """What a body of more bytes than that is answered with."""
    return SenderError(413, "Body too large", f"at most {limit:,} bytes are taken, also after decompression")
