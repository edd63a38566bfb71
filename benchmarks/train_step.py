"""The speed of the training steps: `python -m benchmarks.train_step --config=FILE`.

Prints a Markdown table by resolution, on one device: time of a (D, G) pair, images per
second, share of the device's measured peaks, peak memory and compile time; then the
hours of the complete schedule. Pixels are noise, and nothing is logged or saved.

    --config.model.dtype=bfloat16   any field of the configuration, as for a run
    --batch=16                      one batch size for all resolutions
    --share=8                       the share of one of eight devices of the batch
    --peer=gan_zoo --peer_path=DIR  another program and ours, in turns: A B A B
    --json=benchmarks/results/X.json  the record, which benchmarks.results prints again

benchmarks/roofline.py has the formulas of the floors, benchmarks/peers.py the peers.
With a peer, ours trains as the peer does where the recipe is otherwise.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.checkouts import PEER_PATH, PEER_PYTHON
from benchmarks.peer_flags import (
    check_family,
    check_peer_path,
    peer,
    peer_command,
    peer_request,
)
from benchmarks.results import heading, projection, row_line
from benchmarks.roofline import floors
from benchmarks.stages import CONFIG, SHARE, choose_stages
from progan_jax.errors import UserError
from progan_jax.files import write_json
from progan_jax.runtime.command_line import run
from progan_jax.training.config import get_field, make_networks, make_schedule
from progan_jax.training.validation import validate

# How the peers of a family train, whatever the recipe.
_STEPS = {
    "data.dequantise": False,
    "model.equalized": True,
    "model.num_classes": 0,
    "model.remat": "none",
    "optim.d_repeats": 1,
    "optim.simultaneous": False,
    "schedule.microbatch": "0",
}
_AS_THE_PEERS = {
    "progan": {
        "loss.gp_target": 1.0,
        "loss.kind": "wgan_gp",
        "loss.noise_coefficient": 0.0,
        "model.d_norm": "none",
        "model.g_norm": "none",
        "model.minibatch_discrimination": 0,
        "model.minibatch_stddev": True,
        "model.pixel_norm": True,
        **_STEPS,
    },
    "stylegan": {
        "loss.kind": "nonsaturating",
        "loss.r1_weight": 10.0,
        "loss.r2_weight": 0.0,
        "model.style_mixing": 0.9,
        **_STEPS,
    },
}

SECONDS = flags.DEFINE_float("seconds", 10.0, "Of every measurement.", lower_bound=0.01)
ROUNDS = flags.DEFINE_integer(
    "rounds", 2, "Measurements, of which the best counts.", lower_bound=1
)
JSON = flags.DEFINE_string("json", None, "File to write the record to.")


def main() -> None:
    """Measures every resolution and prints its row."""
    config = CONFIG.value
    check_peer_path()
    changed = _train_as_the_peer(config) if peer() else []
    resolutions = choose_stages(config)
    validate(config, 1)
    if JSON.value:
        _check_json(Path(JSON.value))
    if peer():
        _check_peer(config)
    record = _record(config, changed)
    print("\n".join(heading(record)), flush=True)
    for resolution in resolutions:
        row = _measure(config, resolution)
        record["rows"].append(row)
        print(row_line(record, row), flush=True)
        if JSON.value:
            write_json(Path(JSON.value), record)
    print("\n" + projection(make_schedule(config), record["rows"]))


def _check_peer(config: Any) -> None:
    """Builds the smallest of the peer's networks, to find a missing part early."""
    try:
        _ask(peer_command(), peer_request(config, 4, seconds=0))
    except UserError as error:
        raise UserError(
            f"--peer_path={PEER_PATH.value}, --peer_python={PEER_PYTHON.value}: "
            f"{error}; name a checkout of {peer()}, and a Python that has PyTorch"
        ) from error


def _train_as_the_peer(config: Any) -> list[str]:
    """Sets the fields in which the peers differ; returns those that it changed."""
    check_family(config.family)
    fields = _AS_THE_PEERS[config.family]
    other = {k: v for k, v in fields.items() if get_field(config, k) != v}
    config.update_from_flattened_dict(other)
    return [f"config.{field} = {value!r}" for field, value in other.items()]


def _check_json(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError("it is a folder")
        # The record is written there too, and then moved to its place.
        tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.").close()
    except OSError as error:
        raise UserError(
            f"--json={JSON.value}: {error}; name a file that can be written"
        ) from error


def _record(config: Any, changed: list[str]) -> dict[str, Any]:
    """Measures the peaks; returns the record, without rows yet."""
    # In a separate process: this one must not hold the device's memory.
    command = [sys.executable, "-m", "benchmarks.roofline", config.model.dtype]
    answer = _ask(command, {})
    return {
        **answer["environment"],
        "device": answer["device"],
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "share": SHARE.value,
        "peaks": {name: answer[name] for name in ("flops", "bandwidth")},
        "peer": peer(),
        "as_the_peer": changed,
        "seconds": SECONDS.value,
        "rounds": ROUNDS.value,
        "config": config.to_dict(),
        "rows": [],
    }


def _measure(config: Any, resolution: int) -> dict[str, Any]:
    """Measures ours and the peer in turns; the best of each counts."""
    request = {
        "config": config.to_dict(),
        "resolution": resolution,
        "seconds": SECONDS.value,
    }
    ours, peers = [], []
    for _ in range(ROUNDS.value):
        ours.append(_ask([sys.executable, "-m", "benchmarks.ours"], request))
        if peer():
            asked = peer_request(config, resolution, SECONDS.value)
            peers.append(_ask(peer_command(), asked))
    row = min(ours, key=lambda answer: answer["ms"])
    row["all_ms"] = [answer["ms"] for answer in ours]
    row["resolution"] = resolution
    row["floors"] = _floors(config, resolution)
    if peers:
        row["peer"] = min(peers, key=lambda answer: answer["ms"])
        row["peer"]["all_ms"] = [answer["ms"] for answer in peers]
    return row


def _ask(command: list[str], request: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            # What compiles again must not find its program: compile_sec would be none.
            env={**os.environ, "JAX_COMPILATION_CACHE_DIR": ""},
        )
    except OSError as error:
        raise UserError(f"{command[0]}: {error.strerror}; name a Python") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise UserError(f"{' '.join(command)} failed with: {reason}; fix that")
    return json.loads(done.stdout.splitlines()[-1])


def _floors(config: Any, resolution: int) -> dict[str, float]:
    batch = make_schedule(config).batch_size[resolution]
    return vars(floors(*make_networks(config, resolution, batch), batch))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
