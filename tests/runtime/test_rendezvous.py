"""All processes of a run meet, or each is told in one line why not."""

import socket
import threading
import time

import pytest

from progan_jax.errors import UserError
from progan_jax.runtime.rendezvous import Address, meet


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def outcomes(port, numbers, of, timeout_sec):
    """Lets processes of these numbers meet; returns what each was told."""
    told = [None] * len(numbers)

    def come(place):
        try:
            meet(Address("localhost", port), of, numbers[place], timeout_sec)
        except UserError as error:
            told[place] = str(error)

    threads = [threading.Thread(target=come, args=(i,)) for i in range(len(numbers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def test_all_processes_meet_and_the_port_is_free_again(port):
    assert outcomes(port, [0, 1, 2, 3], of=4, timeout_sec=20) == [None] * 4
    assert outcomes(port, [1, 0], of=2, timeout_sec=20) == [None] * 2


def test_alone_nobody_is_waited_for(port):
    assert outcomes(port, [0], of=1, timeout_sec=0.1) == [None]


def test_who_did_not_come_is_named(port):
    primary, other = outcomes(port, [0, 2], of=4, timeout_sec=0.5)
    assert f"--coordinator=localhost:{port}: process(es) 1, 3 of 4 did not" in primary
    assert f"--coordinator=localhost:{port}: not all 4 processes met" in other
    assert "\n" not in primary + other


def test_a_coordinator_that_nobody_is_at_is_named(port):
    (told,) = outcomes(port, [1], of=2, timeout_sec=0.3)
    assert told.startswith(f"--coordinator=localhost:{port}: not all 2 processes met")
    assert "Connection refused" in told


def test_process_0_at_another_address_is_told_so(port, monkeypatch):
    with socket.create_server(("localhost", 0)) as other:  # Takes its call.
        name, connect = other.getsockname(), socket.create_connection
        monkeypatch.setattr(
            socket, "create_connection", lambda _, timeout: connect(name, timeout)
        )
        (told,) = outcomes(port, [0], of=1, timeout_sec=0.5)
    assert "process 0 does not reach itself there" in told


def test_the_address_that_a_cluster_told_is_named(port):
    address = Address("localhost", port, "--distributed: HOST")
    with pytest.raises(UserError, match=f"--distributed: HOST=localhost:{port}: not"):
        meet(address, 2, 1, 0.3)


def test_a_number_that_two_have_is_named(port):
    primary, *_ = outcomes(port, [0, 1, 1], of=3, timeout_sec=1)
    assert primary.startswith("--process_id=1: two processes have it")


def test_a_taken_port_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        (told,) = outcomes(port, [0], of=2, timeout_sec=0.3)
    assert f"--coordinator=localhost:{port}: process 0 cannot listen" in told


def test_strangers_are_not_counted(port):
    primary = threading.Thread(target=meet, args=(Address("localhost", port), 2, 0, 20))
    primary.start()
    for _ in range(100):  # Until process 0 listens.
        try:
            with socket.create_connection(("localhost", port), 1) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n")
                break
        except OSError:
            time.sleep(0.05)
    assert primary.is_alive()
    meet(Address("localhost", port), 2, 1, timeout_sec=20)
    primary.join()
