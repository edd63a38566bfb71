import os
import signal

import pytest

from progan_jax.runtime.preemption import StopRequest


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_becomes_a_request(name):
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), getattr(signal, name))
        assert stop
        assert stop.signal_name == name


@pytest.fixture
def usual_sigint():
    """Python's own handler: a process in the background has none."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_sigint")
def test_a_second_signal_acts_as_usual():
    with StopRequest() as stop, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
