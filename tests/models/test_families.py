"""A second family, from training to samples, measurements and a published card."""

import json
import pickle
from dataclasses import replace

import jax
import numpy as np
import pytest
import safetensors.numpy
from jax import export

import progan_jax
from progan_jax.configs import base
from progan_jax.data.sources import load_digits
from progan_jax.errors import UserError
from progan_jax.evaluate import evaluate
from progan_jax.explain import explain
from progan_jax.inference.export import export_generator
from progan_jax.inference.publish import settle_licence, write_publication
from progan_jax.inference.sampling import draw_inputs
from progan_jax.inference.snapshot import list_snapshots, read_info, read_snapshot
from progan_jax.metrics import image_sources
from progan_jax.metrics.image_sources import Reals, open_fakes
from progan_jax.models.families import FAMILIES
from progan_jax.models.options import Rule
from progan_jax.train import train
from progan_jax.training import validation
from progan_jax.training.workdir import read_config
from tests.second_family import FAMILY, SCALE


@pytest.fixture(autouse=True)
def second(monkeypatch):
    monkeypatch.setitem(FAMILIES, "second", FAMILY)
    monkeypatch.setitem(validation._RULES, "family", Rule(choices=tuple(FAMILIES)))


def second_config(config):
    ours = base.get_config("second")
    for group in ("data", "schedule", "train", "runtime"):
        ours[group].update(config[group])
    ours.train.snapshot_networks = True
    ours.optim.ema_after = "d_step"
    ours.eval.metrics = "swd"
    ours.eval.num_images = 64
    return ours


@pytest.fixture
def run(tiny_config, tmp_path):
    config = second_config(tiny_config)
    train(config, tmp_path / "run")
    return config, tmp_path / "run"


def averages(folder, name="generator"):
    arrays = safetensors.numpy.load_file(folder / f"{name}.safetensors")
    return arrays["stats/average"]


def test_a_second_family_trains_grows_and_resumes_with_its_stats(run):
    config, folder = run
    *_, newest = list_snapshots(folder)
    assert read_info(newest)["family"] == "second"
    assert read_info(newest)["stage"]["resolution"] == 16
    # Its stats are stored as they were at the average's update, and at the end.
    assert np.abs(averages(newest)).max() > 0.01
    assert not np.array_equal(averages(newest), averages(newest, "trained_generator"))
    seen = safetensors.numpy.load_file(newest / "discriminator.safetensors")
    assert seen["stats/seen"] == 4 * 320  # Each loss applies D to reals and fakes.
    stopped = folder.with_name("stopped")
    config.schedule.total_kimg = 0.272
    train(config, stopped)
    config.schedule.total_kimg = 0.32
    train(config, stopped)
    *_, again = list_snapshots(stopped)
    for name in ("generator", "trained_generator", "discriminator"):
        files = [f / f"{name}.safetensors" for f in (newest, again)]
        assert files[0].read_bytes() == files[1].read_bytes()
    stored = read_config(folder, "--workdir")
    assert stored.model.contrast == 1.0 and "fmap_base" not in stored.model


def test_its_frozen_arrays_reach_the_losses_and_no_file(
    tiny_config, tmp_path, monkeypatch
):
    config = second_config(tiny_config)
    config.schedule.g_learning_rate = config.schedule.d_learning_rate = "0"
    config.schedule.total_kimg = 0.032
    config.schedule.start_resolution = 16
    scores = []
    for scale in (1.0, SCALE):
        frozen = {"scale": np.float32(scale)}
        monkeypatch.setattr(FAMILY, "load_frozen", lambda *_, f=frozen: f)
        train(config, tmp_path / str(scale))
        [row] = (tmp_path / str(scale) / "stats.jsonl").read_text().splitlines()
        scores.append(json.loads(row)["Loss/real_scores"])
    assert scores[1] == pytest.approx(SCALE * scores[0])
    [folder] = list_snapshots(tmp_path / str(SCALE))
    arrays = safetensors.numpy.load_file(folder / "discriminator.safetensors")
    assert arrays.keys() == {"gain", "stats/seen"}


def test_its_generators_are_sampled_exported_and_pickled_with_their_stats(run):
    _, folder = run
    g = progan_jax.load(folder)
    z, _ = draw_inputs(g.network, 4, seed=1)
    gains = np.prod([np.float32(gain) for gain in g.params.values()])
    images = gains * z.reshape(-1, 4, 4, 1).repeat(4, axis=1).repeat(4, axis=2)
    images += averages(list_snapshots(folder)[-1]).mean()
    np.testing.assert_allclose(g.sample(4, seed=1), images, atol=1e-5)
    program = export.deserialize(bytearray(export_generator(g)))
    np.testing.assert_allclose(program.call(z), images, atol=1e-5)
    again = pickle.loads(pickle.dumps(g))
    np.testing.assert_allclose(again.sample(4, seed=1), images, atol=1e-5)


def test_samples_have_the_noise_of_their_number_and_seed(
    tiny_config, tmp_path, monkeypatch
):
    config = second_config(tiny_config)
    config.model.noise, config.model.num_classes = 0.5, 10
    config.schedule.total_kimg = 0.032
    config.schedule.start_resolution = 16
    train(config, tmp_path)
    g = progan_jax.load(tmp_path)
    z, labels = draw_inputs(g.network, 5, seed=3)
    assert labels.max() > 0
    quiet = g.network.clone(options=replace(g.network.options, noise=0.0))
    one_hot = jax.nn.one_hot(labels, 10)
    plain = quiet.apply(g.variables, z, one_hot)
    noise = g.sample(5, seed=3) - plain
    np.testing.assert_allclose(g.sample(2, seed=3) - plain[:2], noise[:2], atol=1e-5)
    assert np.ptp(noise, axis=(1, 2, 3)).max() < 1e-5 < np.ptp(noise[:, 0, 0, 0])
    again = g(z, labels) - plain  # Of another seed.
    assert np.abs(again - noise).max() > 0.01
    # In metrics it continues from chunk to chunk: here images differ by it alone.
    monkeypatch.setattr(image_sources, "chunk_size", lambda side: 4)
    monkeypatch.setattr(
        image_sources, "draw_latents", lambda key, n, size: np.zeros((n, size), "f4")
    )
    reals = Reals(load_digits(16), 16, seed=0, mirror=False)
    weights, info = read_snapshot(list_snapshots(tmp_path)[-1])
    info["dataset"]["fingerprint"] = reals.pyramid.fingerprint
    fakes = open_fakes("it", weights, info, reals, None)
    classes = reals.labels(12)
    shades = np.concatenate(list(fakes.chunks(12)))[:, 0, 0, 0] - 12.75 * classes
    between = np.abs(shades[:, None] - shades[None]) + 255 * np.eye(12)
    assert (between.min(axis=1) > 0.5).sum() > 8


def test_a_run_starts_from_its_networks_and_their_stats(run, tmp_path):
    config, folder = run
    config.init_from = str(folder)
    config.schedule.start_resolution = 16
    config.schedule.total_kimg = 0.032
    train(config, tmp_path / "next")
    *_, before = list_snapshots(folder)
    [after] = list_snapshots(tmp_path / "next")
    counts = [
        safetensors.numpy.load_file(f / "discriminator.safetensors")["stats/seen"]
        for f in (before, after)
    ]
    assert counts[1] - counts[0] == 4 * 32
    # Two networks of other options do not mix.
    config.model.contrast = 0.5
    with pytest.raises(UserError, match=r"set config\.model\.contrast to 1\.0"):
        train(config, tmp_path / "other")


def test_its_runs_are_explained_measured_reported_and_published(run, tmp_path):
    config, folder = run
    assert "16x16" in explain(config, False)
    assert "swd" in evaluate(config, folder)
    page = (folder / "report.html").read_text()
    assert "model.contrast" in page and "fmap_base" not in page
    assert ">Square<" in page and "gradient" not in page
    assert "Second GAN" in page and "Progressive GAN" not in page
    snapshot = list_snapshots(folder)[-1]
    write_publication(
        snapshot,
        tmp_path / "card",
        settle_licence(read_info(snapshot), "mit"),
        title="Second",
        source="path",
        with_trained=True,
        records=[],
        base=None,
    )
    card = (tmp_path / "card/README.md").read_text()
    assert "A generator of Second GAN ([Doe 2026](https://example.org/second))" in card
    assert "contrast" in card and "topology" not in card


def test_a_configuration_of_an_unknown_family_is_refused_in_a_line(run):
    _, folder = run
    record = json.loads((folder / "config.json").read_text())
    record["config"]["family"] = "third"
    del record["checksum"]
    (folder / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"config\.family = 'third'"):
        read_config(folder, "--workdir")


def test_a_snapshot_without_the_stats_that_its_networks_need_is_refused(run):
    _, folder = run
    g = progan_jax.load(folder)
    info = dict(g.info)
    with pytest.raises(UserError, match="stats/average has the shape None"):
        type(g)(jax.device_get(g.params), info, "it")
