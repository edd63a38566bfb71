"""A run's folder with two snapshots of untrained networks, one of them measured."""

import json

import jax
import pytest

from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.inference.snapshot import digest, write_snapshot
from progan_jax.models.common import init_generator
from tests.untrained import untrained

NAMES = ("000001_r004", "000002_r008")


@pytest.fixture
def run(tiny_config, tmp_path):
    """A run's folder with two snapshots, of which the first was measured."""
    folder = tmp_path / "run"
    for name in NAMES:
        side = int(name[-3:])
        info = {
            "stage": {"resolution": side, "alpha": 1.0, "nimg": 1000},
            "options": tiny_config.model.to_dict(),
        }
        info["config"] = tiny_config.to_dict()
        info["dataset"] = {"name": "digits", "num_images": 1797}
        params = untrained(init_generator, generator_from_snapshot(info))
        write_snapshot(folder / "snapshots" / name, jax.device_get(params), info)
    record = {
        "snapshot": NAMES[0],
        "sha256": digest(folder / "snapshots" / NAMES[0]),
        "metric": "swd",
        "nimg": 1000,
        "settings": {"num_images": 512},
        "values": {"swd_average": 12.3456},
    }
    other = record | {"sha256": "0", "values": {"swd_average": 77.7}}
    lines = "\n".join(map(json.dumps, (record, other)))
    (folder / "metrics.jsonl").write_text(lines + "\n")
    return folder
