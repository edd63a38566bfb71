"""A run's folder, made by hand: three stages, two of them begun."""

import json

import numpy as np
import pytest
from PIL import Image

TICKS = 12


def tick(number):
    """A row: 1 kimg each, at 4x4 for four ticks, then at 8x8, which fades for two."""
    resolution = 4 if number <= 4 else 8
    return {
        "Progress/tick": number,
        "Progress/kimg": float(number),
        "Progress/nimg": 1000 * number,
        "Progress/resolution": resolution,
        "Progress/alpha": {5: 0.25, 6: 0.75}.get(number, 1.0),
        "Timing/sec_per_tick": 2.0,
        "Timing/img_per_sec": 500.0 if resolution == 4 else 250.0,
        "Timing/total_sec": 3.0 * number,
        "Timing/total_hours": number / 1200,
        "Timing/eta_sec": 90.0,
        "Loss/d_loss": None if number == 3 else 10.0 / number,
        "Loss/g_loss": -number / 7,
        "Loss/real_scores": 0.5,
        "Loss/fake_scores": -0.25 * number,
        "Health/skipped": 0,
    }


def colours(resolution, seed):
    """A grid of 4x2 images at 16x16, of blocks."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (2 * resolution, 4 * resolution, 3), np.uint8)
    factor = 16 // resolution
    return Image.fromarray(small.repeat(factor, axis=0).repeat(factor, axis=1))


def measured(name, nimg, **values):
    settings = {"num_images": 64}
    return {
        "snapshot": name,
        "nimg": nimg,
        "metric": "swd",
        "settings": settings | ({"floor_skip": 64} if name == "reals" else {}),
        "values": values,
    }


@pytest.fixture
def run(tmp_path, tiny_config):
    folder = tmp_path / "a run"
    (folder / "grids").mkdir(parents=True)
    schedule = tiny_config.schedule
    schedule.stabilise_kimg, schedule.fade_kimg, schedule.total_kimg = "4", "2", 20.0
    tiny_config.data.data_dir = "</script><script>alert('&')</script>"
    start = {
        "date": "2026-01-02T03:04:05+00:00",
        "python": "3.11.1",
        "versions": {"jax": "1.2.3", "flax": None},
        "git": "0123abcd+dirty",
        "device_kind": "H100 <80GB>",
        "device_count": 8,
    }
    record = {"starts": [start], "config": tiny_config.to_dict()}
    (folder / "config.json").write_text(json.dumps(record))
    rows = [json.dumps(tick(number)) for number in range(1, TICKS + 1)]
    (folder / "stats.jsonl").write_text("\n".join(rows) + "\n")
    records = [
        measured("reals", 0, swd_16=2.5, swd_average=2.5),
        measured("000004_r004", 4000, swd_16=80.0, swd_average=80.0),
        measured("000012_r008", 12000, swd_16=40.0, swd_average=40.0),
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, records)))
    for seed, (kimg, resolution) in enumerate([(0, 4), (4, 4), (8, 8), (12, 8)]):
        name = f"fakes_{kimg:06d}_r{resolution:03d}.png"
        colours(resolution, seed).save(folder / "grids" / name)
    colours(16, 9).save(folder / "grids" / "reals.png")
    return folder
