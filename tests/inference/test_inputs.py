"""Numbers of all kinds, and what is no number."""

import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.inference.inputs import is_whole, read_array


@pytest.mark.parametrize(
    "values",
    [
        [[1, 2]],
        np.array([[1, 2]], np.uint8),
        np.array([[1, 2]], ">f8"),
        jnp.array([[1, 2]], jnp.bfloat16),
        jnp.array([[1, 2]], jnp.float8_e4m3fn),
    ],
)
def test_real_numbers_of_any_type_become_float32(values):
    array = read_array("z", values)
    assert array.dtype == np.float32
    assert array.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    "values",
    [None, "a", b"a", 1j, [[1], [1, 2]], [None], {1: 2}, np.datetime64(1, "s")],
)
def test_what_is_no_array_of_real_numbers_is_one_line_with_its_name(values):
    with pytest.raises(UserError, match=r"^z is no array of numbers") as caught:
        read_array("z", values)
    assert "\n" not in str(caught.value)


def test_integers_of_python_numpy_and_jax_are_whole_and_nothing_else_is():
    whole = (3, np.uint32(3), np.array(3), jnp.int32(3))
    assert all(map(is_whole, whole))
    others = (3.0, np.float32(3), True, None, "3", [3], np.array([3]), 3j)
    assert not any(map(is_whole, others))
