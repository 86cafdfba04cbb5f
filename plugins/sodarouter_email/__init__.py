"""The destination type ``email``: one mail for each delivery, over SMTP."""

import smtplib
from collections.abc import Callable
from email import message_from_bytes
from email.policy import default
from typing import Any, TypeVar, TypeVarTuple

import trio

from sodarouter import Delivery, Destination, Event, Preview, Reject, Retry, hookimpl
from sodarouter_email.message import HTML, SUBJECT, TEXT, built_in, compose
from sodarouter_email.options import EmailOptions
from sodarouter_email.pool import Pool
from sodarouter_email.session import Answer, explain, tls_context

THREADS = 64

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Email(Destination[EmailOptions]):
    """Writes a mail about each event and hands it to an SMTP server.

    What concerns the connection (reaching the server, TLS, the password) can be mended and is tried again. What
    concerns the mail itself goes by the server's word: a 4xx is tried again, a 5xx is not.
    """

    type = "email"
    default_concurrency = 2

    async def open(self) -> None:
        for name in (SUBJECT, TEXT, HTML):
            built_in(name)  # not at the first mail
        # threads of its own: those that a silent server holds on to are not taken from other destinations
        self._threads = trio.CapacityLimiter(THREADS)
        self._pool = Pool(self.options, tls_context(self.options))
        self._pool.start()
        if self.options.clear_text_password:
            self.log.warning("the password goes over the network unencrypted", hint='set tls = "starttls" or "tls"')

    async def deliver(self, event: Event, delivery: Delivery) -> None:
        mail = await self._in_thread(compose, event, delivery, self.options)
        with self._pool.lease() as session:
            try:
                answer = await self._in_thread(session.send, mail)
            except (smtplib.SMTPException, OSError) as error:
                reason, response = explain(error)
                where = f"{self.options.host}:{self.options.effective_port}"
                raise Retry(self._clean(f"{where}: {reason}"), response=self._clean(response)) from error
        self._settle(answer)

    def preview(self, event: Event, delivery: Delivery) -> Preview:
        mail = compose(event, delivery, self.options)
        head, _, body = mail.content.partition(b"\r\n\r\n")
        headers = {name: str(value) for name, value in message_from_bytes(head, policy=default).items()}
        del headers["Date"]  # that of the attempt
        target = f"{', '.join(mail.recipients)} by {self.options.host}:{self.options.effective_port}"
        return Preview(target, body, headers)

    async def close(self) -> None:
        self._pool.close()

    def _settle(self, answer: Answer) -> None:
        if not answer.reply.positive:
            reason, response = self._clean(f"{answer.about}: {answer.reply.line}"), self._clean(answer.response)
            raise (Reject if answer.reply.permanent else Retry)(reason, response=response)
        if answer.refused:
            refused = {address: self._clean(reply.line) for address, reply in answer.refused.items()}
            self.log.warning("the mail was taken, but not for all of its recipients", refused=refused)

    async def _in_thread(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        # safe to abandon: composing touches nothing, and the pool hangs up on a session that is given up
        return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True, limiter=self._threads)

    def _clean(self, text: str) -> str:
        """Without the password, should a server be so unkind as to repeat it."""
        password = self.options.password
        return text.replace(password.get_secret_value(), str(password)) if password else text


@hookimpl
def destination_types() -> list[type[Destination[Any]]]:
    return [Email]
