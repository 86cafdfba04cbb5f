"""The answers of the router as the pages of the admin listener give them."""

from quart import Response

from sodarouter.problem import Answer


def response(answer: Answer) -> Response:
    """The answer, as Quart sends it."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    return Response(answer.body, answer.status, headers)
