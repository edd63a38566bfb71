"""Evaluation of a StyleGAN's run: by truncation, and along its latents."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from progan_jax.configs import base
from progan_jax.data import sources
from progan_jax.evaluate import evaluate
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.models.common import init_variables, to_weights
from progan_jax.training.config import family_of, model_options
from progan_jax.training.start import open_set
from progan_jax.weights.weight_files import Weights
from tests.metrics.snapshots import make_info
from tests.tiny_xl import coloured_digits
from tests.untrained import untrained

NAME = "000001.000_r032"


@pytest.fixture
def config():
    config = base.get_config("stylegan")
    config.data.name = "digits"
    model = {"resolution": 32, "channels": 1, "fmap_base": 64, "fmap_max": 8}
    model |= {"latent_size": 8, "w_size": 8, "mapping_width": 8, "mapping_layers": 2}
    config.model.update(model)
    config.schedule.batch_size = "8"
    config.runtime.num_devices = 1
    config.eval.num_images = 16
    return config


@pytest.fixture
def run(config, tmp_path, monkeypatch):
    """The folder of a run with one snapshot, and a stand-in for LPIPS."""

    def distance(a, b):
        return jnp.mean(jnp.square(a - b), axis=(1, 2, 3))

    module = "progan_jax.metrics.measure"
    monkeypatch.setattr(f"{module}.load_lpips", lambda file: Weights("stub", {}))
    monkeypatch.setattr(f"{module}.lpips", lambda weights: Partial(distance))
    networks = family_of(config).make_networks(model_options(config), 32)
    variables = untrained(init_variables, *networks).g
    # An average by which truncation shows.
    variables["stats"]["w_average"] = np.full(8, 3.0, np.float32)
    pyramid = open_set(config)
    dataset = {"name": pyramid.name, "fingerprint": pyramid.fingerprint}
    info = make_info(networks[0], "stylegan") | {"dataset": dataset}
    write_snapshot(tmp_path / "snapshots" / NAME, to_weights(variables), info)
    return tmp_path


def records(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_each_truncation_has_its_columns_and_its_records(config, run):
    config.eval.metrics = "swd,ppl_zend,ppl_wend"
    config.eval.truncation_psi = "1,0.5"
    config.eval.best = "swd_average_psi0.5"
    table = evaluate(config, run).splitlines()
    assert table[1:5] == [
        "swd: 16 images",
        "ppl_zend: 16 pairs, features stub, weights e3b0c442",
        "ppl_wend: 16 pairs, features stub, weights e3b0c442",
        "truncation psi 1, 0.5; 1 is none",
    ]
    swd = ["swd_32", "swd_16", "swd_average"]
    truncated = [f"{name}_psi0.5" for name in swd]
    columns = ["snapshot", "kimg", *swd, *truncated, "ppl_zend", "ppl_wend"]
    assert table[5].split() == columns
    assert len(table[6].split()) == 1 + len(swd)  # Real images are not truncated.
    assert len(table[7].split()) == len(columns)
    assert table[8] == f"best by swd_average_psi0.5: {NAME}"
    found = [
        (r["snapshot"], r["metric"], r["settings"]["truncation_psi"])
        for r in records(run)
    ]
    assert found == [
        ("reals", "swd", 1),
        (NAME, "swd", 1),
        (NAME, "swd", 0.5),
        (NAME, "ppl_zend", 1),
        (NAME, "ppl_wend", 1),
    ]
    plain, half = (r["values"] for r in records(run)[1:3])
    assert half["swd_average_psi0.5"] != pytest.approx(plain["swd_average"], rel=0.01)
    lengths = [next(iter(r["values"].values())) for r in records(run)[3:]]
    assert all(np.isfinite(lengths)) and min(lengths) > 0


def test_what_was_measured_without_truncation_is_not_measured_again(config, run):
    config.eval.metrics = "swd"
    evaluate(config, run)
    config.eval.truncation_psi = "0.5,1"
    evaluate(config, run)
    psis = [r["settings"]["truncation_psi"] for r in records(run)]
    assert psis == [1, 1, 0.5]


class Means:
    """Stands in for Inception: the mean of each channel."""

    def __init__(self, weights, **options):
        del options
        self.weights = weights

    def extract(self, images, taps):
        return dict.fromkeys(taps, images.mean((1, 2)).astype(np.float32))


def test_images_of_several_latents_are_measured_apart(config, run, monkeypatch):
    module = "progan_jax.metrics.features"
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(run / "cache"))
    monkeypatch.setattr(f"{module}.load_inception", lambda file: Weights("stub", {}))
    monkeypatch.setattr(f"{module}.require_tap", lambda weights, tap: None)
    monkeypatch.setattr(f"{module}.InceptionExtractor", Means)
    config.eval.metrics = "fid,fid_mixed_2,fid_mixed_4"
    evaluate(config, run)
    found = {r["metric"]: r for r in records(run) if r["snapshot"] == NAME}
    values = [r["values"][metric] for metric, r in found.items()]
    assert len(set(values)) == 3 and np.isfinite(values).all()
    latents = [r["settings"].get("latents") for r in found.values()]
    assert latents == [None, 2, 4]


def test_a_stylegan_xl_is_measured_by_moves_of_its_input(
    tiny_xl, tmp_path, monkeypatch
):
    monkeypatch.setattr(sources, "load", lambda *_: coloured_digits())
    tiny_xl.runtime.num_devices = 1
    tiny_xl.eval.metrics, tiny_xl.eval.num_images = "eqt_int,eqt_frac", 8
    tiny_xl.eval.best = "eqt_frac"
    options = model_options(tiny_xl)
    networks = family_of(tiny_xl).make_networks(options, options.resolution)
    variables = untrained(init_variables, *networks).g
    # Mean squares of the layers' inputs are positive.
    variables["stats"] = jax.tree.map(np.abs, variables["stats"])
    pyramid = open_set(tiny_xl)
    dataset = {"name": pyramid.name, "fingerprint": pyramid.fingerprint}
    info = make_info(networks[0], "stylegan_xl") | {"dataset": dataset}
    write_snapshot(tmp_path / "snapshots" / "000001_r016", to_weights(variables), info)
    table = evaluate(tiny_xl, tmp_path).splitlines()
    assert table[1:3] == ["eqt_int: 8 samples", "eqt_frac: 8 samples"]
    assert table[3].split() == ["snapshot", "kimg", "eqt_int", "eqt_frac"]
    assert len(table[5].split()) == 4 and len(table[4].split()) == 1
    assert table[6] == "best by eqt_frac: 000001_r016"
    settings = [record["settings"] for record in records(tmp_path)]
    assert [each["farthest"] for each in settings] == [0.125, 0.125]
