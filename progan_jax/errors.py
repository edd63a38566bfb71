"""The exceptions that stand for a user's mistake."""


class UserError(Exception):
    """A mistake in the command, the configuration or the data that the user can mend.

    The message is one line naming the field, the value received, the rule and the
    mend. `main` and the tools print it without a traceback and exit with code 2.
    """


class NotFiniteError(UserError):
    """A snapshot whose images are not finite; other snapshots may serve."""
