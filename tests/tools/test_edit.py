"""The tool on networks with golden or random weights."""

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

import progan_jax
from progan_jax.errors import UserError
from tests.styled import write_styled
from tests.tools.test_project import write_model


@pytest.fixture
def call(import_tool, monkeypatch):
    tool = import_tool("edit")
    monkeypatch.setattr(tool, "keep_compiled", lambda: None)

    def run(model, **flags):
        with flagsaver.flagsaver(**flags):
            tool.main(str(model))

    return run


def write_labels(path, model, count=60, **sample):
    """Labels the files of tools.sample: 1 where the image is brighter than most."""
    images = progan_jax.load(model).sample(count, 5, **sample)
    bright = images.mean(axis=(1, 2, 3))
    lines = [f"{n:06d}.png,{int(b > np.median(bright))}" for n, b in enumerate(bright)]
    path.write_text("image,bright\n" + "\n".join(reversed(lines)) + "\n")
    return str(path)


@pytest.mark.parametrize("family", ["progan", "stylegan"])
def test_images_become_brighter_along_the_direction_of_bright_ones(
    call, tmp_path, capsys, family
):
    model = write_model(tmp_path / "it", family, stage=8)
    style = {"noise": "fixed", "truncation_psi": 1.0} if family == "stylegan" else {}
    labels = write_labels(tmp_path / "bright.csv", model, 200, **style)
    psi = {"truncation_psi": 1.0} if family == "stylegan" else {}
    call(model, labels=labels, label_seed=5, seeds="0,1", strengths=["-2", "2"], **psi)
    stem = model / "edits" / "bright_it"
    told = capsys.readouterr().out
    assert told.startswith(f"{stem}.png, .npz: ")
    assert (model / "edits" / "bright_it.npz").exists()
    assert "% of held-out labels are told (chance: 50%)" in told
    assert int(told.split("% of held")[0].rsplit(" ", 1)[1]) > 70
    with Image.open(f"{stem}.png") as image:
        sheet = np.asarray(image, float)
    height, width, _ = sheet.shape
    for row in (1, 2):
        top = height - row * 132
        left, right = (
            sheet[top : top + 128, width - back : width - back + 128].mean()
            for back in (264, 132)
        )
        assert left < right


def test_a_direction_that_was_written_draws_the_same_sheet(call, tmp_path, capsys):
    model = write_styled(tmp_path / "it", "fused", ("a", "b", "c", "d", "e"))
    labels = write_labels(tmp_path / "bright.csv", model, label="c")
    flags = {"seeds": "3", "strengths": ["0", "1"], "layers": "0-3", "class": "c"}
    call(model, labels=labels, label_seed=5, out=str(tmp_path / "first"), **flags)
    again = {"direction": str(tmp_path / "first.npz"), "out": str(tmp_path / "again")}
    call(model, **again, **flags)
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path / 'again'}.png"
    first, second = (tmp_path / f"{name}.png" for name in ("first", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no labels; write lines IMAGE,LABEL"),
        ("image,label\n", "it has no labels"),
        ("1,1\nx,1\n", "line 2 is 'x,1'; write IMAGE,LABEL, as in 000017.png,1"),
        ("1,yes\n", "line 1 is '1,yes'"),
        ("1\n", "line 1 is '1'"),
        ("1,1,1\n", "line 1 is '1,1,1'"),
        ("-1,1\n", "line 1 is '-1,1'"),
        ("1,nan\n", "line 1 is '1,nan'"),
        ("99999999,1\n", "line 1 is '99999999,1'"),
        ("1,1\n2,1\n", "labels: 2 images have 0 of one kind and 2 of the other"),
        ("1,1\n\n2,0\n", "labels: 2 images have 1 of one kind and 1 of the other"),
    ],
)
def test_labels_that_are_none_are_one_line(call, tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    model = write_model(tmp_path / "it", stage=8)
    with pytest.raises(UserError) as caught:
        call(model, labels=str(tmp_path / "labels.csv"))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (model / "edits").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "--labels or --direction is needed, and not both; give one"),
        ({"labels": "a", "direction": "b"}, "--labels or --direction is needed"),
        ({"labels": "no.csv"}, "--labels=no.csv: it cannot be read (No such file"),
        ({"direction": "no.npz"}, "no.npz: it cannot be read as a direction"),
        ({"labels": "a", "label_seed": -1}, "--label_seed=-1 must lie in"),
        ({"labels": "a", "strengths": ["1", "x"]}, "--strengths=1,x must be numbers"),
        ({"labels": "a", "strengths": ["inf"]}, "--strengths=inf must be numbers"),
        ({"labels": "a", "class": "1"}, "--class=1: this generator has no classes"),
    ],
)
def test_mistakes_are_one_line(call, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    model = write_model(tmp_path / "it", stage=8)
    with pytest.raises(UserError) as caught:
        call(model, **flags)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
