"""Which flags this XLA knows."""

import os
import subprocess
import sys


def is_known(flag):
    """Returns whether this XLA knows a flag; one that it does not ends the process."""
    program = (
        "from jaxlib import xla_client as x\n"
        "x.CompileOptions().executable_build_options.debug_options\n"
    )
    tried = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"XLA_FLAGS": flag},
        capture_output=True,
    )
    return tried.returncode == 0
