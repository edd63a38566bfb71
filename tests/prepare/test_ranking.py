import csv
import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from progan_jax.data.decoding import BadImage
from progan_jax.errors import UserError
from progan_jax.prepare import ranking
from progan_jax.prepare.ranking import Score, keep_best, score_images, write_scores
from progan_jax.prepare.readers import Item, Reader

# Deviations of a blur: the less, the better.
BLURS = [1, 0, 1.5, 0.5, 2, 0.25, 1.25]


class Blurred(Reader):
    """One scene, blurred more or less; some images bad."""

    name, num_classes = "blurred", 0

    def __init__(self, bad=()):
        self.bad = bad
        self.read = []

    def __len__(self):
        return len(BLURS)

    def __getitem__(self, index):
        self.read.append(index)
        if index in self.bad:
            raise BadImage("it has no landmarks")
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        blur = ImageFilter.GaussianBlur(BLURS[index])
        return Item(
            self.name_of(index), np.asarray(Image.fromarray(noise).filter(blur)), 0
        )

    def name_of(self, index):
        return f"{index}.jpg"


def score(reader, folder, workers=1, strict=False, report=lambda count: None):
    return score_images(reader, folder / "scores", strict, workers, report)


def test_the_best_are_kept_in_the_order_of_the_source(tmp_path):
    reader = Blurred()
    kept = keep_best(reader, score(reader, tmp_path), 3)
    assert [item.name for item in map(kept.__getitem__, range(3))] == [
        "1.jpg",
        "3.jpg",
        "5.jpg",
    ]


def test_of_equal_images_the_first_are_kept():
    scores = [-3.0, -1.0, -2.0, -1.0, -20.0, -2.0]
    scores = [Score(k, f"{k}.jpg", score) for k, score in enumerate(scores)]
    kept = [list(keep_best(Blurred(), scores, keep).indices) for keep in (1, 3, 4)]
    assert kept == [[1], [1, 2, 3], [1, 2, 3, 5]]


def test_bad_images_are_never_kept_and_have_a_reason(tmp_path):
    reader = Blurred(bad=(1, 4))
    scores = score(reader, tmp_path)
    assert [(s.name, s.reason) for s in scores if s.score is None] == [
        ("1.jpg", "it has no landmarks"),
        ("4.jpg", "it has no landmarks"),
    ]
    assert list(keep_best(reader, scores, 5).indices) == [0, 2, 3, 5, 6]
    with pytest.raises(
        UserError, match="--keep=6: only 5 of 7 photographs can be used; lower it"
    ):
        keep_best(reader, scores, 6)
    with pytest.raises(UserError, match=r"1\.jpg: it has no landmarks; omit --strict"):
        score(reader, tmp_path / "other", strict=True)


def test_scores_are_kept_as_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(ranking, "_PART", 2)
    (tmp_path / "x").mkdir()
    stopped = Blurred()
    steps = itertools.count()

    def report(count):
        if next(steps) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(stopped, tmp_path, report=report)
    assert stopped.read == [0, 1, 2, 3]
    resumed, counts = Blurred(), []
    scores = score(resumed, tmp_path, report=counts.append)
    assert resumed.read == [4, 5, 6]
    assert counts == [2, 2, 2, 1]
    assert scores == score(Blurred(), tmp_path / "x")


def test_processes_make_the_same_scores(tmp_path):
    (tmp_path / "x").mkdir()
    assert score(Blurred(), tmp_path, workers=2) == score(Blurred(), tmp_path / "x")


def test_the_table_says_what_was_kept(tmp_path):
    reader = Blurred(bad=(1,))
    scores = score(reader, tmp_path)
    write_scores(tmp_path / "scores.csv", scores, keep_best(reader, scores, 2))
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["image"] for r in rows] == [f"{i}.jpg" for i in (0, 2, 3, 4, 5, 6)]
    assert [r["image"] for r in rows if r["kept"] == "1"] == ["3.jpg", "5.jpg"]
    by_score = sorted(rows, key=lambda row: -float(row["score"]))
    assert [BLURS[int(r["image"][0])] for r in by_score] == [0.25, 0.5, 1, 1.25, 1.5, 2]
