"""The speed of StyleGAN-XL's generator: `python -m benchmarks.stem`.

Prints a Markdown table of stems, unconditional, in float32: images per second of a
forward pass, and of its gradient by all parameters, which is what a step costs G.

    --resolutions=16,32 --layers=7,10 --widths=64,128,256
                                    all of their combinations
    --batch=8
    --peer_path=DIR                 a checkout of the authors' program and ours, in
                                    turns: A B A B; benchmarks/stem_peer.py has the rest
    --peer_python=PYTHON            a Python with PyTorch, SciPy and dill
    --json=benchmarks/results/X.json  the record, which benchmarks.results prints again

A width W is the most maps of a layer, and 64 W / 2 f those at cutoff f, the relation
of the authors' defaults: their --cmax is W / 2 and their --cbase 32 W.
"""

import os
import platform
import sys
import threading
from itertools import product
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.checkouts import PEER_PATH, PEER_PYTHON, check_checkout
from benchmarks.processes import ask
from benchmarks.stem_table import stem_ending, stem_heading, stem_line
from progan_jax.errors import UserError
from progan_jax.files import check_writable, write_json
from progan_jax.models.common import RESOLUTIONS
from progan_jax.runtime.command_line import run

_PEER = Path(__file__).with_name("stem_peer.py")
_LIMIT = 3600.0  # Seconds of a process, besides those that it measures.
_FEWEST_LAYERS = 3

SIDES = flags.DEFINE_list("resolutions", ["16", "32"], "Of the images.")
LAYERS = flags.DEFINE_list("layers", ["7", "10"], "Numbers of layers besides ToRGB.")
WIDTHS = flags.DEFINE_list("widths", ["64", "128", "256"], "Most maps of a layer.")
BATCH = flags.DEFINE_integer("batch", 8, "Images at a time.", lower_bound=1)
SECONDS = flags.DEFINE_float("seconds", 8.0, "Of every measurement.", lower_bound=0.01)
ROUNDS = flags.DEFINE_integer(
    "rounds", 2, "Measurements, of which the best counts.", lower_bound=1
)
JSON = flags.DEFINE_string("json", None, "File to write the record to.")


def main() -> None:
    """Measures every stem and prints its row."""
    stems = _choose()
    has_peer = PEER_PATH.value is not None
    check_checkout("stylegan-xl" if has_peer else None, "benchmarks/stem_peer.py")
    if JSON.value:
        check_writable("--json", JSON.value)
    record: dict[str, Any] = {
        "program": "benchmarks.stem",
        "load": os.getloadavg()[0],
        "has_peer": has_peer,
        # Before all else: a missing part is found early.
        "torch": _ask_peer(stems[0] | {"seconds": 0})["torch"] if has_peer else None,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "batch": BATCH.value,
        "seconds": SECONDS.value,
        "rounds": ROUNDS.value,
        "rows": [],
    }
    for number, stem in enumerate(stems):
        row, about = _measure(stem, has_peer)
        record["rows"].append(row)
        if not number:
            record |= about
            print("\n".join(stem_heading(record)))
        print(stem_line(record, row), flush=True)
        if JSON.value:
            write_json(Path(JSON.value), record)
    print("\n".join(stem_ending(record)))


def _choose() -> list[dict[str, Any]]:
    """Returns the requests of all stems, the smallest first."""
    sides = _numbers("resolutions", SIDES.value, RESOLUTIONS)
    layers = _numbers("layers", LAYERS.value, range(_FEWEST_LAYERS, 65))
    widths = _numbers("widths", WIDTHS.value, range(1, 2**16))
    return [
        {
            "resolution": side,
            "layers": number,
            "width": width,
            "fmap_base": 64 * width,
            "fmap_max": width,
            "latent_size": 64,
            "w_size": 512,
            "batch": BATCH.value,
            "seconds": SECONDS.value,
        }
        for side, number, width in product(sides, layers, widths)
    ]


def _numbers(flag: str, texts: list[str], allowed: Any) -> list[int]:
    values = [int(text) if text.isdecimal() else 0 for text in texts]
    if not values or not all(value in allowed for value in values):
        raise UserError(
            f"--{flag}={','.join(texts)}: each must be from {allowed[0]} to "
            f"{allowed[-1]}" + ", a power of two" * (allowed is RESOLUTIONS) + "; "
            "choose others"
        )
    return values


def _measure(
    stem: dict[str, Any], has_peer: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measures ours and the peer's in turns; returns a row, and what is measured on."""
    ours, peers = [], []
    for _ in range(ROUNDS.value):
        ours.append(_ask([sys.executable, "-m", "benchmarks.stem_ours"], stem))
        if has_peer:
            peers.append(_ask_peer(stem))
    row = {name: stem[name] for name in ("resolution", "layers", "width")}
    row |= {"parameters": ours[0]["parameters"], "ours": _times(ours)}
    if has_peer:
        row["peer"] = {"parameters": peers[0]["parameters"], **_times(peers)}
    return row, {**ours[0]["environment"], "device": ours[0]["device"]}


def _times(answers: list[dict[str, Any]]) -> dict[str, list[float]]:
    names = ("forward_ms", "gradient_ms")
    return {name: [answer[name] for answer in answers] for name in names}


def _ask_peer(stem: dict[str, Any]) -> dict[str, Any]:
    path = Path(PEER_PATH.value or "").resolve()
    try:
        return _ask([PEER_PYTHON.value, str(_PEER)], stem | {"path": str(path)})
    except UserError as error:
        raise UserError(
            f"--peer_path={PEER_PATH.value}, --peer_python={PEER_PYTHON.value}: "
            f"{error}; name a checkout of stylegan-xl, and a Python that has PyTorch, "
            "SciPy and dill"
        ) from error


def _ask(command: list[str], request: dict[str, Any]) -> dict[str, Any]:
    limit = _LIMIT + 4 * SECONDS.value
    # Each process is to compile alone, and finds nothing of the one before.
    environment = {"JAX_COMPILATION_CACHE_DIR": ""}
    outcome = ask(command, request, limit, environment, threading.Event())
    if outcome.status != "ok":
        raise UserError(f"{' '.join(command)} {outcome.status}: {outcome.error}")
    return outcome.answer


if __name__ == "__main__":
    run(main)
