"""Which requests the page's own server answers, asked of Gradio itself."""

import http.client
import json
import socket
import subprocess
import sys

import pytest

# A page with one field and one private event, such as the explorer's.
PAGE = """
import sys
from progan_jax.display.explorer import import_gradio
from progan_jax.display.explorer import (start, wait)

gradio = import_gradio()
with gradio.Blocks(analytics_enabled=False) as blocks:
    text, answer = gradio.Textbox(), gradio.HTML()
    options = {"api_name": "secret", "api_visibility": "private"}
    text.submit(lambda typed: f"<b>{typed}</b>", text, answer, **options)
print(start(gradio, blocks, int(sys.argv[1])), flush=True)
wait()
"""


@pytest.fixture(scope="module")
def port():
    """Of a server in a process of its own, whose end takes all of it along."""
    pytest.importorskip("gradio")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    command = [sys.executable, "-c", PAGE, str(free)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == f"http://127.0.0.1:{free}\n"
        yield free
        server.kill()


def ask(port, path, method="GET", body=None, **headers):
    """Status and text of the answer; the host is this machine's unless it is given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Host": f"127.0.0.1:{port}", **headers}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, body and json.dumps(body), headers)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def join(port, **headers):
    body = {"data": ["x"], "fn_index": 0, "session_hash": "abc"}
    return ask(port, "/gradio_api/queue/join", "POST", body, **headers)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
@pytest.mark.parametrize("suffix", ["", ":1", ":65535"])
def test_this_machine_is_answered_by_each_of_its_names(port, name, suffix):
    status, text = ask(port, "/", Host=name + suffix)
    assert status == 200
    assert "<html" in text


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:7860", "localhost.evil.example", "0.0.0.0", ""),
        *("127.0.0.1.evil.example", "localhost@evil.example", "[::1", "127.0.0.2"),
        *("127.0.0.1:7861.evil.example", "localhost:evil.example", "[::1]:1.evil"),
        *("evil.example@127.0.0.1", "localhost/evil.example", "localhost?evil", "::1"),
    ],
)
def test_other_hosts_are_refused_on_every_route(port, host):
    for path in ("/", "/config", "/gradio_api/info", "/no/such/route"):
        assert ask(port, path, Host=host) == (403, "")
    assert join(port, Host=host) == (403, "")


def test_the_page_itself_is_answered(port):
    status, text = join(port, Origin=f"http://127.0.0.1:{port}")
    assert (status, list(json.loads(text))) == (200, ["event_id"])
    assert join(port, Host="localhost", Origin="http://localhost")[0] == 200
    assert join(port)[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", ""],
)
def test_pages_of_other_origins_are_refused(port, origin):
    assert join(port, Origin=origin) == (403, "")
    assert ask(port, "/config", Origin=origin) == (403, "")


def test_nothing_can_be_uploaded(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n'
    body = part + b"\r\nabc\r\n--x--\r\n"
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for path in ("upload", "upload/", "upload?upload_id=1"):
        connection.request("POST", f"/gradio_api/{path}", body, form)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"")
    connection.close()


@pytest.mark.parametrize("route", ["call", "call/v2", "run", "api"])
def test_private_events_answer_no_direct_call(port, route):
    body = {"data": ["x"], "session_hash": "abc"}
    path = f"/gradio_api/{route}/secret"
    assert ask(port, path, "POST", body) == (404, "")
