"""Several processes as one program: connection, agreement, and the loss of one.

Process 0, the primary, writes a run's files and prints; all take part in what their
devices compute together. With one process everything here costs nothing.
"""

import json
import os
import re
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from progan_jax.errors import DivergedError, UserError, reason
from progan_jax.runtime.command_line import report
from progan_jax.runtime.mesh import batched, lay_out, replicated
from progan_jax.runtime.preemption import StopRequest

T = TypeVar("T")

# JAX's default of 100 s would let a lost host go unnoticed for longer than a minute.
_HEARTBEAT_SEC = 40

_RETRY_SEC = 0.5

# So that the others can print their own error before process 0, and with it JAX's
# service, is gone.
_GRACE_SEC = 2

_TEXT_BYTES = 4096

_FIX = "run the same command on all hosts, which continues from the newest checkpoint"

_FAILED_COLLECTIVE = re.compile(r"gloo|nccl|coordination service|collective", re.I)


@contextmanager
def connected(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    *,
    auto: bool,
    timeout_sec: float,
) -> Iterator[None]:
    """Connects this process with the others of the run, if there are any.

    Args:
      coordinator: HOST:PORT of process 0; None with the next two for one process.
      num_processes: Number of processes of the run.
      process_id: Number of this process, from 0.
      auto: Whether JAX finds the three itself, on Cloud TPU, Slurm and Open MPI.
      timeout_sec: Seconds to wait for the others.

    Raises:
      UserError: if the flags are at fault, or process 0 does not answer. An error of
        what it encloses ends this process at once, since the others may wait for it.
    """
    given = [v is not None for v in (coordinator, num_processes, process_id)]
    if not auto and not any(given):
        yield
        return
    if any(given) != all(given) or auto == any(given):
        raise UserError(
            "--coordinator, --num_processes and --process_id belong together; give all "
            "three, or --distributed alone on Cloud TPU, Slurm and Open MPI, or none"
        )
    if coordinator is not None:
        _check_address(coordinator, process_id == 0, timeout_sec)
    # A service of JAX would otherwise take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    _initialize(coordinator, num_processes, process_id, timeout_sec)
    try:
        yield
        multihost_utils.sync_global_devices("end")
    except BaseException as error:
        _end_at_once(error)
    jax.distributed.shutdown()


def is_primary() -> bool:
    """Returns whether this process writes the run's files and lines."""
    return jax.process_index() == 0


def together(action: Callable[[], T]) -> T:
    """Runs what may fail on one process alone, so that it then fails on all.

    All processes must call it.

    Raises:
      UserError: if it failed on another process.
      Exception: as `action` raised it here.
    """
    if jax.process_count() == 1:
        return action()
    result, caught = None, None
    try:
        result = action()
    except Exception as error:
        caught = error
    message = "" if caught is None else str(caught) or type(caught).__name__
    texts = multihost_utils.process_allgather(_to_bytes(message, _TEXT_BYTES))
    if caught is not None:
        raise caught
    for number, text in enumerate(map(_from_bytes, texts)):
        if text:
            raise UserError(*f"process {number}: {text}".split("\n"))
    return result  # type: ignore[return-value]


def share(array: np.ndarray) -> np.ndarray:
    """Returns the primary's array on every process; all pass one shape and dtype."""
    if jax.process_count() == 1:
        return array
    # As bytes: sums of numbers, of which a broadcast is made, lose the sign of zero.
    words = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    shared = multihost_utils.broadcast_one_to_all(words)
    return np.asarray(shared).view(array.dtype).reshape(array.shape)


def share_json(value: Any) -> Any:
    """Returns the primary's value, on every process."""
    if jax.process_count() == 1:
        return value
    text = json.dumps(value)
    size = int(share(np.asarray(len(text.encode()), np.int32)))
    words = _to_bytes(text if is_primary() else "", size)
    return json.loads(_from_bytes(share(words)))


class StopVote:
    """Whether any process is asked to stop; all know before the same dispatch."""

    def __init__(self, stop: StopRequest, mesh: jax.sharding.Mesh) -> None:
        self._stop, self._size = stop, mesh.size
        self._alone = jax.process_count() == 1
        self._ballots, everywhere = batched(mesh), replicated(mesh)
        self._count = jax.jit(jnp.max, out_shardings=everywhere)
        self._outcome: jax.Array | None = None

    def cast(self) -> None:
        """Sends this process's vote to the others, without waiting for them."""
        if not self._alone:
            ballot = np.full(self._size, bool(self._stop), np.int32)
            self._outcome = self._count(lay_out(ballot, self._ballots))

    def passed(self) -> bool:
        """Returns the outcome of the last vote; alone, what holds at this moment."""
        if self._alone:
            return bool(self._stop)
        assert self._outcome is not None, "cast first"
        return bool(self._outcome)


def _check_address(coordinator: str, is_first: bool, timeout_sec: float) -> None:
    """Raises UserError where JAX would abort, without naming what is wrong.

    Process 0 needs the port for itself; the others wait until something answers there.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"--coordinator={coordinator} must be HOST:PORT of process 0; write for "
            "example 10.0.0.1:8476"
        )
    deadline = time.monotonic() + timeout_sec
    while True:
        try:
            if is_first:
                socket.create_server(("", int(port))).close()
            else:
                where = host.strip("[]"), int(port)
                socket.create_connection(where, timeout_sec).close()
            return
        except OSError as error:
            if not is_first and time.monotonic() < deadline:
                time.sleep(_RETRY_SEC)
                continue
            fault = "cannot listen on that port" if is_first else "does not answer"
            raise UserError(
                f"--coordinator={coordinator}: process 0 {fault} "
                f"({error.strerror or error}); give a free port of the machine that it "
                "runs on, and let it through"
            ) from error


def _initialize(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    timeout_sec: float,
) -> None:
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=max(int(timeout_sec), 1),
            heartbeat_timeout_seconds=_HEARTBEAT_SEC,
            # With all three given, JAX need not look for a cluster.
            cluster_detection_method="deactivate" if coordinator else None,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes cannot be connected: {reason(error)}"
        ) from error


def _end_at_once(error: BaseException) -> NoReturn:
    """Ends this process without waiting for the others, who may wait for it."""
    code = 1
    if isinstance(error, UserError | DivergedError):
        report(str(error))
        code = error.exit_code
    elif isinstance(error, Exception) and _FAILED_COLLECTIVE.search(str(error)):
        report(f"process(es) lost ({reason(error)}); {_FIX}")
    else:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    if is_primary():
        time.sleep(_GRACE_SEC)
    os._exit(code)


def _to_bytes(text: str, size: int) -> np.ndarray:
    """Returns the text's bytes, cut or filled up with zeros, uint8 [size]."""
    data = text.encode(errors="backslashreplace")[:size].ljust(size, b"\0")
    return np.frombuffer(data, np.uint8)


def _from_bytes(data: np.ndarray) -> str:
    return data.tobytes().rstrip(b"\0").decode(errors="ignore")
