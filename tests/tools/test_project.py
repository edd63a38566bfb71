"""The tool on a network that was never trained."""

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import flagsaver
from jax.tree_util import Partial
from PIL import Image

import progan_jax
from progan_jax.errors import UserError
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.metrics.multiscale import multiscale
from progan_jax.models.common import to_weights
from progan_jax.prepare.target import read_target
from progan_jax.weights.weight_files import Weights
from tests.metrics.snapshots import make_fakes, make_info


@pytest.fixture
def project(import_tool, tmp_path, monkeypatch):
    """Returns a function that runs the tool, without LPIPS in the cache."""
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path / "cache"))
    tool = import_tool("project")

    def call(model, image, **values):
        with flagsaver.flagsaver(**{"steps": 4} | values):
            tool.main(str(model), str(image))

    return call


def write_model(folder, family="stylegan", stage=16, **settings):
    fakes = make_fakes(family, stage, **settings)
    info = make_info(fakes.sampler.generator, family)
    write_snapshot(folder, to_weights(fakes.variables), info)
    return folder


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "me.png")
    return tmp_path / "me.png"


def test_w_a_picture_and_a_film_are_written_and_the_search_is_told(
    project, tmp_path, picture, capsys
):
    model = write_model(tmp_path / "000001_r008", stage=8)
    project(model, picture, noise=True)
    stem = model / "projections" / "me_000001_r008_seed0"
    first, distance, *steps, written = capsys.readouterr().out.splitlines()
    assert first == f"{picture} is 24x20: its middle square is resized to 8x8"
    assert distance == (
        "distance: multi-scale pixels and random features (no LPIPS, not perceptual)"
    )
    assert [line.split(":")[0] for line in steps] == [
        f"step {step} of 4" for step in range(5)
    ]
    assert written == f"{stem}.npz, .json, .png, {stem}.webp"
    with np.load(f"{stem}.npz") as file:
        assert file["w"].shape == (4, 8)
        assert sum(name.endswith("/noise") for name in file.files) == 4
    about = json.loads(Path(f"{stem}.json").read_text())
    assert about["seed"] == 0 and about["noise"] and about["target"] == str(picture)
    assert [step for step, _ in about["search"]] == [0, 1, 2, 3, 4]
    assert min(found for _, found in about["search"]) > 0 and about["tuning"] == []
    assert not Path(f"{stem}_tuned").exists()
    with Image.open(f"{stem}.webp") as film:
        assert film.n_frames == 5


def distance_of(generator, file, image):
    """Returns how far the image of the w in a file is from one of 8x8."""
    with np.load(file) as arrays:
        found = generator.synthesis(arrays["w"][None], noise="fixed")
    pixels, _ = read_target(image, 8, 3)
    return float(multiscale(3)(127.5 * found + 127.5, pixels[None] * 1.0)[0])


def test_w_makes_the_image_that_was_found(project, tmp_path, picture):
    model = write_model(tmp_path / "000001_r008", stage=8)
    project(model, picture, per_layer=True, out=str(tmp_path / "found"), film="gif")
    about = json.loads((tmp_path / "found.json").read_text())
    found = distance_of(progan_jax.load(model), tmp_path / "found.npz", picture)
    assert found == pytest.approx(about["search"][-1][1], rel=1e-3)
    assert (tmp_path / "found.gif").exists()


def test_tuning_writes_a_generator_whose_image_of_w_is_nearer(
    project, tmp_path, picture, capsys
):
    model = write_model(tmp_path / "000001_r008", stage=8)
    out = tmp_path / "found"
    project(model, picture, pti=True, pti_steps=20, out=str(out))
    told = capsys.readouterr().out.splitlines()
    assert "tuning step 20 of 20: distance" in told[-2]
    assert told[-1].endswith(f", {out}_tuned")
    about = json.loads((tmp_path / "found.json").read_text())
    assert [step for step, _ in about["tuning"]] == list(range(21))
    assert about["tuning"][0][1] == pytest.approx(about["search"][-1][1], rel=1e-4)
    before, tuned = progan_jax.load(model), progan_jax.load(f"{out}_tuned")
    assert tuned.info["tuned"]["steps"] == 20
    assert tuned.info["tuned"]["target"] == "me.png"
    found = [distance_of(g, f"{out}.npz", picture) for g in (before, tuned)]
    assert found[1] < found[0]
    assert found[1] == pytest.approx(about["tuning"][-1][1], rel=1e-3)


def test_lpips_is_used_where_its_weights_are(
    project, tmp_path, picture, monkeypatch, capsys
):
    tool = sys.modules["progan_jax.tools.project"]
    stub = Partial(lambda a, b: jnp.mean(jnp.square(a - b), axis=(1, 2, 3)))
    monkeypatch.setattr(tool, "load_lpips", lambda file: Weights("lpips-stub", {}))
    monkeypatch.setattr(tool, "lpips", lambda weights: stub)
    project(write_model(tmp_path / "000001_r016"), picture, steps=1)
    assert "distance: lpips-stub, e3b0c442\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("family", "image", "flags", "message"),
    [
        ("progan", "me.png", {}, "projection is for style-based generators, and"),
        ("stylegan", "no.png", {}, "no.png: it cannot be read as an image"),
        ("stylegan", "me.png", {"seed": -1}, "--seed=-1 must lie in"),
        ("stylegan", "me.png", {"class": "2"}, "--class=2: this generator has no cla"),
        (
            "stylegan",
            "me.png",
            {"lpips_weights": "x"},
            "--lpips_weights=x: there are no LPIPS weights in x; ",
        ),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    project, tmp_path, picture, family, image, flags, message
):
    model = write_model(tmp_path / "000001_r016", family)
    with pytest.raises(UserError) as error:
        project(model, tmp_path / image, **flags)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (model / "projections").exists()


def test_a_model_with_classes_needs_one(project, tmp_path, picture):
    model = write_model(tmp_path / "000001_r016", num_classes=3)
    with pytest.raises(UserError, match=r"--class is missing: name the class of IMAGE"):
        project(model, picture)


def test_an_unwritable_place_is_reported_before_the_search(
    project, tmp_path, picture, monkeypatch
):
    def search(*_):
        raise AssertionError("nothing may be searched for")

    monkeypatch.setattr(sys.modules["progan_jax.tools.project"], "project", search)
    model = write_model(tmp_path / "000001_r008", stage=8)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "found", "/proc/found"):
        with pytest.raises(UserError, match=f"^--out={out}: .*; choose another place"):
            project(model, picture, out=str(out))
