"""The tool on the embedded digits."""

import csv
import json

import pytest
from absl.testing import flagsaver

from progan_jax.configs import digits
from progan_jax.data.sources import load_digits
from progan_jax.errors import UserError
from progan_jax.metrics.classifier import read_classifier


@pytest.fixture
def train_classifier(import_tool, tmp_path):
    """Returns a function that runs the tool with flags and changes of the recipe."""
    tool = import_tool("train_classifier")

    def call(out, resolution=8, **values):
        config = digits.get_config()
        config.model.resolution = resolution
        config.data.data_dir = str(tmp_path)
        flags = {"test_split": "", "epochs": 2, "width": 4} | values
        with flagsaver.flagsaver(config=config, out=str(out), **flags):
            tool.main()

    return call


def test_classifier_its_description_and_its_curve_are_written(
    tmp_path, train_classifier, capsys
):
    out = tmp_path / "new" / "digits"
    train_classifier(out, architecture="digit")
    printed = capsys.readouterr()
    assert printed.err == ""
    assert sorted(p.name for p in out.parent.iterdir()) == [
        "digits.csv",
        "digits.json",
        "digits.safetensors",
    ]
    classifier = read_classifier(out, fingerprint=load_digits(8).fingerprint)
    *epochs, last = printed.out.splitlines()
    assert [line.split()[:2] for line in epochs] == [["epoch", "1"], ["epoch", "2"]]
    assert last.startswith(f"{classifier}: ")
    with (tmp_path / "new" / "digits.csv").open() as file:
        rows = list(csv.DictReader(file))
    info = json.loads((tmp_path / "new" / "digits.json").read_text())
    assert info["test_accuracy"] == float(rows[-1]["test_accuracy"])
    # Images 9, 19, ..., 1789 of 1,797 are held back.
    assert info["training"]["test_images"] == 179
    assert info["training"]["images"] == 1797 - 179
    assert info["training"]["epochs"] == info["training"]["epochs_begun"] == 2
    with pytest.raises(UserError, match="there is a classifier already"):
        train_classifier(out)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"minutes": 0.0}, "--minutes=0.0 must be more than 0; raise it"),
        ({"resolution": 128}, "config.model.resolution = 128 must"),
        ({"test_split": "train"}, "--test_split=train is config.data.split"),
        ({"test_split": "test"}, "--test_split=test: config.data.split = 'test'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, values, message, train_classifier):
    with pytest.raises(UserError) as caught:
        train_classifier(tmp_path / "digits", **values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_refused_before_the_training(
    tmp_path, train_classifier, capsys
):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"--out={tmp_path / 'file' / 'digits'}: "):
        train_classifier(tmp_path / "file" / "digits")
    assert capsys.readouterr().out == ""
