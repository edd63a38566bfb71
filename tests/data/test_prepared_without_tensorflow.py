"""A TFDS set is prepared and trained on where TensorFlow is missing.

The set is a tiny cifar10 of PNG files in ArrayRecord, as TFDS writes them. TensorFlow
can be imported neither to prepare it nor to train.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from progan_jax.images import encode_png

ROOT = Path(__file__).parents[2]

# Runs module argv[1] with the other arguments.
BLOCKED = """
import runpy, sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorboard", "tensorflow_io"):
            return None
        return self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
        },
    )


def write_cifar10(write_tfds):
    """Writes 24 images of ten classes, with the features of TFDS's cifar10."""
    features = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(32, 32, 3)),
        "label": tfds.features.ClassLabel(num_classes=10),
    }
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    examples = [
        {"id": f"train_{i}", "image": io.BytesIO(encode_png(image)), "label": i % 10}
        for i, image in enumerate(pixels)
    ]
    return write_tfds("cifar10", features, {"train": examples})


def test_preparing_and_training_need_no_tensorflow(tmp_path, write_tfds):
    prepared = run(
        "progan_jax.tools.prepare_data",
        "tfds:cifar10",
        f"--data_dir={write_cifar10(write_tfds)}",
        f"--out={tmp_path / 'out'}",
        "--resolution=8",
        "--workers=1",
    )
    assert prepared.returncode == 0, prepared.stderr
    assert "24 images, 10 classes" in prepared.stdout
    fields = {
        "data.data_dir": tmp_path / "out",
        "data.feed": "streamed",
        "model.resolution": 8,
        "model.fmap_max": 4,
        "model.latent_size": 4,
        "schedule.batch_size": "4",
        "schedule.start_resolution": 8,
        "schedule.total_kimg": 0.016,
        "runtime.pairs_per_dispatch": 2,
        "runtime.num_devices": 1,
        "train.grid": "2x2",
        "train.tick_kimg": "0.016",
    }
    trained = run(
        "progan_jax.main",
        "--config=configs/cifar10.py",
        f"--workdir={tmp_path / 'run'}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    )
    assert trained.returncode == 0, trained.stderr
    lines = (tmp_path / "run" / "stats.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[-1]["Progress/nimg"] == 16
    assert list((tmp_path / "run" / "snapshots").glob("*/generator.safetensors"))
