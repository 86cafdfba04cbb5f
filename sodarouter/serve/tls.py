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
        files = [self.cert, self.key] if self.client_ca is None else [self.cert, self.key, self.client_ca]
        if faults := [fault for path in files if (fault := _unreadable(path))]:
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
                raise ConfigError([Fault(str(self.client_ca), "holds no certificate in PEM form")]) from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _unusable(self, error: Exception) -> Fault:
        if not isinstance(error, ssl.SSLError):
            return Fault(str(self.key), str(error))
        if error.reason == "KEY_VALUES_MISMATCH":
            return Fault(str(self.key), f"is not the key of the certificate {self.cert}")
        return Fault(
            str(self.cert), f"cannot be used with {self.key}", "both must be PEM files, certificate and its key"
        )


def _unreadable(path: Path) -> Fault | None:
    try:
        path.open("rb").close()
    except OSError as error:
        return Fault(str(path), f"cannot be read: {error.strerror}")
    return None


def _no_password() -> str:
    # without this OpenSSL asks for one on the terminal
    raise ValueError("the key is encrypted; give one without a passphrase")
