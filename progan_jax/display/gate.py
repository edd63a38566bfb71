"""A filter that lets the explorer's server answer its own page on this machine only.

A web page elsewhere can make the user's browser send requests to this machine, under
this machine's name or, by DNS rebinding, under its own.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

# Names of this machine, with a port or without.
_HOSTS = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]*)?", re.IGNORECASE)

# The POST requests of the page; Gradio also takes uploads and direct calls.
_POSTS = tuple(f"/gradio_api/{name}" for name in ("queue/join", "cancel", "reset"))

_READS = ("GET", "HEAD")


def gate(app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Returns an ASGI application that refuses all requests but those of the page.

    It answers 403 or 404, or lets `app` answer.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        code = None if scope["type"] == "lifespan" else _refuse(scope)
        if code is None:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": code, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return answer


def _refuse(scope: Any) -> int | None:
    """Returns the status of a request that is refused, or None."""
    headers = {
        name.decode(): value.decode("latin-1") for name, value in scope["headers"]
    }
    host = headers.get("host", "")
    if not _HOSTS.fullmatch(host):
        return 403
    if "origin" in headers and headers["origin"] != f"http://{host}":
        return 403
    is_of_page = scope["method"] in _READS or scope["path"].rstrip("/") in _POSTS
    return None if is_of_page else 404
