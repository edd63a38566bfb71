"""A server of this machine that answers uploads as the Hugging Face Hub does."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest


@pytest.fixture
def no_token(monkeypatch, tmp_path):
    """The library, without a token of the user's."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no"))


class Server(ThreadingHTTPServer):
    """Collects what is uploaded.

    Attributes:
      created: The requests for repositories.
      commits: Files of each commit, by name.
      refuses: Part of the path of requests that are refused.
      open: Commits wait for it.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.created, self.commits, self.refuses = [], [], None
        self.open = threading.Event()
        self.open.set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server, code, answer = self.server, 200, {}
        if server.refuses and server.refuses in self.path:
            code = 403
        elif "/repos/create" in self.path:
            assert self.headers["Authorization"] == "Bearer hf_of_a_test"
            server.created.append(json.loads(body))
            answer = {"url": f"{server.url}/me/net"}
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answer["files"] = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in files
            ]
        elif "/commit/" in self.path:
            server.open.wait(60)
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            server.commits.append(
                {file["path"]: base64.b64decode(file["content"]) for file in files}
            )
            url = f"{server.url}/me/net/commit/1"
            answer = {"commitUrl": url, "commitOid": "1"}
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = answer

    def log_message(self, *arguments):
        """Prints nothing."""


@contextmanager
def serving(monkeypatch):
    """Yields a server that the library takes for the Hub, with a token for it."""
    with Server() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.open.set()
            server.shutdown()
            thread.join()
