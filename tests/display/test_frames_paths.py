"""Paths through the latents."""

import jax
import numpy as np
import pytest

from progan_jax.display.frames import circle, slerp, travel, wander
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.sampling import draw_latents, generator_from_snapshot
from progan_jax.models.common import init_generator
from tests.untrained import untrained


def test_a_wandering_path_is_its_latents_filtered_by_a_gaussian_around_the_circle():
    frames, sigma = 64, 3.0
    path = wander(1, frames, 2, 5, sigma)
    assert path.shape == (frames, 2, 5)
    assert path.dtype == np.float32
    latents = draw_latents(jax.random.key(1), frames * 2, 5).reshape(frames, 2, 5)
    frequencies = np.fft.fftfreq(frames)[:, None, None]
    response = np.exp(-2 * (np.pi * sigma * frequencies) ** 2)
    expected = np.fft.ifft(np.fft.fft(latents, axis=0) * response, axis=0).real
    expected /= np.sqrt(np.mean(expected**2))
    np.testing.assert_allclose(path, expected, atol=2e-3)


def test_its_mean_square_is_one_and_its_end_is_as_near_as_any_step():
    path = wander(2, 90, 3, 16, 10.0).astype(np.float64)
    assert np.mean(path**2) == pytest.approx(1)
    steps = np.linalg.norm(path - np.roll(path, 1, axis=0), axis=(1, 2))
    assert steps[0] < 2 * np.median(steps)
    rough = wander(2, 90, 3, 16, 0.0)
    assert np.linalg.norm(rough[0] - rough[-1]) > 5 * steps[0]


def test_slerp_goes_along_the_arc_at_even_speed():
    a, b = np.array([2.0, 0.0]), np.array([0.0, 4.0])
    np.testing.assert_allclose(slerp(a, b, 0.0), a)
    np.testing.assert_allclose(slerp(a, b, 1.0), b, atol=1e-15)
    third = 2 * (2 / 3) + 4 / 3
    angle = np.pi / 2 / 3
    expected = third * np.array([np.cos(angle), np.sin(angle)])
    np.testing.assert_allclose(slerp(a, b, 1 / 3), expected)
    np.testing.assert_allclose(slerp(a, 3 * a, 0.5), 2 * a)


def test_a_journey_passes_the_first_image_of_each_seed(tiny_config):
    info = {
        "stage": {"resolution": 8, "alpha": 1.0},
        "options": tiny_config.model.to_dict(),
    }
    generator = generator_from_snapshot(info)
    params = untrained(init_generator, generator)
    path = travel([1, 5, 9], 12, 8)
    assert path.shape == (12, 1, 8)
    for stop, seed in ((0, 1), (4, 5), (8, 9)):
        images = generator.apply({"params": params}, path[stop], alpha=1.0)
        drawn = to_uint8(TrainedGenerator(params, info, "a").sample(1, seed)).astype(
            float
        )
        expected = np.clip(np.asarray(images) * 127.5 + 127.5, 0, 255)
        np.testing.assert_allclose(drawn, expected, atol=0.6)
    gaps = np.linalg.norm(path - np.roll(path, 1, axis=0), axis=(1, 2))
    assert gaps.max() < 3 * gaps.min()


def test_a_circle_passes_its_stops_at_even_times_and_closes_smoothly():
    stops = np.random.default_rng(0).standard_normal((3, 2, 4))
    path = circle(stops, 300)
    assert path.shape == (300, 2, 4)
    assert path.dtype == np.float32
    np.testing.assert_allclose(path[::100], stops, rtol=1e-5)
    steps = np.diff(np.concatenate([path, path[:2]]), axis=0)
    turns = np.abs(np.diff(steps, axis=0)).max(axis=(1, 2))
    assert turns.max() < 3 * np.median(turns)
    assert np.abs(steps[-1] - steps[0]).max() < 1e-2
    two = circle(stops[:2], 4)
    np.testing.assert_allclose(two[[0, 2]], stops[:2], rtol=1e-5)
