"""The whole way from images to a snapshot where TensorFlow cannot be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

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


def test_preparing_and_training_need_no_tensorflow(tmp_path):
    prepared = run(
        "progan_jax.tools.prepare_data",
        "synthetic:32",
        f"--out={tmp_path}",
        "--name=cifar10",
        "--resolution=4",
        "--workers=1",
    )
    assert prepared.returncode == 0, prepared.stderr
    fields = {
        "data.data_dir": tmp_path,
        "data.feed": "streamed",
        "model.resolution": 4,
        "model.fmap_max": 4,
        "model.latent_size": 4,
        "schedule.batch_size": "4",
        "schedule.stabilise_kimg": "0.016",
        "schedule.fade_kimg": "0.016",
        "schedule.total_kimg": 0.016,
        "runtime.pairs_per_dispatch": 2,
        "runtime.num_devices": 1,
        "train.grid": "2x2",
    }
    trained = run(
        "progan_jax.main",
        "--config=configs/cifar10.py",
        f"--workdir={tmp_path / 'run'}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    )
    assert trained.returncode == 0, trained.stderr
    rows = (tmp_path / "run" / "stats.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["Progress/nimg"] == 16
    assert list((tmp_path / "run" / "snapshots").glob("*/generator.safetensors"))
