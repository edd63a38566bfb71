"""The pace of a run's stages on this machine, for benchmarks.short_run.

Standard input is JSON: "config", a run's, and "seconds" of each stage. Every stage is
printed when it is measured, as {RESOLUTION: [seconds per image, of compiling]}. What is
compiled stays in the cache of programs.
"""

import json
import sys
from dataclasses import astuple

from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled, set_precision
from progan_jax.runtime.mesh import make_mesh, select_devices
from progan_jax.training.fitting import measure_pace
from progan_jax.training.start import open_set
from progan_jax.training.stored_config import complete_config
from progan_jax.training.validation import validate


def main() -> None:
    """Measures and prints the stages one after another."""
    request = json.load(sys.stdin)
    config = complete_config(request["config"])
    keep_compiled()
    set_precision(config)
    mesh = make_mesh(select_devices(config.runtime.num_devices))
    validate(config, mesh.size)
    paces = measure_pace(
        config, open_set(config), mesh, request["seconds"], lambda doing: None
    )
    for resolution, pace in paces:
        print(json.dumps({resolution: astuple(pace)}), flush=True)


if __name__ == "__main__":
    run(main)
