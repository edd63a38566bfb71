"""DiffAugment, against numbers of the authors' program and by its properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.models.augmentation import POLICIES, augment, draw, parse_policy
from tests.stylegan_xl_d import channels_first, channels_last, draws
from tests.stylegan_xl_golden import assert_close, golden


def images(n, side, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, side, side, 3)).astype("f4")


@pytest.mark.parametrize("case", ["diffaug16", "diffaug32"])
def test_augmented_images_are_the_authors(case):
    given = channels_last(golden()[f"{case}/images"])
    ours = augment(given, draws(f"{case}/draw"))
    assert_close(channels_first(ours), golden()[f"{case}/out"], 1e-6)


def test_draws_depend_on_an_images_number_alone(key):
    numbers = jnp.arange(6)
    whole = draw(key, numbers, 16)
    parts = [draw(key, numbers[part], 16) for part in (slice(2), slice(2, None))]
    jax.tree.map(
        lambda of, *p: np.testing.assert_array_equal(of, np.concatenate(p)),
        whole,
        *parts,
    )
    assert len(np.unique(whole.brightness)) == 6
    assert not np.array_equal(whole.brightness, whole.saturation)


def test_an_image_does_not_depend_on_its_batch(key):
    given, drawn = images(4, 16), draw(key, jnp.arange(4), 16)
    alone = [
        augment(given[i : i + 1], jax.tree.map(lambda x, i=i: x[i : i + 1], drawn))
        for i in range(4)
    ]
    np.testing.assert_allclose(augment(given, drawn), np.concatenate(alone), atol=1e-6)


def test_draws_take_all_values_of_their_ranges(key):
    drawn = draw(key, jnp.arange(2000), 10)
    # A tenth of 10 pixels is 1.25, rounded to 1; the square has 2 of them.
    assert set(np.unique(drawn.shift)) == {-1, 0, 1}
    assert set(np.unique(drawn.cutout)) == set(range(11))
    odd = draw(key, jnp.arange(2000), 16)  # A square of 3.
    assert set(np.unique(odd.cutout)) == set(range(16))
    assert set(np.unique(odd.shift)) == set(range(-2, 3))
    for values in drawn[:3]:
        assert 0 <= values.min() < 0.01 < 0.99 < values.max() < 1


@pytest.mark.parametrize(("side", "square"), [(4, 1), (10, 2), (16, 3), (28, 6)])
def test_any_size_is_moved_and_cut(key, side, square):
    drawn = draw(key, jnp.arange(8), side, ("translation", "cutout"))
    given = images(8, side)
    out = np.asarray(augment(given, drawn))
    for image, original, shift, about in zip(
        out, given, *map(np.asarray, drawn[3:]), strict=True
    ):
        expected = np.zeros_like(original)
        for i, j in np.ndindex(side, side):
            row, column = i + shift[0], j + shift[1]
            is_cut = all(
                0 <= at - (o - square // 2) < square
                for at, o in zip((i, j), about, strict=True)
            )
            if 0 <= row < side and 0 <= column < side and not is_cut:
                expected[i, j] = original[row, column]
        np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("name", POLICIES)
def test_each_change_alone_changes_images(key, name):
    drawn = draw(key, jnp.arange(4), 16, (name,))
    given = images(4, 16)
    assert not np.array_equal(augment(given, drawn), given)
    fields = {"color": 3, "translation": 1, "cutout": 1}
    assert sum(x is not None for x in drawn) == fields[name]


def test_without_a_policy_images_stay(key):
    drawn, given = draw(key, jnp.arange(2), 16, ()), images(2, 16)
    np.testing.assert_array_equal(augment(given, drawn), given)


def test_gradients_are_those_of_a_linear_map_to_the_second_order(key):
    """Against its matrix: the changes are affine in the image."""
    drawn, given = draw(key, jnp.arange(1), 8), jnp.asarray(images(1, 8))
    matrix = jax.jit(jax.jacrev(lambda x: augment(x, drawn).ravel()))(given)
    matrix = np.asarray(matrix).reshape(given.size, -1)
    basis = np.eye(given.size, dtype="f4").reshape(-1, *given.shape[1:])
    of_all = jax.tree.map(lambda x: jnp.repeat(x, given.size, axis=0), drawn)
    columns = augment(basis, of_all) - augment(0 * given, drawn)
    columns = np.asarray(columns).reshape(given.size, -1)
    np.testing.assert_allclose(matrix, columns.T, atol=1e-5)

    def norm_of_gradient(x):
        gradient = jax.grad(lambda x: jnp.sum(augment(x, drawn) ** 3))(x)
        return jnp.sum(gradient**2)

    second = jax.jit(jax.grad(norm_of_gradient))(given)
    assert np.isfinite(second).all() and np.any(second != 0)


def test_policies_are_read_in_the_order_of_application():
    assert parse_policy("f", "cutout, color") == ("color", "cutout")
    assert parse_policy("f", "") == ()


def test_an_unknown_change_is_named():
    with pytest.raises(UserError) as error:
        parse_policy("config.loss.augmentation", "color,flip")
    assert str(error.value) == (
        "config.loss.augmentation = 'color,flip': 'flip' must be one of color, "
        "translation, cutout; remove it, or separate names by commas"
    )
