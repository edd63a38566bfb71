"""XLA: compiler options, costs of a compiled program, and the cache of programs.

Loading a cached program runs code, so the cache must be this user's alone: it is never
beside a run or in $PROGAN_JAX_CACHE, which may be shared.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections

from progan_jax.errors import warn
from progan_jax.files import user_cache

_DETERMINISTIC: dict[str, bool | str] = {
    # No atomic additions, and the first kernel that fits: timing kernels could choose
    # another one after a restart.
    "xla_gpu_deterministic_ops": True,
    # Leaves out the autotuning of plain fusions too.
    "xla_gpu_exclude_nondeterministic_ops": True,
    # JAX keeps them beside its cache of programs, where other runs write theirs.
    "xla_gpu_per_fusion_autotune_cache_dir": "",
}


def compiler_options(
    config: ml_collections.ConfigDict, platform: str
) -> dict[str, bool | str]:
    """Returns the options for programs that change or draw from a run's state.

    Args:
      config: The run's; runtime.deterministic asks for the options.
      platform: Kind of the devices; all but "gpu" give the same bits anyway.
    """
    wanted = config.runtime.deterministic and platform == "gpu"
    return dict(_DETERMINISTIC) if wanted else {}


def set_precision(config: ml_collections.ConfigDict) -> None:
    """Sets the precision of the model and of matrix products, for this process."""
    jax.config.update("jax_enable_x64", config.model.dtype == "float64")
    if config.runtime.matmul_precision != "default":
        precision = config.runtime.matmul_precision
        jax.config.update("jax_default_matmul_precision", precision)


_WIDTHS = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8}

_COLLECTIVE = re.compile(
    r" = (?P<shapes>.*?) (?P<kind>all-reduce|all-gather|all-to-all|reduce-scatter"
    r"|collective-permute|collective-broadcast)(?:-start)?\("
    r"(?:.*?channel_id=(?P<channel>\d+))?"
)

_SHAPE = re.compile(r"\b(pred|bf16|[a-z]+\d+)\[([\d,]*)\]")

_TRANSFERS = re.compile(
    r" (infeed|outfeed|send|recv|send-done|recv-done)\(|(callback)", re.IGNORECASE
)


def memory(compiled: jax.stages.Compiled) -> int:
    """Returns the bytes that a program takes on one device, as the compiler counts.

    They are its arguments, what it returns less what it writes over them, what it needs
    meanwhile at its peak, and its code.
    """
    stats: Any = compiled.memory_analysis()
    outputs = stats.output_size_in_bytes - stats.alias_size_in_bytes
    meanwhile = stats.temp_size_in_bytes + stats.generated_code_size_in_bytes
    return stats.argument_size_in_bytes + outputs + meanwhile


def flops(compiled: jax.stages.Compiled) -> float:
    """Returns the number of operations of one device; a loop's body counts once."""
    costs: Any = compiled.cost_analysis()
    return costs.get("flops", 0.0)


def collectives(hlo: str) -> Mapping[str, tuple[int, int]]:
    """Returns number and bytes of the collectives in a program's text, by their kind.

    Each stands for one execution: the body of a loop is counted once, and what a TPU's
    compiler repeats for each operation that it may overlap with, on one channel.
    """
    found: dict[str, tuple[int, int]] = {}
    seen = set()
    for match in _COLLECTIVE.finditer(hlo):
        if (channel := match["channel"]) is not None and channel in seen:
            continue
        seen.add(channel)
        count, size = found.get(match["kind"], (0, 0))
        found[match["kind"]] = count + 1, size + _num_bytes(match["shapes"])
    return found


def host_transfers(hlo: str) -> list[str]:
    """Returns the instructions of a program's text that talk to the host."""
    return [match[1] or match[2] for match in _TRANSFERS.finditer(hlo)]


def _num_bytes(shapes: str) -> int:
    total = 0
    for dtype, sides in _SHAPE.findall(shapes):
        size = _WIDTHS.get(dtype) or -(-int(re.sub(r"\D", "", dtype)) // 8)
        for side in filter(None, sides.split(",")):
            size *= int(side)
        total += size
    return total


# On two cores, a run of three narrow stages restarts in 31 s without a cache, 14 s with
# JAX's threshold of 1 s, 10 s with this one, and no faster with 0.
_MIN_COMPILE_SEC = 0.2


def keep_compiled() -> None:
    """Lets JAX keep programs in the user's cache, or warns why not.

    JAX_COMPILATION_CACHE_DIR, whatever it names, is left as it is; if empty, nothing is
    kept.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        folder = user_cache() / "xla"
        _make_private(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home.
        warn(
            f"compiled programs are not kept: {error}; fix that, or name a folder of "
            "your own in JAX_COMPILATION_CACHE_DIR, empty for none"
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SEC)


def _make_private(folder: Path) -> None:
    """Makes the folder.

    Raises:
      PermissionError: if others could put something into it.
      OSError: if it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"{folder} belongs to another user or others may write it"
        )
