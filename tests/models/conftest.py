import jax
import pytest


@pytest.fixture
def strict_dtypes():
    """Refuses arithmetic that would widen a dtype unasked."""
    with jax.numpy_dtype_promotion("strict"):
        yield
