"""How fast the training steps are: `python -m benchmarks.train_step --config=FILE`.

Prints a Markdown table by resolution, on one device: time of a (D, G) pair, images per
second, share of the device's measured peaks, peak memory and compile time; then what
the whole schedule would take. Pixels are noise, and nothing is logged or saved.

    --config.model.dtype=bfloat16   any field of the configuration, as for a run
    --batch=16                      one batch size for all resolutions
    --share=8                       the share of one of eight devices of the batch
    --peer=gan_zoo --peer_path=DIR  another program beside ours, in turns: A B A B

benchmarks/roofline.py has the formulas of the floors, benchmarks/peers.py the peers.
"""

import datetime
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from benchmarks.roofline import Floors, Peaks, floors
from progan_jax.config import make_networks, make_schedule
from progan_jax.errors import UserError
from progan_jax.files import write_json
from progan_jax.networks.progan import stage_resolutions
from progan_jax.runtime.command_line import run
from progan_jax.schedule import Schedule

PEERS = ("gan_zoo", "rosinality")

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")
RESOLUTIONS = flags.DEFINE_list("resolutions", [], "Of the run; all by default.")
BATCH = flags.DEFINE_integer("batch", 0, "Batch size; 0 is the configuration's.")
SHARE = flags.DEFINE_integer("share", 1, "Devices that the batch is shared by.")
SECONDS = flags.DEFINE_float("seconds", 10.0, "Of every measurement.")
ROUNDS = flags.DEFINE_integer("rounds", 2, "Measurements, of which the best counts.")
PEER = flags.DEFINE_enum("peer", None, PEERS, "Program to compare with.")
PEER_PATH = flags.DEFINE_string("peer_path", None, "Folder of its checkout.")
PEER_PYTHON = flags.DEFINE_string("peer_python", sys.executable, "Python with PyTorch.")
JSON = flags.DEFINE_string("json", None, "File to write the numbers to.")

_HEADER = (
    "resolution",
    "batch",
    "ms a pair",
    "images/s",
    "s/kimg",
    "GFLOP a pair",
    "% of matmul",
    "% of bandwidth",
    "% of floor",
    "memory, MiB",
    "compile, s",
)


def main() -> None:
    """Measures every resolution and prints its row."""
    config = CONFIG.value
    resolutions = _check_flags(config)
    peaks, device = _measure_peaks(config.model.dtype)
    print(
        f"{device}, {config.model.dtype}; measured peaks: {peaks.flops / 1e9:,.1f} "
        f"GFLOP/s in matrix products, {peaks.bandwidth / 1e9:,.1f} GB/s in copies\n"
    )
    header = [*_HEADER, *(_peer_header() if PEER.value else ())]
    print(_line(header), _line(["---"] * len(header)), sep="\n", flush=True)
    rows = []
    for resolution in resolutions:
        row = _measure(config, resolution)
        rows.append(row)
        print(_line(_cells(row, _floors(config, resolution), peaks)), flush=True)
    print("\n" + "\n".join(_projection(make_schedule(config), rows)))
    if JSON.value:
        write_json(Path(JSON.value), _record(config, peaks, device, rows))


def _check_flags(config: Any) -> list[int]:
    """Returns the resolutions to measure."""
    schedule = config.schedule
    there = stage_resolutions(config.model.resolution, schedule.start_resolution)
    names = RESOLUTIONS.value or [str(r) for r in there]
    for name in names:
        if name not in map(str, there):
            raise UserError(
                f"--resolutions={name}: the run has "
                f"{', '.join(map(str, there))}; choose from them"
            )
    if PEER.value and not (PEER_PATH.value and Path(PEER_PATH.value).is_dir()):
        raise UserError(
            f"--peer_path={PEER_PATH.value}: there is no such folder; name a checkout "
            f"of {PEER.value} (benchmarks/peers.py says where it is from)"
        )
    if BATCH.value:
        schedule.batch_size = str(BATCH.value)
    _divide_batch(config, there)
    return [int(name) for name in names]


def _divide_batch(config: Any, resolutions: list[int]) -> None:
    """Sets the batch of every resolution to the share of one device."""
    batches = make_schedule(config).batch_size
    for resolution in resolutions:
        if SHARE.value < 1 or batches[resolution] % SHARE.value:
            raise UserError(
                f"--share={SHARE.value} does not divide the batch of "
                f"{batches[resolution]} at {resolution}x{resolution}; choose another"
            )
    table = [f"{r}:{batches[r] // SHARE.value}" for r in resolutions]
    config.schedule.batch_size = ", ".join(["1", *table])


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
        if PEER.value:
            script = str(Path(__file__).with_name("peers.py"))
            request_of_peer = _peer_request(config, resolution)
            peers.append(_ask([PEER_PYTHON.value, script], request_of_peer))
    row = min(ours, key=lambda answer: answer["ms"])
    # The first round compiles; later ones find the program in the cache.
    row["compile_sec"] = ours[0]["compile_sec"]
    row["resolution"] = resolution
    if peers:
        row["peer"] = min(peers, key=lambda answer: answer["ms"])
    return row


def _peer_request(config: Any, resolution: int) -> dict[str, Any]:
    from progan_jax.networks.layers import num_features

    model = config.model
    fmaps = (model.fmap_base, model.fmap_decay, model.fmap_max)
    stages = range(1, resolution.bit_length() - 1)
    return {
        "peer": PEER.value,
        "path": str(Path(PEER_PATH.value or "").resolve()),
        "widths": [num_features(stage, *fmaps) for stage in stages],
        "latent_size": model.latent_size,
        "channels": model.channels,
        "batch": make_schedule(config).batch_size[resolution],
        "dtype": model.dtype,
        "seconds": SECONDS.value,
    }


def _ask(command: list[str], request: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        command, input=json.dumps(request), capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise UserError(f"{' '.join(command)} failed with: {reason}; mend that")
    return json.loads(done.stdout.splitlines()[-1])


def _measure_peaks(dtype: str) -> tuple[Peaks, str]:
    # In a process of its own: this one must not hold the device's memory.
    answer = _ask([sys.executable, "-m", "benchmarks.roofline", dtype], {})
    return Peaks(answer["flops"], answer["bandwidth"]), answer["device"]


def _floors(config: Any, resolution: int) -> Floors:
    batch = make_schedule(config).batch_size[resolution]
    return floors(make_networks(config, resolution, batch)[0], batch)


def _peer_header() -> list[str]:
    return [f"{PEER.value}, images/s", "ratio"]


def _cells(row: dict[str, Any], floor: Floors, peaks: Peaks) -> list[str]:
    seconds = row["ms"] / 1000
    cells = [
        str(row["resolution"]),
        str(row["images"]),
        f"{row['ms']:,.2f}",
        f"{row['images'] / seconds:,.2f}",
        f"{1000 * seconds / row['images']:,.2f}",
        f"{floor.flops / 1e9:,.1f}",
        f"{100 * floor.flops / seconds / peaks.flops:.1f}",
        f"{100 * floor.num_bytes / seconds / peaks.bandwidth:.1f}",
        f"{100 * floor.seconds(peaks) / seconds:.1f}",
        f"{row['peak_bytes'] / 2**20:,.0f}",
        f"{row['compile_sec']:.1f}",
    ]
    if "peer" in row:
        peer = row["peer"]["images"] / (row["peer"]["ms"] / 1000)
        cells += [f"{peer:,.2f}", f"{row['images'] / seconds / peer:.2f}"]
    return cells


def _projection(schedule: Schedule, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields what the whole schedule takes at these speeds, growing and not growing."""
    seconds = {
        r["resolution"]: r["ms"] / 1000 / r["images"] / SHARE.value for r in rows
    }
    stages = schedule.stages()
    if missing := {s.resolution for s in stages} - seconds.keys():
        yield f"No projection: {', '.join(map(str, sorted(missing)))} not measured."
        return
    shown = [schedule.stage_end(s) - s.start_nimg for s in stages]
    growing = sum(n * seconds[s.resolution] for n, s in zip(shown, stages, strict=True))
    still = sum(shown) * seconds[stages[-1].resolution]
    where = f"{SHARE.value} such devices" if SHARE.value > 1 else "this device"
    yield (
        f"The schedule's {sum(shown) / 1000:,.0f} kimg on {where}, without evaluation, "
        f"saving and what devices tell each other: {growing / 3600:,.2f} hours. As "
        f"many images at {stages[-1].resolution}x{stages[-1].resolution} alone: "
        f"{still / 3600:,.2f} hours, {still / growing:.1f} times as long."
    )


def _record(
    config: Any, peaks: Peaks, device: str, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device,
        "share": SHARE.value,
        "peaks": vars(peaks),
        "config": config.to_dict(),
        "rows": rows,
    }


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    run(main)
