"""Metrics are measured as the published protocols say."""

import pytest


@pytest.fixture(autouse=True)
def few_directions():
    """Puts all directions of SWD in the place of a few."""
