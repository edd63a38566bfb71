"""The level of XLA's own log on standard error."""

import os


def keep_xla_quiet() -> None:
    """Lets XLA log only what ends the process, unless the user asks for more.

    It logs as errors what is harmless, such as "Very slow compile? [...] file a bug" on
    a busy machine, and has no switch for those alone. Real errors are raised as well.
    It must be called before JAX is imported; TF_CPP_MIN_LOG_LEVEL=0 shows everything.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
