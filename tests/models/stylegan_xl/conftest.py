"""Memory of the tests of large networks."""

import jax
import pytest

from tests import stylegan_xl_d


@pytest.fixture(scope="module", autouse=True)
def released():
    """Drops a file's programs and weights when its tests have ended: some 100 MB."""
    yield
    jax.clear_caches()
    for cached in (
        stylegan_xl_d.frozen,
        stylegan_xl_d.d_variables,
        stylegan_xl_d.classifier,
        stylegan_xl_d.compiled,
    ):
        cached.cache_clear()
