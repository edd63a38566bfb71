"""Trains a configuration, measures its snapshots, or explains it.

    progan_jax --config=NAME [--workdir=DIR]

NAME is a recipe, such as digits, or a file. python -m progan_jax.main is the same.
--mode=train    trains, or continues where the same command was stopped (default)
--mode=eval     measures the snapshots of the run in --workdir by its config.json, so
                that --config may be left out; --config.eval.FIELD=VALUE changes how
--mode=explain  prints the schedule and its costs, with the time of the stages if the
                run in --workdir has begun; with --memory it compiles the steps
--config.GROUP.FIELD=VALUE  changes a field of configs/base.py
--distributed, or --coordinator and the next two, on each of several hosts: docs/tpu.md
"""

import re
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from progan_jax.files import local_folder
from progan_jax.runtime.command_line import run
from progan_jax.runtime.xla_log import keep_xla_quiet

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")

WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/NAME_OF_CONFIG by default."
)

MODE = flags.DEFINE_enum("mode", "train", ["train", "eval", "explain"], "What to do.")

DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Connect by the environment.")

COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0.")

NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes.")

PROCESS_ID = flags.DEFINE_integer("process_id", None, "Index of this process, from 0.")

CONNECT_SEC = flags.DEFINE_float(
    "connect_sec", 120.0, "Seconds to wait for other processes.", 0.1, 86_400
)

MEMORY = flags.DEFINE_bool(
    "memory", None, "Whether explain compiles; default: accelerators only."
)


def main() -> None:
    """Sets up JAX by the configuration, and runs --mode."""
    keep_xla_quiet()
    from progan_jax.runtime.compiler import keep_compiled, set_precision
    from progan_jax.runtime.distributed import connected

    config = CONFIG.value
    workdir = local_folder("--workdir", WORKDIR.value or f"runs/{_run_name()}")
    if MODE.value == "eval":
        from progan_jax.training.workdir import config_of_run

        given = config_flags.get_override_values(flags.FLAGS["config"])
        config = config_of_run(config, given, workdir)
    keep_compiled()
    set_precision(config)
    process = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    with connected(*process, auto=DISTRIBUTED.value, timeout_sec=CONNECT_SEC.value):
        _dispatch(MODE.value, config, workdir)


def _dispatch(mode: str, config: Any, workdir: Path) -> None:
    from progan_jax.runtime.distributed import is_primary, together

    if mode == "train":
        from progan_jax.train import train

        train(config, workdir)
        return
    if mode == "explain":
        from progan_jax.explain import explain

        text = explain(config, MEMORY.value, workdir)
    else:
        from progan_jax.evaluate import evaluate

        text = together(lambda: evaluate(config, workdir) if is_primary() else "")
    if is_primary():
        print(text)


def _run_name() -> str:
    """Returns the stem of the configuration's file, and its argument if it has one."""
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    path, _, argument = name.partition(":")
    return "-".join([Path(path).stem, *re.findall(r"\w+", argument)])


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
