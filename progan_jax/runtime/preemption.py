"""A polite stop: SIGTERM and Ctrl-C become a request to the loop, or one line."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class StopRequest:
    """Catches SIGTERM and SIGINT while it is entered.

    A second signal acts as if nothing were caught. Only the main thread may enter.

    Attributes:
      signal_name: Name of the signal that came, or "".
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def __bool__(self) -> bool:
        return bool(self.signal_name)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal_name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}


class _Stopped(BaseException):
    """A signal came; no work between here and `ending_in_a_line` may stop it."""


@contextmanager
def ending_in_a_line(mend: str) -> Iterator[None]:
    """Lets SIGTERM and Ctrl-C end the process with one line and 128 + their number.

    A second signal acts as usual. Only the main thread may enter.

    Args:
      mend: What the user can do then.
    """
    numbers: list[int] = []
    previous = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        restore()
        numbers.append(number)
        raise _Stopped

    for number in previous:
        signal.signal(number, stop)
    try:
        yield
    except _Stopped:
        name = signal.Signals(numbers[0]).name
        print(f"stopped by {name}; {mend}", file=sys.stderr)
        sys.exit(128 + numbers[0])
    finally:
        restore()
