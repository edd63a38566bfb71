"""Runs whose rows and grids also go elsewhere."""

import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.runtime import writers
from progan_jax.runtime.logging import read_rows
from progan_jax.train import train
from tests.hub_server import no_token
from tests.wandb_runs import offline, settings, starts

__all__ = ["no_token", "offline", "settings"]

pytestmark = pytest.mark.usefixtures("shared_programs")


def nimgs(run):
    return [row["Progress/nimg"] for row in read_rows(run / "stats.jsonl")]


def test_wandb_gets_every_tick_and_grid_of_a_run_that_is_made_longer(
    offline, tiny_config
):
    tiny_config.train.writers = "wandb"
    train(tiny_config, offline)
    first = nimgs(offline)
    tiny_config.schedule.total_kimg = 0.384
    train(tiny_config, offline)
    (run, early), (same, late) = starts(offline)
    assert run.run_id == same.run_id
    assert sorted(early) == [0, *first]  # A grid comes before the first tick.
    # The short tick of the first end is left out of stats.jsonl, and stays there.
    assert sorted(late) == [n for n in nimgs(offline) if n > first[-1]]
    assert all("fakes/_type" in values for values in (early | late).values())
    for row in read_rows(offline / "stats.jsonl"):
        sent = (early | late)[row["Progress/nimg"]]
        assert sent["Loss/fake_scores"] == row["Loss/fake_scores"]


class Failing:
    """Fails from the third row on."""

    def __init__(self, workdir, rows, config):
        self.rows, self.images = 0, []

    def write_scalars(self, step, scalars):
        self.rows += 1
        if self.rows > 2:
            raise OSError(28, "No space left on device")

    def write_images(self, step, images):
        assert images["fakes"].shape == (1, 2 * 16, 4 * 16, 1)
        assert images["fakes"].dtype == np.uint8

    def close(self):
        raise AssertionError("it has failed before")


def test_a_writer_that_fails_costs_a_run_nothing(
    tiny_config, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(writers.WRITERS, "wandb", Failing)
    tiny_config.train.writers = "wandb"
    monkeypatch.setattr("progan_jax.train.check_writers", lambda names: None)
    train(tiny_config, tmp_path / "run")
    assert len(nimgs(tmp_path / "run")) == 11
    assert capsys.readouterr().err.count("wandb has failed (No space left on dev") == 1


def test_a_missing_key_ends_in_a_line_before_anything_is_written(
    settings, tiny_config, tmp_path
):
    tiny_config.train.writers = "tensorboard,wandb"
    with pytest.raises(UserError, match=r"config.train.writers = 'wandb' cannot be us"):
        train(tiny_config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("field", ["writers", "push_to_hub"])
@pytest.mark.usefixtures("settings", "no_token")
def test_a_missing_key_or_token_comes_before_the_images_are_opened(
    field, tiny_config, tmp_path
):
    tiny_config.train[field] = {"writers": "wandb", "push_to_hub": "me/net"}[field]
    tiny_config.data.name, tiny_config.data.data_dir = "nothing", str(tmp_path)
    with pytest.raises(UserError, match=f"^config.train.{field}"):
        train(tiny_config, tmp_path / "new")


def test_an_unknown_writer_is_a_line(tiny_config, tmp_path):
    tiny_config.train.writers = "tensorbord"
    with pytest.raises(UserError, match="there is no writer 'tensorbord'; choose from"):
        train(tiny_config, tmp_path / "run")
