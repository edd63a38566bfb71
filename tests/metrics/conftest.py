"""Weights of PyTorch."""

from tests.pth_files import write_pth

__all__ = ["write_pth"]
