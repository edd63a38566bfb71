"""Opening trained generators by name, as a user's program does."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
import pytest

import progan_jax
from progan_jax.files import seal
from progan_jax.images import to_float
from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.models.common import init_generator
from progan_jax.models.progan.options import Options
from tests.pickles import dumps, golden, golden_networks
from tests.untrained import untrained

ROOT = Path(__file__).parents[2]
NAMES = ("000001_r004", "000002_r008")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run's folder with a snapshot of 4x4 and one of 8x8."""
    folder = tmp_path_factory.mktemp("written") / "run"
    sizes = {"latent_size": 8, "fmap_base": 32, "fmap_max": 8}
    options = Options(resolution=16, channels=1, **sizes)
    for name in NAMES:
        stage = {"resolution": int(name[-3:]), "alpha": 1.0}
        info = {"stage": stage, "options": asdict(options)}
        params = untrained(init_generator, generator_from_snapshot(info))
        write_snapshot(folder / "snapshots" / name, jax.device_get(params), info)
    return folder


@pytest.fixture
def run(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "run"))


def test_a_run_is_its_newest_snapshot_or_the_one_that_is_named(run):
    assert progan_jax.load(run).resolution == 8
    assert progan_jax.load(str(run), snapshot=NAMES[0]).resolution == 4
    assert progan_jax.load(run / "snapshots" / NAMES[0]).resolution == 4
    (run / "snapshots" / "best").write_text(NAMES[0])
    assert progan_jax.load(run, "best").name == NAMES[0]


def test_a_pickle_of_the_authors_is_their_averaged_generator(tmp_path):
    path = tmp_path / "official.pkl"
    path.write_bytes(dumps(golden_networks("cond")))
    g = progan_jax.load(path)
    assert (g.resolution, g.num_classes, g.latent_dim) == (16, 5, 12)
    images = g(golden()["cond/z"], golden()["cond/labels"].argmax(1))
    theirs = golden()["cond/G_out/lod0.00"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(images, theirs, atol=1e-5 * np.abs(theirs).max())


def test_a_plain_name_opens_what_ships_with_the_package(run, tmp_path, monkeypatch):
    shutil.copytree(run / "snapshots" / NAMES[1], tmp_path / "pretrained" / "digits")
    monkeypatch.setattr("progan_jax.inference.load._SHIPPED", tmp_path / "pretrained")
    assert progan_jax.load("digits").name == "digits"
    with pytest.raises(progan_jax.UserError, match=r"this package has digits$"):
        progan_jax.load("cifar100")


def damage(folder, group=None, **fields):
    """Gives a description, or a group of it, other values; without one for None."""
    path = folder / "snapshot.json"
    info = json.loads(path.read_text())
    of = info[group] if group else info
    of |= {name: value for name, value in fields.items() if value is not None}
    for name in [name for name, value in fields.items() if value is None]:
        del of[name]
    path.write_text(json.dumps(seal(info)))


def cut_weights(folder):
    path = folder / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


FAULTS = {
    "cut": (cut_weights, "generator.safetensors has changed since it was written"),
    "no weights": (
        lambda folder: (folder / "generator.safetensors").unlink(),
        "cannot be read",
    ),
    "newer": (lambda folder: damage(folder, version=3), "is of version 3, and this"),
    "no resolution": (
        lambda folder: damage(folder, "stage", resolution=None),
        "has no field 'resolution'; choose another snapshot",
    ),
    "no alpha": (
        lambda folder: damage(folder, "stage", alpha=None),
        "has alpha = None, which",
    ),
    "no options": (
        lambda folder: damage(folder, options=None),
        "has no field 'options'",
    ),
    "options without a field": (
        lambda folder: damage(folder, "options", channels=None),
        "has no field 'channels'",
    ),
    "options of another network": (
        lambda folder: damage(folder, "options", latent_size=9),
        "and its description requires",
    ),
    "options that are a text": (
        lambda folder: damage(folder, options="big"),
        "has a field options that is not an object",
    ),
    "an option of another type": (
        lambda folder: damage(folder, "options", latent_size="8"),
        "description is invalid",
    ),
    "an unknown family": (
        lambda folder: damage(folder, family="biggan"),
        "is of the family 'biggan', which this progan_jax does not have",
    ),
    "a family that is a list": (
        lambda folder: damage(folder, family=[]),
        r"has family = \[\]",
    ),
    "side": (
        lambda folder: damage(folder, "stage", resolution=12),
        r"is invalid \(resolution 12\)",
    ),
    "another side": (
        lambda folder: damage(folder, "stage", resolution=16),
        "has the shape None and its description requires",
    ),
    "alpha": (
        lambda folder: damage(folder, "stage", alpha=2),
        r"alpha = 2, which must lie in",
    ),
    "infinite version": (
        lambda folder: damage(folder, version=float("inf")),
        "has version = inf",
    ),
    "half a version": (lambda folder: damage(folder, version=0.5), "version = 0.5"),
    "another network": (lambda folder: damage(folder, network="X"), "network = 'X'"),
    "a list": (
        lambda folder: (folder / "snapshot.json").write_text("[1]"),
        "is not a description",
    ),
    "a network that is a list": (
        lambda folder: damage(folder, network=[]),
        r"network = \[\]",
    ),
    "nested too deep": (
        lambda folder: (folder / "snapshot.json").write_text("[" * 100_000),
        "cannot be read",
    ),
    "a configuration that is a list": (
        lambda folder: damage(folder, config=[]),
        "has a field config that is not an object",
    ),
    "a run's without its images": (
        lambda folder: damage(folder, config={}),
        "has no nimg, the number of",
    ),
    "a licence without a name": (
        lambda folder: damage(folder, licence="mit"),
        "has a licence without a name",
    ),
    "files without hashes": (
        lambda folder: damage(folder, frozen_files={"lite0": {"file": "a.pth"}}),
        "has frozen_files without names or hashes",
    ),
    "numbers that are whole": (
        lambda folder: damage(folder, "options", dtype="int32"),
        r"is invalid \(dtype = 'int32' must be one of",
    ),
    "not json": (lambda folder: (folder / "snapshot.json").write_text("{"), "be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_snapshot_is_refused_in_one_line(run, fault):
    harm, message = FAULTS[fault]
    folder = run / "snapshots" / NAMES[1]
    harm(folder)
    with pytest.raises(progan_jax.UserError, match=message) as caught:
        progan_jax.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_opened_is_reported_in_one_line(run, tmp_path):
    weights = run / "snapshots" / NAMES[1] / "generator.safetensors"
    (tmp_path / "text.pkl").write_text("no pickle")
    for source, message in [
        ("gs://bucket/network", "for any other address, download the file"),
        ("", "^source is empty; name a run, a file or a network$"),
        ("/nowhere", "there is no such file or folder that can be read, nor"),
        (tmp_path, r"it is neither a run nor a snapshot: it has no snapshot\.json"),
        ("x" * 5000, "there is no such file or folder"),
        ("~nobody_here/run", "there is no such file or folder"),
        ("a\0b", "there is no such file or folder"),
        (weights, f"name its folder instead, {weights.parent}"),
        (tmp_path / "text.pkl", "is text, and not a pickle"),
    ]:
        with pytest.raises(progan_jax.UserError, match=message):
            progan_jax.load(source)
    (run / "snapshots" / "best").write_bytes(b"\xff")
    with pytest.raises(progan_jax.UserError, match="snapshots/best has changed since"):
        progan_jax.load(run, "best")
    with pytest.raises(progan_jax.UserError, match=r"snapshot=best: .* leave it out"):
        progan_jax.load(tmp_path / "text.pkl", "best")


FORBIDDEN = (
    *("tensorflow", "grain", "orbax", "clu", "ml_collections", "optax"),
    "tensorflow_datasets",
    *("sklearn", "lmdb", "array_record", "matplotlib", "scipy", "huggingface_hub"),
)


def test_use_imports_nothing_that_training_needs_and_the_package_is_light(run):
    script = f"""
import sys, time
start = time.perf_counter()
import progan_jax
elapsed = time.perf_counter() - start
assert "jax" not in sys.modules and "numpy" not in sys.modules
assert {{"load", "to_uint8"}} <= set(dir(progan_jax))
progan_jax.to_uint8(progan_jax.load({str(run)!r}).sample(1, seed=0))
print(elapsed, *sorted({{m.split(".")[0] for m in sys.modules}} & set({FORBIDDEN!r})))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    elapsed, *loaded = done.stdout.split()
    assert float(elapsed) < 1.5
    assert loaded == []


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = progan_jax.lode


def test_bytes_are_those_of_the_range_that_training_has():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(progan_jax.to_uint8(to_float(every)), every)


def test_a_network_of_cifar10_ships_and_draws_different_images_offline():
    generator = progan_jax.load("cifar10")
    assert (generator.resolution, generator.channels) == (32, 3)
    images = generator.sample(16, seed=0)
    assert images.shape == (16, 32, 32, 3)
    assert np.abs(images).max() < 2
    assert images.std(axis=0).min() > 0.05, "some pixel is the same in all images"
    assert np.ptp(images, axis=-1).mean() > 0.05, "the images are grey"
