"""One function of a number, called for many numbers in several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from progan_jax.errors import UserError

_T = TypeVar("_T")

_function: Callable[[int], Any]  # Of a process of the pool.


def call_for_each(
    function: Callable[[int], _T], numbers: Sequence[int], workers: int
) -> Iterator[_T]:
    """Yields what a function returns, in the order in which calls are finished.

    Args:
      function: It must be picklable if there are several workers.
      numbers: One for each call.
      workers: Processes; 1 calls the function right here.

    Raises:
      UserError: if the system ends a process.
    """
    if workers == 1:
        yield from map(function, numbers)
        return
    # Spawned, not forked: JAX's threads do not survive a fork. The function may carry
    # millions of names: it travels once for each process, not for each call.
    context = multiprocessing.get_context("spawn")
    # Nothing is sent: its end tells the workers that this process has gone, or gave up.
    alive, holder = context.Pipe(duplex=False)
    with ProcessPoolExecutor(workers, context, _begin, (function, alive)) as pool:
        try:
            with _without_interrupts():  # The workers inherit that: they just end.
                futures = [pool.submit(_call, number) for number in numbers]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                f"--workers={workers}: one was ended by the system, which may be out "
                "of memory; lower it, and run the same command again"
            ) from error
        except BaseException:
            holder.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Lets Ctrl-C, and the end of a terminal, wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(function: Callable[[int], Any], alive: Connection) -> None:
    global _function
    _function = function
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Connection) -> None:
    """Ends this process as soon as the other end of a pipe is closed."""
    try:
        alive.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _call(number: int) -> Any:
    return _function(number)
