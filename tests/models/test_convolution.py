"""The derivatives written for CPUs, against XLA's own."""

import jax
import numpy as np
import pytest
from jax import lax

from progan_jax.models import convolution
from progan_jax.models.convolution import conv2d, conv2d_down, conv2d_up


def reference(x, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers
    )


@pytest.fixture
def arrays(float64):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 5, 4, 3)), rng.normal(size=(3, 3, 3, 6))


def penalty(conv):
    """A function of both arguments whose gradient takes derivatives of second order."""

    def norm(x, kernel):
        def score(x):
            return jax.numpy.sum(jax.numpy.tanh(conv(x, kernel)))

        return jax.numpy.sum(jax.grad(score)(x) ** 3)

    return norm


def test_first_derivatives_equal_those_of_xla(arrays):
    def loss(conv):
        return jax.grad(lambda x, k: jax.numpy.sum(conv(x, k) ** 3), argnums=(0, 1))

    for ours, expected in zip(
        loss(conv2d)(*arrays), loss(reference)(*arrays), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_second_derivatives_equal_those_of_xla(arrays):
    ours = jax.grad(penalty(conv2d), argnums=(0, 1))(*arrays)
    expected = jax.grad(penalty(reference), argnums=(0, 1))(*arrays)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def resampled(direction):
    """The strided convolution, and the dilated one, as XLA has them."""

    def conv(x, kernel):
        up = direction == "up"
        kernel = kernel[::-1, ::-1].swapaxes(2, 3) if up else kernel
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1) if up else (2, 2),
            [(2, 2)] * 2 if up else [(1, 1)] * 2,
            lhs_dilation=(2, 2) if up else (1, 1),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    return conv


@pytest.mark.parametrize("form", ["cpu", "cpu, wide", "default"])
@pytest.mark.parametrize(
    ("ours", "direction"), [(conv2d_up, "up"), (conv2d_down, "down")]
)
def test_resampling_convolutions_and_their_derivatives_equal_xlas(
    float64, ours, direction, form, monkeypatch
):
    """In both forms for CPUs, and in that for other devices, here on a CPU too."""
    name, _, wide = form.partition(", ")
    monkeypatch.setattr(
        lax, "platform_dependent", lambda *arrays, **forms: forms[name](*arrays)
    )
    if wide:
        monkeypatch.setattr(convolution, "_NARROW", 2)
    rng = np.random.default_rng(2)
    shape = (4, 4, 5, 3) if direction == "up" else (4, 4, 3, 5)
    x, kernel = rng.normal(size=(2, 6, 4, 3)), rng.normal(size=shape)
    expected = resampled(direction)
    np.testing.assert_allclose(ours(x, kernel), expected(x, kernel), rtol=1e-12)
    for one, other in zip(
        jax.grad(penalty(ours), argnums=(0, 1))(x, kernel),
        jax.grad(penalty(expected), argnums=(0, 1))(x, kernel),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-11)


def test_single_pixel_kernels_mix_channels(arrays):
    x, _ = arrays
    kernel = np.random.default_rng(1).normal(size=(1, 1, 3, 2))
    np.testing.assert_allclose(conv2d(x, kernel), x @ kernel[0, 0], rtol=1e-12)


@pytest.mark.parametrize(
    ("conv", "side"), [(conv2d, 3), (conv2d_up, 4), (conv2d_down, 4)]
)
@pytest.mark.parametrize("order", [1, 2])
def test_programs_for_tpus_hold_convolutions_and_no_form_for_cpus(order, conv, side):
    """Whatever machine lowers them: here it has no TPU."""

    def loss(x, kernel):
        return (conv(x, kernel) ** 3).sum()

    function = jax.grad(loss if order == 1 else penalty(conv), argnums=(0, 1))
    maps = (6, 4) if conv is conv2d_up else (4, 6)
    shapes = [
        jax.ShapeDtypeStruct(s, "float32") for s in ((2, 8, 8, 4), (side, side, *maps))
    ]
    traced = jax.jit(function).trace(*shapes)
    tpu, cpu = (
        traced.lower(lowering_platforms=(name,)).as_text() for name in ("tpu", "cpu")
    )
    assert "stablehlo.dot_general" not in tpu
    assert "stablehlo.dot_general" in cpu
    if order == 1:
        assert tpu.count("stablehlo.convolution") == 3
