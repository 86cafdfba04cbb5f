"""TLS for a listener."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from sodarouter.errors import ConfigError, Fault


@dataclass(eq=False)
class Tls:
    """Certificate and key, PEM files, and who may connect."""

    cert: Path
    """The certificate, with the intermediate ones after it."""
    key: Path
    client_ca: Path | None = None
    """When given, a client needs a certificate that one of these authorities has signed."""
    place: str = "tls"
    """Where it stands in the configuration, for faults."""
    _served: ssl.SSLContext | None = field(default=None, init=False, repr=False)

    def ssl_context(self) -> ssl.SSLContext:
        """Reads the files. What this gives is what `renew` renews.

        Raises:
            ConfigError: A file cannot be read or used.
        """
        self._served = self.check()
        return self._served

    def renew(self) -> None:
        """Has the connections to come use the certificate and key that the files hold now. `check` them first."""
        if self._served is not None:
            self._served.load_cert_chain(self.cert, self.key, password=_no_password)
            if self.client_ca is not None:
                self._served.load_verify_locations(self.client_ca)

    def check(self) -> ssl.SSLContext:
        """As `ssl_context`, but what is served stays as it is."""
        files = {"cert": self.cert, "key": self.key} | ({"client_ca": self.client_ca} if self.client_ca else {})
        if faults := [Fault(f"{self.place}.{key}", why) for key, path in files.items() if (why := _unreadable(path))]:
            raise ConfigError(faults)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # trio's streams cannot renegotiate, and no client needs it
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError([self._unusable(error)]) from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError:
                fault = Fault(f"{self.place}.client_ca", f"{self.client_ca} holds no certificate in PEM form")
                raise ConfigError([fault]) from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _unusable(self, error: Exception) -> Fault:
        if not isinstance(error, ssl.SSLError):
            return Fault(f"{self.place}.key", f"{self.key}: {error}")
        if error.reason == "KEY_VALUES_MISMATCH":
            return Fault(f"{self.place}.key", f"{self.key} is not the key of the certificate {self.cert}")
        hint = "both must be PEM files, certificate and its key"
        return Fault(self.place, f"{self.cert} cannot be used with {self.key}", hint)


def _unreadable(path: Path) -> str:
    try:
        path.open("rb").close()
    except OSError as error:
        return f"{path} cannot be read: {(error.strerror or '').lower()}"
    return ""


def _no_password() -> str:
    # without this OpenSSL asks for one on the terminal
    raise ValueError("the key is encrypted; give one without a passphrase")
