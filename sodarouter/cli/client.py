"""A small HTTP client for the router's own listeners, as the configuration describes them."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from sodarouter.errors import SodarouterError
from sodarouter.tables import Admin, ListenerTable


class Unanswered(SodarouterError):
    """A listener of the router did not do what it was asked."""


@contextmanager
def client_for(listener: ListenerTable, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Client]:
    """A client whose base URL is the listener's first address."""
    address = listener.listen[0]
    verify: ssl.SSLContext | bool = True
    if listener.tls:
        # it is this machine's own certificate, whatever name it was made out for
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        verify.check_hostname = False
        verify.load_verify_locations(listener.tls.cert)
        # the file need not hold the authority that signed it
        verify.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    transport = httpx2.HTTPTransport(verify=verify, uds=str(address.path) if address.path else None)
    scheme = "https" if listener.tls else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    place = "localhost" if address.path else f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
    with httpx2.Client(
        base_url=f"{scheme}://{place}", transport=transport, headers=dict(headers or {}), timeout=15.0, trust_env=False
    ) as client:
        yield client


@dataclass(frozen=True)
class AdminClient:
    """Asks the running router to do something."""

    client: httpx2.Client

    def post(self, path: str, document: object) -> Any:
        """The answer's JSON, or ``None`` if no router listens.

        Raises:
            Unanswered: It listens and refuses.
        """
        try:
            answer = self.client.post(path, json=document)
        except httpx2.ConnectError:
            return None
        except httpx2.TransportError as error:
            raise Unanswered(f"the router's admin listener does not answer: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise Unanswered(f"the router's admin listener answers {answer.status_code}: {_title(answer)}")
        return answer.json()


@contextmanager
def admin_client(admin: Admin) -> Iterator[AdminClient]:
    headers = {"Authorization": f"Bearer {admin.token.get_secret_value()}"} if admin.token else {}
    with client_for(admin, headers) as client:
        yield AdminClient(client)


def _title(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["title"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
