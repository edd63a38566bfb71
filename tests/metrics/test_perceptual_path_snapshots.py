"""Path lengths of snapshots, through the table of metrics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from progan_jax.errors import MissingWeightsError
from progan_jax.metrics import perceptual_path
from progan_jax.metrics.measure import MeasureOptions, Measurer
from progan_jax.runtime.mesh import batched, make_mesh
from progan_jax.weights.weight_files import Weights
from tests.metrics.snapshots import SIDE, make_fakes, make_reals

SEEN = []  # Shapes of images in all tests, which share their programs.


def distance(a, b):
    assert a.dtype == jnp.float32
    SEEN.append((a.shape, b.shape))
    return jnp.mean(jnp.square(a - b), axis=(1, 2, 3))


@pytest.fixture
def stand_in(monkeypatch):
    """Replaces LPIPS, and collects the images that it is given."""
    module = "progan_jax.metrics.measure"
    monkeypatch.setattr(f"{module}.load_lpips", lambda file: Weights("stub", {}))
    monkeypatch.setattr(f"{module}.lpips", lambda weights: Partial(distance))


def length(metric, fakes, pairs=20):
    measurer = Measurer(fakes.reals, MeasureOptions((metric,), num_images=pairs))
    values = measurer.measure(metric, fakes, pairs)
    assert set(measurer.names(metric)) == values.keys() == {metric}
    return values[metric]


def early(**settings):
    """A stage of few layers, whose images are enlarged."""
    return make_fakes(stage=8, **settings)


@pytest.mark.parametrize("metric", ["ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend"])
def test_lengths_are_finite_and_those_of_a_seed(stand_in, metric):
    first = length(metric, early())
    assert 0 < first < 1e12
    assert length(metric, early()) == first
    assert set(SEEN) == {((16, 16, 16, 3), (16, 16, 16, 3))}  # The crops of 16 pairs.


@pytest.mark.parametrize("devices", [3, 8])
def test_any_number_of_devices_gives_the_same(stand_in, devices):
    fakes = early()
    sharding = batched(make_mesh(jax.devices()[:devices]))
    options = MeasureOptions(("ppl_wfull",), num_images=20)
    values = Measurer(fakes.reals, options, sharding).measure("ppl_wfull", fakes, 20)
    # Other sums round otherwise, and the step leaves about three digits.
    assert values["ppl_wfull"] == pytest.approx(length("ppl_wfull", fakes), rel=0.01)


def test_pairs_of_an_image_share_their_noise(stand_in):
    """Other noise would move the images by far more than the step."""
    quiet, noisy = early(noise=False), early()
    assert length("ppl_wend", noisy) < 100 * length("ppl_wend", quiet)


def test_progan_has_those_of_z_and_only_early_stages_are_enlarged(stand_in):
    for stage in (16, SIDE):
        assert length("ppl_zend", make_fakes("progan", stage)) > 0
    assert set(SEEN) == {((16, 16, 16, 3), (16, 16, 16, 3))}


def test_a_pair_has_one_class_that_of_a_real_image(stand_in):
    assert length("ppl_wfull", early(num_classes=3)) > 0


def test_low_precision_of_training_does_not_reach_the_measure(stand_in):
    kinds = [early(dtype=dtype) for dtype in ("float32", "bfloat16")]
    exact, low = (length("ppl_wend", fakes) for fakes in kinds)
    assert low == pytest.approx(exact, rel=1e-3)


def test_snapshots_of_a_resolution_share_their_program(stand_in):
    compiled = perceptual_path._compiled
    fakes = early()
    length("ppl_wend", fakes)
    before = compiled._cache_size()
    moved = jax.tree.map(lambda x: 2 * x, fakes.variables)
    length("ppl_wend", dataclasses.replace(fakes, variables=moved))
    assert compiled._cache_size() == before


def test_without_weights_one_line_says_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.setenv("PROGAN_JAX_CACHE", str(tmp_path))
    with pytest.raises(MissingWeightsError) as error:
        Measurer(make_reals(), MeasureOptions(("ppl_wend",)))
    message = str(error.value)
    assert message.startswith("config.eval.lpips_weights = '': there are no LPIPS")
    assert "vgg16-397923af.pth" in message and "\n" not in message
    assert np.all([word in message for word in ("tools.convert_lpips", str(tmp_path))])
