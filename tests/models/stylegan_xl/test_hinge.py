"""Hinge losses against loops, and against numbers of the authors' program."""

import numpy as np
import pytest

from progan_jax.models.stylegan_xl.hinge import d_hinge, g_hinge
from tests.stylegan_xl_golden import golden


def logits(seed):
    random = np.random.default_rng(seed)
    return [2 * random.standard_normal((3, width)).astype("f4") for width in (4, 6)]


def test_losses_are_sums_over_images_and_backbones_of_means_over_logits():
    reals, fakes = logits(0), logits(1)
    of_d = of_g = 0.0
    for backbone in range(2):
        for image in range(3):
            of_d += np.mean([max(0, 1 - s) for s in reals[backbone][image]])
            of_d += np.mean([max(0, 1 + s) for s in fakes[backbone][image]])
            of_g -= np.mean(fakes[backbone][image])
    np.testing.assert_allclose(d_hinge(reals, fakes), of_d, rtol=1e-6)
    np.testing.assert_allclose(g_hinge(fakes), of_g, rtol=1e-5)
    np.testing.assert_allclose(d_hinge(reals, fakes, "mean"), of_d / 6, rtol=1e-6)
    np.testing.assert_allclose(g_hinge(fakes, "mean"), of_g / 6, rtol=1e-5)


def stored(name):
    """Returns the authors' logits of four images, for each of two backbones."""
    return list(golden()[f"loss/{name}"].reshape(2, 4, -1))


def test_the_loss_of_d_is_the_authors_of_their_logits():
    loss = d_hinge(stored("Dmain/real_logits"), stored("Dmain/fake_logits"))
    np.testing.assert_allclose(loss, golden()["loss/Dmain/loss"], rtol=1e-6)


@pytest.mark.parametrize("case", ["Gmain_0kimg_cls0", "Gmain_90kimg_cls0"])
def test_the_loss_of_g_is_the_authors_of_their_logits(case):
    loss = g_hinge(stored(f"{case}/logits"))
    # Logits of both signs nearly cancel.
    np.testing.assert_allclose(loss, golden()[f"loss/{case}/loss"], atol=1e-5)


def test_another_reduction_is_refused():
    with pytest.raises(ValueError, match="'max' must be one of sum, mean"):
        g_hinge(logits(0), "max")
