"""Prepared sets."""

from tests.tfds_sets import write_tfds

__all__ = ["write_tfds"]
