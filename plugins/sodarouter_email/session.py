"""One SMTP connection, and what the server answered."""

import smtplib
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from sodarouter_email.message import Mail
from sodarouter_email.options import EmailOptions

_WANTS_LOGIN = (530, 534, 535, 538)
_CLOSING = 421


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the server: a code of three digits and its text."""

    code: int
    text: str

    @classmethod
    def of(cls, answer: tuple[int, bytes | str]) -> Self:
        code, text = answer
        return cls(code, text.decode(errors="replace") if isinstance(text, bytes) else text)

    @property
    def positive(self) -> bool:
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        """Whether the same mail would be refused again. A missing or wrong login can be mended, so it does not count."""
        return 500 <= self.code < 600 and self.code not in _WANTS_LOGIN

    @property
    def line(self) -> str:
        text = " ".join(f"{self.code} {self.text}".split())
        return text if len(text) <= 300 else text[:300] + "..."


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one mail."""

    reply: Reply
    about: str = ""
    """What was refused, in words, if something was."""
    refused: Mapping[str, Reply] = field(default_factory=dict)
    """The recipients that were refused."""

    @property
    def response(self) -> str:
        """All that was said, a line each."""
        return "\n".join([f"{self.reply.code} {self.reply.text}", *(f"{a}: {r.line}" for a, r in self.refused.items())])


class Session:
    """A connection that is made when it is first needed, and made again when a kept one proves dead.

    `send` and `quit` belong to one owner at a time; `send` blocks and belongs in a thread. `abort` may be called while
    `send` still runs there.
    """

    def __init__(self, options: EmailOptions, context: ssl.SSLContext | None) -> None:
        self._options = options
        self._context = context
        self._smtp: smtplib.SMTP | None = None
        self._busy = threading.Lock()
        self._aborted = False
        self.sent = 0
        """Mails over the present connection, refused ones included."""

    def send(self, mail: Mail) -> Answer:
        """Hands over one mail.

        Raises:
            smtplib.SMTPException, OSError: Trouble with the connection; it has been closed.
        """
        try:
            with self._busy:
                return self._transact(mail)
        except BaseException:
            self._hang_up()
            raise
        finally:
            # abort() leaves the closing to whoever holds the lock
            if self._aborted:
                self._hang_up()

    def quit(self) -> None:
        """Says goodbye and closes, without waiting for the server's goodbye."""
        with suppress(smtplib.SMTPException, OSError):
            if self._smtp:
                self._smtp.putcmd("quit")
        self._hang_up()

    def abort(self) -> None:
        """Ends the session for good, and with it a `send` that still runs in its thread."""
        self._aborted = True
        smtp = self._smtp
        if smtp and (sock := smtp.sock):
            # not SSLSocket.shutdown: that one takes the TLS state away under the thread that uses it
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        if self._busy.acquire(blocking=False):
            self._busy.release()
            self._hang_up()

    def _transact(self, mail: Mail) -> Answer:
        smtp, reply = self._begin(mail)
        self.sent += 1
        if not reply.positive:
            return Answer(reply, "the server refused the mail")
        replies = {recipient: Reply.of(smtp.rcpt(recipient)) for recipient in mail.recipients}
        refused = {recipient: reply for recipient, reply in replies.items() if not reply.positive}
        if len(refused) == len(replies):
            # one recipient who may be taken later is reason enough to come again
            reply = min(refused.values(), key=lambda refusal: refusal.permanent)
            return Answer(reply, "the server refused every recipient", refused)
        try:
            reply = Reply.of(smtp.data(mail.content))
        except smtplib.SMTPDataError as error:
            reply = _reply(error)
        return Answer(reply, "" if reply.positive else "the server refused the message", refused)

    def _begin(self, mail: Mail) -> tuple[smtplib.SMTP, Reply]:
        """A connection whose server has answered to the mail's sender: the kept one if it still lives."""
        if self._smtp:
            with suppress(smtplib.SMTPException, OSError):
                self._smtp.rset()
                reply = _mail_from(self._smtp, mail)
                if reply.code != _CLOSING:
                    return self._smtp, reply
            self._hang_up()
        smtp = self._connect()
        return smtp, _mail_from(smtp, mail)

    def _connect(self) -> smtplib.SMTP:
        options = self._options
        host, port, timeout = options.host, options.effective_port, options.smtp_timeout
        if options.tls == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=timeout, context=self._context)
        else:
            smtp = smtplib.SMTP(host, port, timeout=timeout)
        self._smtp = smtp
        self.sent = 0
        if self._aborted:  # after the assignment: either this sees the abort, or the abort sees the connection
            raise ConnectionAbortedError
        if options.tls == "starttls":
            smtp.starttls(context=self._context)
        smtp.ehlo_or_helo_if_needed()
        if options.username and options.password:
            smtp.login(options.username, options.password.get_secret_value())
        return smtp

    def _hang_up(self) -> None:
        smtp, self._smtp = self._smtp, None
        if smtp:
            smtp.close()


def tls_context(options: EmailOptions) -> ssl.SSLContext | None:
    """What to hold the server's certificate against; ``None`` if there is to be no TLS.

    Raises:
        ValueError: The ``ca_file`` cannot be used.
    """
    if options.tls == "none":
        return None
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"ca_file: {options.ca_file} cannot be used: {error.strerror or error}") from error


def explain(error: OSError | smtplib.SMTPException) -> tuple[str, str]:
    """Why there was no conversation, in one line, and what the server had answered, if it had."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"the server did not accept username and password: {_reply(error).line}", _reply(error).text
        case smtplib.SMTPResponseException():
            return f"the server answered {_reply(error).line}", _reply(error).text
        case smtplib.SMTPServerDisconnected(__context__=TimeoutError()) | TimeoutError():
            return "the server did not answer in time", ""
        case smtplib.SMTPServerDisconnected():
            return f"the connection broke: {error}", ""
        case smtplib.SMTPException():
            return str(error), ""
        case ssl.SSLCertVerificationError():
            return f"the server's certificate cannot be trusted: {error.verify_message}", ""
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}", ""
        case _:
            return f"the server cannot be reached: {error.strerror or error}", ""


def _reply(error: smtplib.SMTPResponseException) -> Reply:
    return Reply.of((error.smtp_code, error.smtp_error))


def _mail_from(smtp: smtplib.SMTP, mail: Mail) -> Reply:
    smtp.ehlo_or_helo_if_needed()
    options = [f"SIZE={len(mail.content)}"] if smtp.has_extn("size") else []
    if mail.international:
        if not smtp.has_extn("smtputf8"):
            return Reply(553, "the server does not offer SMTPUTF8, which an address with letters beyond ASCII needs")
        options += ["SMTPUTF8", "BODY=8BITMIME"]
    return Reply.of(smtp.mail(mail.sender, options))
