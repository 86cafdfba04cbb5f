"""What can be asked for."""

import httpx2
from pydantic import SecretStr

from sodarouter import HiddenTemplate


def is_http(text: str) -> bool:
    """Whether it is the URL of something on the web."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        return False
    return url.scheme in ("http", "https") and bool(url.host) and 0 < (url.port or 80) <= 65535


def target(hidden: HiddenTemplate) -> HiddenTemplate:
    """An option that says where to: all of it, unless it is a template; then what stands before that, the host at least.

    Raises:
        ValueError: It is no such URL.
    """
    _http_url(SecretStr(hidden.head))
    if httpx2.URL(hidden.head).userinfo:
        raise ValueError("must not hold a user or a password; put them into auth.basic")
    return hidden


def _http_url(secret: SecretStr) -> SecretStr:
    # says nothing of what was given: it may be a password
    if not is_http(secret.get_secret_value()):
        raise ValueError("must be an absolute URL that begins with http:// or https://")
    return secret
