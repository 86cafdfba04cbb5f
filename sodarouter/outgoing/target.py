"""Where a request goes: of a URL, what a connection and the head of a request need."""

from dataclasses import dataclass
from typing import NamedTuple

import httpx2

from sodarouter.errors import Reject
from sodarouter.outgoing.options import is_http


class Origin(NamedTuple):
    """What a connection is made to."""

    scheme: str
    host: str
    """A name in its ASCII form, or an address without brackets."""
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    origin: Origin
    host: str
    """The `Host` header."""
    path: str
    """With the query."""
    url: str
    """As it was given."""

    @property
    def absolute(self) -> str:
        """What a proxy is asked for."""
        return f"{self.origin.scheme}://{self.host}{self.path}"


def target(given: str | httpx2.URL) -> Target:
    """
    Raises:
        Reject: It is no URL that can be asked for. The reason does not quote it.
    """
    try:
        url = httpx2.URL(given)
    except httpx2.InvalidURL:
        raise Reject("the URL cannot be read as one") from None
    if not is_http(url):
        raise Reject("the URL does not begin with http:// or https:// and a host")
    if url.userinfo:
        raise Reject("the URL holds a user or a password, which belong into a header")
    port = url.port or (443 if url.scheme == "https" else 80)
    origin = Origin(url.scheme, url.raw_host.decode("ascii"), port)
    return Target(origin, url.netloc.decode("ascii"), url.raw_path.decode("ascii"), str(given))
