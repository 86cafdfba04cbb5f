"""The pages of the admin listener: a Quart app with `/readyz` and what plugins serve."""

import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
import trio
from quart import Response, request
from quart.typing import ResponseReturnValue
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from sodarouter.address import LIVE_PATH
from sodarouter.delivery import Stats
from sodarouter.errors import SpoolError
from sodarouter.failures import contained
from sodarouter.http import HttpRequest, HttpRoute
from sodarouter.problem import of_plugin, problem
from sodarouter.ready import readiness
from sodarouter.respond import response

MAX_BODY = 1 << 20
"""Bytes that a request on the admin listener may have."""
PAGE_TIMEOUT = 30.0
"""Seconds that a plugin's page may take."""

_DETAILS = {
    404: "the admin listener has no such page; sources are at the addresses of [server]",
    413: f"a request here may have {MAX_BODY:,} bytes",
}

FAILED = problem(500, "Plugin failed", "the router's log says more")

log = structlog.get_logger()


@dataclass(frozen=True)
class Pages:
    """What the pages show; the daemon provides it.

    ``stopping`` says whether the router has been asked to stop. ``stats`` answers within seconds or raises `SpoolError`,
    see `Survey`.
    """

    stopping: Callable[[], bool]
    stats: Callable[[], Awaitable[Stats]]


def admin_app(pages: Pages, routes: Iterable[tuple[str, HttpRoute]], token: Callable[[], str | None]) -> QuartTrio:
    """The app. Every page asks for the token, if there is one.

    Args:
        pages: What the router's own pages stand on.
        routes: What plugins serve, with their names.
        token: Gives that for ``Authorization: Bearer …``; a reload may change it.
    """
    app = QuartTrio("sodarouter", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY

    @app.before_request
    async def _authorised() -> Response | None:
        expected = token()
        if expected is None:
            return None
        given = request.headers.get("Authorization", "")
        if hmac.compare_digest(given.encode(), f"Bearer {expected}".encode()):
            return None
        detail = "send the token of [admin] as Authorization: Bearer …"
        return response(problem(401, "Not authorised", detail, headers={"WWW-Authenticate": "Bearer"}))

    @app.errorhandler(HTTPException)
    async def _http_error(error: HTTPException) -> Response:
        headers = {"Allow": ", ".join(sorted(error.valid_methods or ()))} if hasattr(error, "valid_methods") else {}
        detail = f"this page takes {headers['Allow']}" if headers else _DETAILS.get(error.code or 500, "")
        return response(problem(error.code or 500, error.name, detail, headers=headers))

    @app.errorhandler(Exception)
    async def _fault(error: Exception) -> Response:
        log.error("a page failed", path=request.path, exc_info=error)
        return response(problem(500, "Internal error", "the router's log says more"))

    @app.get(LIVE_PATH)
    async def _live() -> ResponseReturnValue:
        return "ok\n", {"Content-Type": "text/plain"}

    @app.get("/readyz")
    async def _ready() -> ResponseReturnValue:
        found: Stats | SpoolError
        try:
            found = await pages.stats()
        except SpoolError as error:
            found = error
        document = readiness(found, datetime.now(UTC), stopping=pages.stopping())
        return document, (200 if document["ready"] else 503)

    for plugin, route in routes:
        app.add_url_rule(route.path, f"{plugin}:{route.path}", _page(plugin, route, pages), methods=list(route.methods))
    return app


def _page(plugin: str, route: HttpRoute, pages: Pages) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        # the task ends with the request; by its name the plugin is known if it blocks the loop
        trio.lowlevel.current_task().name = f"plugin {plugin}"
        body = await request.get_data(as_text=False)
        asked = HttpRequest(
            request.method,
            request.path,
            request.args.to_dict(),
            {name.lower(): value for name, value in request.headers.items()},
            body if isinstance(body, bytes) else body.encode(),
            pages.stats,
        )
        given = FAILED
        failures: list[BaseException] = []
        with contained(failures), trio.move_on_after(PAGE_TIMEOUT) as scope:
            given = of_plugin("the page", await route.handler(asked))
        if failures:
            log.error("a plugin's page failed", plugin=plugin, path=route.path, exc_info=failures[0])
        elif scope.cancelled_caught:
            log.error("a plugin's page took too long", plugin=plugin, path=route.path, timeout=PAGE_TIMEOUT)
        return response(given)

    return page
