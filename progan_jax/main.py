"""Command line: python -m progan_jax.main --config=configs/X.py [--workdir=DIR].

--mode=train    trains, or goes on where the same command was stopped (default)
--mode=eval     measures the snapshots in --workdir by config.eval
--mode=explain  prints the whole schedule and its costs, and trains nothing; --memory
                compiles the steps and prints the memory that they take
--config.GROUP.FIELD=VALUE  changes a field of configs/base.py
"""

import re
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from progan_jax.runtime.command_line import run

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/NAME_OF_CONFIG by default."
)
MODE = flags.DEFINE_enum("mode", "train", ["train", "eval", "explain"], "What to do.")
MEMORY = flags.DEFINE_bool(
    "memory", None, "Whether explain compiles the steps; unless on a CPU by default."
)


def main() -> None:
    """Sets JAX up as the configuration says and dispatches to one function."""
    import jax

    config = CONFIG.value
    jax.config.update("jax_enable_x64", config.model.dtype == "float64")
    if config.runtime.matmul_precision != "default":
        precision = config.runtime.matmul_precision
        jax.config.update("jax_default_matmul_precision", precision)
    if MODE.value == "explain":
        from progan_jax.explain import explain

        print(explain(config, MEMORY.value))
        return
    workdir = Path(WORKDIR.value or Path("runs") / _run_name())
    if MODE.value == "eval":
        from progan_jax.evaluate import evaluate

        print(evaluate(config, workdir))
        return
    from progan_jax.train import train

    train(config, workdir)


def _run_name() -> str:
    """Returns the stem of the configuration's file, and its argument if it has one."""
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    path, _, argument = name.partition(":")
    return "-".join([Path(path).stem, *re.findall(r"\w+", argument)])


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
