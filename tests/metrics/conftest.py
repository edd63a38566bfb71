"""Weights of PyTorch; metrics are measured as the published protocols say."""

import pytest

from tests.pth_files import write_pth

__all__ = ["few_directions", "write_pth"]


@pytest.fixture(autouse=True)
def few_directions():
    """Puts all directions of SWD in the place of a few."""
