"""Training of benchmarks.short_run: `python -m benchmarks.short_train CONFIG RUN SEC`.

Trains the configuration in the JSON file CONFIG in the folder RUN, and stops after SEC
seconds with a snapshot, as `progan_jax train` does when its time is up.
"""

import json
import time
from pathlib import Path

from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled, set_precision
from progan_jax.train import train
from progan_jax.training.stored_config import complete_config


def main(config: str, workdir: str, seconds: str) -> None:
    """Trains until the time is up."""
    deadline = time.monotonic() + float(seconds)
    fields = complete_config(json.loads(Path(config).read_text()))
    keep_compiled()
    set_precision(fields)
    train(fields, Path(workdir), deadline)


if __name__ == "__main__":
    run(main, "CONFIG", "RUN", "SEC")
