"""One function of a number, called for many numbers in several processes."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
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
    with ProcessPoolExecutor(workers, context, _begin, (function,)) as pool:
        futures = [pool.submit(_call, number) for number in numbers]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                f"--workers={workers}: one was ended by the system, which may be out "
                "of memory; lower it, and run the same command again"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(function: Callable[[int], Any]) -> None:
    global _function
    _function = function


def _call(number: int) -> Any:
    return _function(number)
