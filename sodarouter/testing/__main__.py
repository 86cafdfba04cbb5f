"""``python -m sodarouter.testing [PORT]``: a server on loopback that takes whatever is sent to it, and shows it."""

import sys

import trio

from sodarouter.testing.sink import Answer, Request, open_sink

PORT = 8099


def out(*lines: str) -> None:
    sys.stdout.write("\n".join((*lines, "")))
    sys.stdout.flush()


async def show(port: int) -> None:
    """Until it is interrupted."""

    def told(request: Request) -> Answer:
        headers = [f"{name}: {value}" for name, value in request.headers.items()]
        body = request.body.decode(errors="replace")
        out(f"{request.method} {request.target}", *headers, "", body, "")
        return Answer()

    async with open_sink(port=port) as sink:
        sink.reply = told
        out(f"waiting at {sink.url}, until Ctrl+C")
        await trio.sleep_forever()


def main() -> None:
    fault = ""
    try:
        trio.run(show, int(sys.argv[1]) if sys.argv[1:] else PORT)
    except* KeyboardInterrupt:
        pass
    except* ValueError:
        fault = f"{sys.argv[1]!r} is no port; it listens at {PORT} if you name none"
    except* OSError:
        fault = "cannot listen there; name another port: python -m sodarouter.testing 8100"
    if fault:
        sys.exit(fault)


if __name__ == "__main__":
    main()
