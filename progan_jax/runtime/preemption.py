"""Requests to stop, by signals (SIGTERM, SIGHUP, Ctrl-C) or because time is up."""

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class StopRequest:
    """Catches SIGTERM, SIGINT and SIGHUP while it is entered, and watches the clock.

    A second signal acts as if nothing were caught. Only the main thread may enter.

    Attributes:
      signal_name: Name of the signal that came, or "".
    """

    def __init__(self, deadline: float = math.inf) -> None:
        """Requests a stop after a reading of `time.monotonic`, or by a signal."""
        self.signal_name = ""
        self._deadline = deadline
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        self._terminals = _terminals()
        for number in _caught():
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def __bool__(self) -> bool:
        return bool(self.signal_name) or self.time_is_up

    @property
    def time_is_up(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._deadline

    @property
    def reason(self) -> str:
        """Name of the signal that came, "time is up", or "" if there is no request."""
        return self.signal_name or ("time is up" if self.time_is_up else "")

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal_name = signal.Signals(number).name
        self._restore()
        _leave_closed(self._terminals)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}


class _Stopped(BaseException):
    """Raised by a signal: no `except Exception` may stop it on its way."""


class _Interruption(StopRequest):
    def _request(self, number: int, frame: FrameType | None) -> None:
        super()._request(number, frame)
        raise _Stopped


@contextmanager
def ending_in_a_line(fix: str, code: int | None = None) -> Iterator[None]:
    """Lets a signal to stop end the process with one line.

    A second signal acts as usual. Only the main thread may enter.

    Args:
      fix: What the user can do then.
      code: Exit code; None for 128 + the signal's number, of work that is incomplete.
    """
    signals = _Interruption()
    try:
        with signals:
            yield
    except _Stopped:
        end_in_a_line(signals.signal_name, fix, code)


def end_in_a_line(signal_name: str, fix: str, code: int | None = None) -> NoReturn:
    """Ends the process as `ending_in_a_line` does, after a signal that came before."""
    print(f"stopped by {signal_name}; {fix}", file=sys.stderr)
    sys.exit(128 + signal.Signals[signal_name] if code is None else code)


def _caught() -> list[signal.Signals]:
    """Returns the signals that ask to stop; under nohup, SIGHUP does not."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def _terminals() -> list[int]:
    return [number for number in (1, 2) if os.isatty(number)]


def _leave_closed(terminals: list[int]) -> None:
    """Redirects output to /dev/null if the terminal was closed.

    Printing to it would raise an error before the state is saved.
    """
    for number in terminals:
        if not os.isatty(number):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
