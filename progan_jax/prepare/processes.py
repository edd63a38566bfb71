"""One function of a number, called for many numbers in several processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from progan_jax.errors import UserError

_T = TypeVar("_T")

_function: Callable[[int], Any]  # Of a worker process.


class KilledError(UserError):
    """A process that the system has killed; fewer may do."""


def call_for_each(
    function: Callable[[int], _T], numbers: Sequence[int], workers: int
) -> Iterator[_T]:
    """Yields the results in the order in which the calls finish.

    Args:
      function: Picklable if there are several workers.
      numbers: One for each call.
      workers: Number of processes; 1 calls the function in this one.

    Raises:
      KilledError: if the system kills a process.
    """
    if workers == 1:
        yield from map(function, numbers)
        return
    # Spawned, not forked: JAX's threads do not survive a fork. The function may contain
    # millions of names: it is sent once to each process, not with each call.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (function,)) as pool:
        try:
            futures = [pool.submit(_call, number) for number in numbers]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise KilledError(
                f"--workers={workers}: the system killed a process, perhaps for lack "
                "of memory; lower --workers, and run the same command again"
            ) from error
        except BaseException:
            # The pool would wait for the calls at work.
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin(function: Callable[[int], Any]) -> None:
    """Prepares a worker process."""
    global _function
    _function = function
    # The parent gets Ctrl-C and the end of a terminal too, and ends the workers.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # The pool's queues do not notice that the parent was killed.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(number: int) -> Any:
    return _function(number)
