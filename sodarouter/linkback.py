"""Puts links onto incidents in Soda: the destination `LINK`, which no configuration names.

The callback URL comes from the body of a webhook and its path is a token, so it is asked only of hosts that are known to
be Soda's, over https, without following redirects, and is never stored or told in clear.
"""

from collections.abc import Collection

import httpx2

from sodarouter.breaker import BreakerPolicy
from sodarouter.delivery import Delivery
from sodarouter.errors import Reject
from sodarouter.event import Event
from sodarouter.lane import Lane
from sodarouter.outgoing import HttpClient, Outgoing
from sodarouter.replies import Replies
from sodarouter.settle import RetryPolicy
from sodarouter.spool import LINK, Spool
from sodarouter.store import Store

HOSTS = frozenset({"cloud.soda.io", "cloud.us.soda.io"})
"""Where Soda's clouds are: Europe and the United States."""
TIMEOUT = 10.0
"""Seconds that an attempt may take; it covers the longest wait for an answer that takes the link along."""
CONCURRENCY = 4


class LinkBack:
    """Delivers the links that were chosen.

    Args:
        spool: Which knows them.
        replies: Answers that may take a link along, in place of the callback URL.
        hosts: That callback URLs may have, beside `HOSTS`; ``host:port`` where the port is not 443.
        outgoing: What holds for all requests of the router.
    """

    def __init__(self, spool: Spool, replies: Replies, hosts: Collection[str], outgoing: Outgoing) -> None:
        self._spool = spool
        self._replies = replies
        self._http: HttpClient | None = None
        self._outgoing = outgoing
        self._hosts = HOSTS.union(hosts)
        self.lane = Lane(
            LINK,
            self.deliver,
            threaded=False,
            timeout=TIMEOUT,
            concurrency=CONCURRENCY,
            policy=RetryPolicy(),
            breaker=BreakerPolicy(),
        )

    def replace(self, hosts: Collection[str], outgoing: Outgoing) -> None:
        """Goes on with other settings. What is under way ends under the old ones."""
        self._hosts = HOSTS.union(hosts)
        if outgoing != self._outgoing:
            self._http, self._outgoing = None, outgoing

    async def deliver(self, event: Event, delivery: Delivery, store: Store) -> None:
        """Puts the link of an event's incident onto it.

        Raises:
            Retry: Soda does not take it now.
            Reject: It never will.
        """
        incident = event.view.incident
        link = await self._spool.link(event.source, incident.id) if incident and incident.id else None
        if incident is None or link is None:
            raise Reject("the link is not kept any more")
        if await self._replies.offer(event.id, link):
            return
        if incident.callback_url is None:
            raise Reject("the incident has no callback URL")
        url = self._allowed(incident.callback_url.get_secret_value())
        if self._http is None:
            self._http = HttpClient(outgoing=self._outgoing)
        answer = await self._http.request("POST", url, json={"url": link.url, "text": link.text})
        answer.raise_unless_taken()

    def _allowed(self, text: str) -> str:
        try:
            url = httpx2.URL(text)
        except httpx2.InvalidURL:
            raise Reject("the callback URL is none") from None
        if url.scheme != "https" or url.userinfo:
            raise Reject("the callback URL does not begin with https:// and a host")
        # as it is connected to, and as links.hosts is written: an address in brackets, a name never decoded
        host = url.netloc.decode("ascii").removesuffix(":443")
        if host not in self._hosts:
            raise Reject(f"the callback URL is of {host[:100]}, which is neither Soda's nor in links.hosts")
        return text

    async def close(self) -> None:
        """Closes its connections."""
        if self._http is not None:
            await self._http.close()
