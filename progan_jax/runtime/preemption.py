"""A polite stop: SIGTERM and Ctrl-C become a request that the loop looks at."""

import signal
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
