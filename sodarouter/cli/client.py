"""A small HTTP client for the router's own listeners, as the configuration describes them."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from sodarouter.address import LIVE_PATH, Address
from sodarouter.config.tables import Admin, ListenerTable
from sodarouter.errors import SodarouterError

PATIENCE = 300.0
"""Seconds that the router may take for what it is to do: a reload opens every destination."""


STALE = "; if {} was changed since its last reload, the router still has the one before: send it SIGHUP"


class Unanswered(SodarouterError):
    """A listener of the router did not do what it was asked."""


@contextmanager
def client_for(listener: ListenerTable, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Client]:
    """A client whose base URL is the listener's first address.

    Raises:
        Unanswered: The listener wants a client's certificate, and the commands have none.
    """
    address = listener.listen[0]
    verify: ssl.SSLContext | bool = True
    if listener.tls:
        if listener.tls.client_ca:
            raise Unanswered(
                f"the listener at {address} asks its clients for a certificate (client_ca), and this command has none"
            )
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
    """Asks the running router.

    Raises:
        Unanswered: From every method.
    """

    client: httpx2.Client
    address: Address

    def knock(self) -> None:
        """Returns if anybody answers."""
        self._ask("GET", LIVE_PATH)

    def ready(self) -> Any:
        """What ``/readyz`` says, whether the router is ready or not."""
        try:
            return self._ask("GET", "/readyz").json()
        except ValueError:
            raise Unanswered("what answers is not the router's admin listener") from None

    def post(self, path: str, document: object) -> Any:
        """The answer's JSON."""
        answer = self._ask("POST", path, json=document, timeout=PATIENCE)
        if answer.status_code != 200:
            stale = STALE.format("the token") if answer.status_code == 401 else ""
            raise Unanswered(f"the router's admin listener answers {answer.status_code}: {_said(answer)}{stale}")
        return answer.json()

    def _ask(self, method: str, path: str, **known: Any) -> httpx2.Response:
        try:
            return self.client.request(method, path, **known)
        except httpx2.TransportError as error:
            why = str(error) or type(error).__name__
            stale = STALE.format("its certificate") if "CERTIFICATE_VERIFY_FAILED" in why else ""
            raise Unanswered(f"the admin listener does not answer at {self.address}: {why}{stale}") from None


@contextmanager
def admin_client(admin: Admin) -> Iterator[AdminClient]:
    headers = {"Authorization": f"Bearer {admin.token.get_secret_value()}"} if admin.token else {}
    with client_for(admin, headers) as client:
        yield AdminClient(client, admin.listen[0])


def _said(answer: httpx2.Response) -> str:
    """A problem document in one line."""
    try:
        document = answer.json()
        return ": ".join(str(document[key]) for key in ("title", "detail") if document.get(key))
    except (ValueError, KeyError, AttributeError):
        return answer.reason_phrase
