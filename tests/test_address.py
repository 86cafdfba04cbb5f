import pytest

from sodarouter.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port", "path", "local"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, None, True),
        ("127.1.2.3:1", "127.1.2.3", 1, None, True),
        ("0.0.0.0:0", "0.0.0.0", 0, None, False),
        ("[::1]:8080", "::1", 8080, None, True),
        ("[::]:65535", "::", 65535, None, False),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80, None, False),
        ("unix:run/router.sock", "", 0, "run/router.sock", True),
        ("unix:/run/router.sock", "", 0, "/run/router.sock", True),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, host: str, port: int, path: str | None, local: bool) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, address.is_local) == (host, port, local)
    assert (address.path and str(address.path)) == path
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("8080", "written like"),
        ("127.0.0.1", "written like"),
        ("::1:8080", "written like"),
        ("http://127.0.0.1:8080", "written like"),
        ("127.0.0.1:http", "written like"),
        ("", "written like"),
        ("127.0.0.1:65536", "at most 65535"),
        ("localhost:8080", "'localhost:8080' has no IP address before its port; write 127.0.0.1"),
        (":8080", "0.0.0.0 or"),
        ("[127.0.0.1]:80", "no IP address"),
        ("unix:", "needs a path"),
    ],
)
def test_what_is_no_address_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Address.parse(text)
