"""Writers of a run: TensorBoard's files, and W&B's own library in its offline mode."""

import importlib.util
import sys

import numpy as np
import pytest
import wandb

from progan_jax.errors import UserError
from progan_jax.runtime import writers as module
from progan_jax.runtime.writers import Writers, check_writers, parse_writers
from tests.wandb_runs import offline, settings, starts

__all__ = ["offline", "settings"]

HAS_TENSORBOARD = all(
    importlib.util.find_spec(name) for name in ("tensorflow", "tensorboard")
)


def row(nimg, **changes):
    scalars = {"Progress/nimg": nimg, "Progress/kimg": nimg / 1000, "Loss/g_loss": None}
    return scalars | changes


def write(folder, names, *nimgs, rows=(), images=()):
    """Opens writers after some rows, and gives them more."""
    writers = Writers(names, folder, [row(n) for n in rows], {"seed": 7})
    for nimg in nimgs:
        writers.write_scalars(nimg, row(nimg))
        if nimg in images:
            grid = np.full((1, 6, 8, 1), nimg // 100, np.uint8)
            writers.write_images(nimg, {"fakes": grid})
    writers.close()


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="needs the tf extra")
def test_tensorboard_holds_each_tick_once_after_a_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path, "tensorboard", 1000, 2000, 3000, images=[2000])
    write(tmp_path, "tensorboard", 2000, 3000, rows=[1000])
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"tensors": 0})
    events.Reload()
    (tag,) = [t for t in events.Tags()["tensors"] if t == "Progress/kimg"]
    assert [e.step for e in events.Tensors(tag)] == [1000, 2000, 3000]


def test_a_missing_tensorboard_is_not_mentioned(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    write(tmp_path, "tensorboard", 1000)
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "tb").exists()


def test_wandb_has_one_run_for_all_starts_and_every_step_once(offline):
    write(offline, "wandb", 1000, 2000, 3000, images=[2000])
    # Killed after the third row, which is trained again.
    write(offline, "wandb", 3000, 4000, rows=[1000, 2000])
    (first, early), (second, late) = starts(offline)
    assert first.run_id == second.run_id
    assert (first.project, first.display_name) == ("progan_jax", "run")
    assert ("seed", "7") in [(c.key, c.value_json) for c in first.config.update]
    assert (sorted(early), sorted(late)) == ([1000, 2000, 3000], [4000])
    assert early[1000]["Progress/kimg"] == 1.0
    assert "Loss/g_loss" not in early[1000]
    image = {n: early[2000][f"fakes/{n}"] for n in ("_type", "height", "width")}
    assert image == {"_type": "images/separated", "height": 6, "width": 8}


def test_a_run_that_had_no_wandb_so_far_hands_over_all_its_rows(offline):
    write(offline, "wandb", 3000, rows=[1000, 2000])
    ((_, history),) = starts(offline)
    assert sorted(history) == [1000, 2000, 3000]


def test_another_run_has_an_identity_of_its_own_and_a_damaged_note_costs_that(offline):
    write(offline, "wandb", 1000)
    note = offline / "wandb" / "progan_jax.json"
    note.write_text(note.read_text().replace("1000", "9000"))
    write(offline, "wandb", 2000, rows=[1000])
    (first, _), (second, history) = starts(offline)
    assert first.run_id != second.run_id
    assert sorted(history) == [1000, 2000]


def test_what_is_disabled_is_not_taken_as_sent(settings, tmp_path):
    settings.setenv("WANDB_MODE", "disabled")
    write(tmp_path / "run", "wandb", 1000)
    wandb.teardown()
    settings.setenv("WANDB_MODE", "offline")
    write(tmp_path / "run", "wandb", 2000, rows=[1000])
    ((_, history),) = starts(tmp_path / "run")
    assert sorted(history) == [1000, 2000]


def test_without_a_key_one_line_comes_before_the_run(settings, capsys):
    with pytest.raises(UserError, match="'wandb' cannot be used: it has no API key; "):
        check_writers("tensorboard,wandb")
    settings.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    check_writers("wandb")
    check_writers("tensorboard")
    assert capsys.readouterr().out == ""


def test_a_key_of_another_form_is_a_line(settings):
    settings.setenv("WANDB_API_KEY", "short")
    with pytest.raises(UserError, match=r"cannot be used: WANDB_API_KEY invalid.*; pi"):
        check_writers("wandb")


def test_without_the_extra_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"not installed; pip install wandb"):
        check_writers("wandb")


def test_a_run_that_cannot_be_opened_is_a_line(offline, monkeypatch):
    def fail(**options):
        raise wandb.errors.CommError("no route\nto host")

    monkeypatch.setattr(wandb, "init", fail)
    with pytest.raises(UserError, match="cannot be used: no route to host; pip inst"):
        write(offline, "wandb", 1000)


class Failing:
    """Fails at its second row."""

    def __init__(self, workdir, rows, config):
        self.steps, self.closed = [], 0
        Failing.opened = self

    def write_scalars(self, step, scalars):
        self.steps.append(step)
        if len(self.steps) == 2:
            raise ConnectionError("no route\nto host")

    def write_images(self, step, images):
        raise AssertionError

    def close(self):
        self.closed += 1


class Whole(Failing):
    def __init__(self, *arguments):
        self.steps, self.closed = [], 0
        Whole.opened = self

    def write_scalars(self, step, scalars):
        self.steps.append(step)


def test_a_writer_that_fails_is_left_out_with_one_warning(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(module, "WRITERS", {"bad": Failing, "good": Whole})
    write(tmp_path, "bad,good", 1000, 2000, 3000)
    assert (Failing.opened.steps, Failing.opened.closed) == ([1000, 2000], 0)
    assert (Whole.opened.steps, Whole.opened.closed) == ([1000, 2000, 3000], 1)
    assert capsys.readouterr().err == (
        "warning: config.train.writers: bad has failed (no route to host) and is left "
        "out until the next start; stats.jsonl and grids/ have everything\n"
    )


def test_names_of_writers_are_separated_by_commas():
    assert parse_writers(" wandb, tensorboard,wandb,") == ["wandb", "tensorboard"]
    assert parse_writers("") == []
    with pytest.raises(UserError, match="no writer 'aim'; choose from tensorboard, w"):
        parse_writers("wandb,aim")
