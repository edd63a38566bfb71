"""The meeting of a run's processes at one address, before JAX connects them.

JAX's own client ends the process by an abort when one does not come in time. This meets
at the same address first and reports a mistake in one line.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from progan_jax.errors import UserError


@dataclass(frozen=True)
class Address:
    """Where process 0 is.

    Attributes:
      host: Name or address of it.
      port: Free there.
      given: How the user said so: a flag.
    """

    host: str
    port: int
    given: str = "--coordinator"

    def __str__(self) -> str:
        """Returns how a message begins."""
        return f"{self.given}={self.host}:{self.port}"


def check_address(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> tuple[Address, int, int]:
    """Returns what the three flags say: address of process 0, how many, which this is.

    Raises:
      UserError: if they do not belong together or are faulty.
    """
    if coordinator is None or num_processes is None or process_id is None:
        raise UserError(
            "--coordinator, --num_processes and --process_id belong together; give "
            "all three, or --distributed on Cloud TPU, Slurm and Open MPI, or none"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"--coordinator={coordinator}: it must be HOST:PORT of process 0; write "
            "for example 10.0.0.1:8476"
        )
    if num_processes < 1:
        raise UserError(f"--num_processes={num_processes} must be at least 1; raise it")
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id={process_id} must lie in [0, {num_processes}) for "
            f"--num_processes={num_processes}; number the processes from 0"
        )
    return Address(host.strip("[]"), int(port)), num_processes, process_id


def find_cluster(timeout_sec: float) -> tuple[Address, int, int] | None:
    """Returns what `check_address` does, as Cloud TPU, Slurm or Open MPI has it.

    None where JAX finds none, or no longer tells: its `initialize` then has its say.
    """
    with suppress(Exception):  # JAX has no public way to ask.
        from jax._src.clusters import ClusterEnv

        found = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, max(int(timeout_sec), 1)
        )
        host, _, port = (found[0] or "").rpartition(":")
        number, process_id = found[1], found[2]
        if host and number is not None and process_id is not None:
            address = Address(host.strip("[]"), int(port), "--distributed: HOST")
            return address, number, process_id
    return None


_RETRY_SEC = 0.2

_STRANGER_SEC = 5  # What calls and says nothing is no process of the run.

_GO = b"go\n"


def meet(
    address: Address, num_processes: int, process_id: int, timeout_sec: float
) -> None:
    """Returns when all processes have come to the address, on each of them.

    Process 0 must run at the address. It is free again afterwards.

    Args:
      address: Of process 0.
      num_processes: How many are to come, process 0 with them.
      process_id: Which this is, in [0, num_processes).
      timeout_sec: How long the others are waited for.

    Raises:
      UserError: if one does not come in time, or two have the same number.
    """
    deadline = time.monotonic() + timeout_sec
    if process_id == 0:
        _receive(address, num_processes, deadline, timeout_sec)
    else:
        _call(address, num_processes, process_id, deadline, timeout_sec)


def _receive(
    address: Address, num_processes: int, deadline: float, timeout_sec: float
) -> None:
    """Waits for the others' calls, and lets all go on together."""
    here: dict[int, socket.socket] = {}
    with ExitStack() as calls, _listening(address) as server:
        # Process 0 calls, too: JAX would wait for ever if it is not at the address.
        calls.enter_context(_call_oneself(address, num_processes, deadline))
        while absent := {*range(num_processes)} - here.keys():
            try:
                server.settimeout(_left(deadline))
                call = calls.enter_context(server.accept()[0])
            except TimeoutError:
                raise _absence(address, absent, num_processes, timeout_sec) from None
            number = _read_number(call, num_processes)
            if number in here:
                raise UserError(
                    f"--process_id={number}: two processes have it; give each of the "
                    f"{num_processes} its own number, from 0 to {num_processes - 1}"
                )
            if number is not None:
                here[number] = call
        for call in here.values():
            call.sendall(_GO)


def _call_oneself(
    address: Address, num_processes: int, deadline: float
) -> socket.socket:
    try:
        where = address.host, address.port
        call = socket.create_connection(where, _left(deadline))
    except OSError as error:
        raise _absence(address, {0}, num_processes, 0) from error
    call.sendall(f"0 of {num_processes}\n".encode())
    return call


def _absence(
    address: Address, absent: set[int], num_processes: int, timeout_sec: float
) -> UserError:
    if 0 in absent:
        return UserError(
            f"{address}: process 0 does not reach itself there; name an address of "
            "the machine that it runs on"
        )
    return UserError(
        f"{address}: process(es) {', '.join(map(str, sorted(absent)))} of "
        f"{num_processes} did not come within {timeout_sec:g} s; start the same "
        "command there too, each with its own number"
    )


def _call(
    address: Address,
    num_processes: int,
    process_id: int,
    deadline: float,
    timeout_sec: float,
) -> None:
    reason = "nothing answers there"
    while time.monotonic() < deadline:
        try:
            where = address.host, address.port
            with socket.create_connection(where, _left(deadline)) as connection:
                connection.sendall(f"{process_id} of {num_processes}\n".encode())
                if connection.recv(len(_GO), socket.MSG_WAITALL) == _GO:
                    return
                reason = "what answers there hung up"
        except OSError as error:
            reason = error.strerror or str(error)
        time.sleep(_RETRY_SEC)
    raise UserError(
        f"{address}: not all {num_processes} processes met there "
        f"within {timeout_sec:g} s ({reason}); start process 0 on that machine, the "
        "others too, and let the port through"
    )


@contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        server = socket.create_server(
            ("", address.port), family=family, dualstack_ipv6=dual
        )
    except OSError as error:
        raise UserError(
            f"{address}: process 0 cannot listen on that port "
            f"({error.strerror}); choose a free one"
        ) from error
    with server:
        yield server


def _read_number(call: socket.socket, num_processes: int) -> int | None:
    """Returns the caller's number; None if it is no process of this run."""
    call.settimeout(_STRANGER_SEC)
    try:
        with call.makefile() as lines:
            words = lines.readline(64).split()
    except (OSError, UnicodeDecodeError):
        return None
    if len(words) != 3 or words[1:] != ["of", str(num_processes)]:
        return None
    return int(words[0]) if words[0].isdecimal() else None


def _left(deadline: float) -> float:
    """Returns the seconds that are left; a socket takes 0 for no waiting at all."""
    return max(deadline - time.monotonic(), 0.001)
