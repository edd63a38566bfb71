"""Processes that are ended when their time is over; some answer one request."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

_ROOT = Path(__file__).parents[1]
_POLL = 0.1  # Seconds between two looks at the clock.
_END = 5.0  # Seconds in which a killed process should be gone.
_ERROR = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Exit)\b")


@dataclass(frozen=True)
class Outcome:
    """What became of a process.

    Attributes:
      status: "ok", "failed", "timed out" or "stopped".
      answer: The JSON objects that it printed, a line each, later fields over earlier.
      error: The last line of its error, if it has one.
    """

    status: str
    answer: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def stop_by_signals() -> tuple[threading.Event, list[int]]:
    """Lets SIGTERM and SIGINT set an event, for the rest of this process.

    Returns:
      The event, and the numbers of the signals that came.
    """
    stop, signals = threading.Event(), []

    def end(number: int, _: Any) -> None:
        signals.append(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return stop, signals


def ask(
    command: list[str],
    request: Any,
    seconds: float,
    environment: Mapping[str, str],
    stop: threading.Event,
) -> Outcome:
    """Starts a process, hands it a request, and waits for its end.

    It leads a session of its own, so that what it has started ends with it.

    Args:
      command: Program and arguments.
      request: Its standard input, as JSON.
      seconds: Time after which it is ended.
      environment: Variables to set beside this process's own.
      stop: Ends it once it is set.
    """
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(json.dumps(request).encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=out,
                stderr=err,
                cwd=_ROOT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except OSError as error:
            return Outcome("failed", error=f"{command[0]}: {error.strerror}")
        status = _wait(process, seconds, stop)
        _end(process)
        error = "" if status == "ok" else _last_error(_text(err))
        if status == "timed out":
            error = f"ended after {seconds:.0f} s" + (f"; {error}" if error else "")
        elif status == "failed" and (process.returncode or 0) < 0:
            number = signal.Signals(-process.returncode).name
            error = f"ended by {number}" + (f"; {error}" if error else "")
        return Outcome(status, _merge(_text(out)), error)


def supervise(
    command: list[str], seconds: float, grace: float, stop: threading.Event
) -> str:
    """Runs a command with this process's output, and asks it to end by SIGTERM.

    It finds this checkout's packages from any folder.

    Args:
      command: Program and arguments.
      seconds: Time after which it is asked.
      grace: Seconds from then until it is killed.
      stop: It is asked once this is set.

    Returns:
      "ok", "failed", "timed out" or "stopped".
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, start_new_session=True
    )
    status = _wait(process, seconds, stop)
    if status in ("timed out", "stopped"):
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    _end(process)
    return status


def _wait(
    process: subprocess.Popen[bytes], seconds: float, stop: threading.Event
) -> str:
    end = time.monotonic() + seconds
    while process.poll() is None:
        if stop.is_set():
            return "stopped"
        if time.monotonic() > end:
            return "timed out"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL)
    return "failed" if process.returncode else "ok"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _merge(text: str) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for line in text.splitlines():
        # The last may be half written.
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            answer |= found if isinstance(found, dict) else {}
    return answer


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return ([*lines[-1:], *errors[-1:]] or ["no word"])[-1][:500]
