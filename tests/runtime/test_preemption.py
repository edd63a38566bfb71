import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from progan_jax.runtime.preemption import StopRequest, ending_in_a_line

ROOT = Path(__file__).parents[2]


def replaced(signum, handler):
    """Sets a handler for the time of a test."""
    before = signal.signal(signum, handler)
    yield
    signal.signal(signum, before)


@pytest.fixture
def usual_sighup():
    """The system's own handler: under nohup there is none."""
    yield from replaced(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def usual_sigint():
    """Python's own handler: a process in the background has none."""
    yield from replaced(signal.SIGINT, signal.default_int_handler)


@pytest.mark.usefixtures("usual_sighup")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_becomes_a_request(name):
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), getattr(signal, name))
        assert stop
        assert stop.signal_name == name


@pytest.mark.usefixtures("usual_sigint")
def test_a_second_signal_acts_as_usual():
    with StopRequest() as stop, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        os.kill(os.getpid(), signal.SIGINT)


def test_under_nohup_the_end_of_a_terminal_does_not_count():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop, ending_in_a_line("the same command continues"):
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("given", "code"), [((), 143), ((0,), 0)])
def test_a_signal_ends_the_process_with_a_line(given, code, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, ending_in_a_line("all is saved", *given):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert end.value.code == code
    assert capsys.readouterr().err == "stopped by SIGTERM; all is saved\n"
    assert signal.getsignal(signal.SIGTERM) is before


def wait_for(path):
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


CODE = """
import fcntl, sys, termios, time
from pathlib import Path
from progan_jax.runtime.preemption import StopRequest
folder = Path(sys.argv[1])
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
with StopRequest() as stop:
    (folder / "entered").touch()
    while not stop:
        time.sleep(0.02)
    print("a line to a terminal that is gone", flush=True)
    print("another", file=sys.stderr, flush=True)
    (folder / "saved").write_text(stop.signal_name)
"""


@pytest.mark.usefixtures("usual_sighup")
def test_a_terminal_that_is_closed_leaves_time_to_save(tmp_path):
    terminal, end = pty.openpty()
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=end, stdout=end, stderr=end, cwd=ROOT, start_new_session=True
    ) as process:
        os.close(end)
        wait_for(tmp_path / "entered")
        os.close(terminal)
        assert process.wait(60) == 0
    assert (tmp_path / "saved").read_text() == "SIGHUP"


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
