"""Tools in the tests' own process."""

import importlib
import sys

import pytest
from absl.flags import FLAGS

from tests.pth_files import write_pth

__all__ = ["import_tool", "write_pth"]


@pytest.fixture
def import_tool():
    """Imports a tool by its name, and forgets it and its flags after the test.

    Each tool is a program of its own: several define a flag of the same name, which a
    process allows once.
    """
    names = []

    def load(name):
        names.append(f"progan_jax.tools.{name}")
        FLAGS.mark_as_parsed()
        return importlib.import_module(names[-1])

    yield load
    FLAGS.unparse_flags()
    for name in names:
        for flag in list(FLAGS.flags_by_module_dict()[name]):
            delattr(FLAGS, flag.name)
        del sys.modules[name]
