"""The options of a ``[destination.NAME]`` table with ``type = "email"``."""

from typing import Literal, Self

from pydantic import Field, model_validator

from sodarouter import ConfigPath, Duration, HtmlTemplate, Options, Secret, TextTemplate
from sodarouter_email.addresses import Mailbox, Recipient

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class EmailOptions(Options):
    """A ``[destination.NAME]`` table with ``type = "email"``."""

    host: str = Field(min_length=1)
    """The SMTP server: a name or an address."""
    port: int | None = Field(None, ge=1, le=65535)
    """Its port. The default follows `tls`: 587 for `starttls`, 465 for `tls`, 25 for `none`."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls`: encrypted after a greeting in the clear, or no mail. `tls`: from the first byte on. `none`: never."""
    ca_file: ConfigPath | None = None
    """Certificates (PEM) of the authorities to trust instead of the system's."""
    username: str | None = Field(None, min_length=1)
    """Whom to log in as. Without it there is no login."""
    password: Secret | None = None
    """The password of `username`."""
    smtp_timeout: Duration = Field(20.0, gt=0)
    """How long the server may take for one answer. The destination's `timeout`, for the whole attempt, should be longer."""
    idle_timeout: Duration = Field(30.0, gt=0)
    """How long a connection is kept for the next mail."""
    messages_per_connection: int = Field(100, ge=1)
    """How many mails go over one connection before a new one is made."""
    sender: Mailbox = Field(alias="from")
    """The address that mails come from; bounces go there too."""
    to: list[Recipient] = Field(min_length=1)
    """Who gets the mail: addresses, and `$owners`, `$owner`, `$reporter`, `$lead`, `$author` for people named in the event,
    `$team` for those of its teams."""
    cc: list[Recipient] = Field(default_factory=list)
    """Who gets a copy; written as `to`."""
    bcc: list[Recipient] = Field(default_factory=list)
    """Who gets a copy unseen; written as `to`."""
    fallback_to: list[Mailbox] = Field(default_factory=list)
    """Who gets the mail when `to` leads to nobody, as when an event names no owner."""
    domains: list[str] | None = None
    """Domains that addresses taken from the event may have; others are passed over. The default is any. Soda's test events
    name strangers, such as `test56@test.com`."""
    reply_to: Mailbox | None = None
    """Where answers go, when not to `from`."""
    subject: TextTemplate | None = None
    """A template for the subject instead of the built-in one. White space is collapsed; it is cut at 200 characters."""
    text: TextTemplate | None = None
    """A template for the plain text instead of the built-in one. With `text` and without `html`, the mail is plain text."""
    html: HtmlTemplate | None = None
    """A template for the HTML instead of the built-in one. If it gives nothing, the mail is plain text."""

    @property
    def effective_port(self) -> int:
        return self.port or _PORTS[self.tls]

    @property
    def clear_text_password(self) -> bool:
        """Whether the password would cross a network unencrypted."""
        return self.password is not None and self.tls == "none" and self.host not in _LOOPBACK

    @model_validator(mode="after")
    def _login(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        if self.username and self.password and not (self.username + self.password.get_secret_value()).isascii():
            raise ValueError("username and password must be ASCII: smtplib cannot send anything else")
        return self
