"""Serves the page to this machine alone."""

import errno
import os
import socket
import threading
from pathlib import Path
from typing import Any

from progan_jax.errors import UserError
from progan_jax.explorer.gate import Gate

HOST = "127.0.0.1"
_STYLE = Path(__file__).with_name("page.css")
_FONTS = ("system-ui", "sans-serif")


def check_port(port: int) -> None:
    """Raises UserError unless a page can be served at the port."""
    if not 1 <= port <= 65535:
        raise UserError(f"--port={port} must lie in [1, 65535]; change it")
    with socket.socket() as probe:
        # A port that was in use a moment ago is free, but for packets still to come.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.EADDRINUSE:
                reason = "another program uses it"
            raise UserError(
                f"--port={port} must be free: {reason}; choose another, such as "
                f"--port={port + 1 if 1024 <= port < 65535 else 7861}"
            ) from error


def start(gradio: Any, blocks: Any, port: int) -> str:
    """Starts to serve and returns the page's address.

    Raises:
      UserError: if the server does not start.
    """
    # Gradio asks its own server whether it is there, and no proxy should answer.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = HOST
    font = list(_FONTS)
    # Of the extra "explore", as Gradio is.
    from starlette.middleware import Middleware

    try:
        blocks.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            root_path="",
            prevent_thread_lock=True,
            quiet=True,
            app_kwargs={"middleware": [Middleware(Gate)]},
            theme=gradio.themes.Base(font=font, font_mono=["monospace"]),
            css_paths=_STYLE,
        )
    except Exception as error:  # It raises several kinds, some of them plain.
        check_port(port)
        line = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"--port={port}: gradio does not start ({line}); choose another port, or "
            "install another version of it"
        ) from error
    return f"http://{HOST}:{port}"


def wait() -> None:
    """Returns when the user presses Ctrl-C."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
