"""The addresses that a listener is given, as `router.toml` writes them."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Self

LIVE_PATH = "/livez"
"""Where a listener says that it lives; that of the operators asks for its token here too."""

_TCP = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<four>[^\[\]:]*)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Address:
    """An IP address with a port, or the path of a Unix socket."""

    host: str = ""
    """An IP address without brackets; empty for a Unix socket."""
    port: int = 0
    """0: any port that is free."""
    path: Path | None = None
    """Of a Unix socket, as it was written."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``127.0.0.1:8080``, ``[::1]:8080`` or ``unix:run/router.sock``.

        Raises:
            ValueError: It is written otherwise; the message says how.
        """
        if text.startswith("unix:"):
            if not (path := text.removeprefix("unix:")):
                raise ValueError('a Unix socket needs a path, such as "unix:run/router.sock"')
            return cls(path=Path(path))
        if not (parts := _TCP.fullmatch(text)):
            samples = '"127.0.0.1:8080", "[::1]:8080" or "unix:run/router.sock"'
            raise ValueError(f"an address is written like {samples}, not {text!r}")
        if (port := int(parts["port"])) > 65535:
            raise ValueError(f"a port is at most 65535, not {port}")
        try:
            host = IPv4Address(parts["four"]) if parts["six"] is None else IPv6Address(parts["six"])
        except AddressValueError:
            raise ValueError(
                f"{text!r} has no IP address before its port; write 127.0.0.1 or [::1] for this "
                "machine alone, 0.0.0.0 or [::] for every interface"
            ) from None
        return cls(str(host), port)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.path is not None or ip_address(self.host).is_loopback

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
