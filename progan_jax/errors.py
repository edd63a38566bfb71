"""The exceptions that end a command with a line instead of a traceback."""


class UserError(Exception):
    """A mistake in the command, the configuration or the data that the user can fix.

    The message is one line naming the field, the value received, the rule and the
    fix. `main` and the tools print it without a traceback and exit with code 2.
    """

    exit_code = 2


class NotFiniteError(UserError):
    """A snapshot whose images are not finite; other snapshots may serve."""


class MissingWeightsError(UserError):
    """A metric whose weights are not at hand; other metrics may be measured."""


class DivergedError(Exception):
    """A run that ended for updates that were not finite, its state saved.

    It is no mistake of the command: the process ends with exit code 3.
    """

    exit_code = 3
