"""The exceptions that end a command with a line instead of a traceback."""

import re
import sys

from tqdm import tqdm

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escape(line: str) -> str:
    r"""Returns a message as one line of plain text.

    Values in it, such as names of files, may hold anything: line breaks and control
    characters become backslash escapes such as \n and \x1b.
    """
    return _CONTROL.sub(lambda c: c[0].encode("unicode_escape").decode(), line)


def reason(error: Exception) -> str:
    """Returns what a library's exception says as a line of at most 200 characters."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split())[:200].rstrip(".") or type(error).__name__


class UserError(Exception):
    """A mistake in the command, the configuration or the data that the user can fix.

    The message is one line naming the field, the value received, the rule and the
    fix. `main` and the tools print it without a traceback and exit with code 2.
    """

    exit_code = 2

    def __init__(self, *lines: str) -> None:
        """Takes the message, one line per fault."""
        super().__init__(*map(escape, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


class NotFiniteError(UserError):
    """A snapshot whose images are not finite; other snapshots may serve."""


class MissingWeightsError(UserError):
    """A metric whose weights, or whose package, are missing; others may be measured.

    What the user names, and is not there, is a plain UserError.
    """


class DivergedError(Exception):
    """A run that ended because updates were not finite; its state is saved.

    It is not a mistake in the command: the process ends with exit code 3.
    """

    exit_code = 3


def warn(message: str) -> None:
    """Prints a warning on standard error without tearing the bar."""
    tqdm.write(f"warning: {escape(message)}", file=sys.stderr)
