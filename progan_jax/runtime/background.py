"""Actions in threads that the end of a command does not wait for."""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

_running: set[threading.Thread] = set()


class Background(Generic[T]):
    """An action that starts at once in a separate thread."""

    def __init__(self, action: Callable[[], T]) -> None:
        self._outcome: Future[T] = Future()
        thread = threading.Thread(target=self._act, args=(action,), daemon=True)
        _running.add(thread)
        # A thread that returns from XLA while Python ends aborts the process.
        atexit.register(thread.join)
        thread.start()

    def result(self) -> T:
        """Waits for the action; returns what it returned, or raises what it raised."""
        return self._outcome.result()

    def _act(self, action: Callable[[], T]) -> None:
        try:
            self._outcome.set_result(action())
        except BaseException as error:
            self._outcome.set_exception(error)
        finally:
            _running.discard(threading.current_thread())


def leave(code: int) -> None:
    """Ends the process at once if an action still runs; else returns.

    All files must be written and closed before: nothing else of Python runs.
    """
    if _running:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
