"""A web server of this machine that gives out the files of a folder."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Counts the files that are asked for.

    Attributes:
      asked: Paths of the requests.
      cuts: Whether answers end before their stated length.
    """

    def __init__(self, folder):
        handler = partial(_Handler, directory=str(folder))
        super().__init__(("127.0.0.1", 0), handler)
        self.asked, self.cuts = [], False
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def copyfile(self, source, outputfile):
        data = source.read()
        outputfile.write(data[: len(data) // 2] if self.server.cuts else data)

    def log_message(self, *arguments):
        """Prints nothing."""


@contextmanager
def serving(folder):
    """Yields a server of a folder."""
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
