"""Runs a tool in the test's own process, which is faster than starting one."""

import contextlib
import io
import runpy
import sys
from subprocess import CompletedProcess
from unittest import mock

from absl import flags

from progan_jax.runtime.command_line import run


@contextlib.contextmanager
def tool(module, **values):
    """Yields the names of a tool, and defines its flags, with these values, meanwhile.

    Tools have flags of the same names, so that two of them cannot be imported. Flags of
    libraries stay, also those that are imported only now.
    """
    others, parsed = _take_ours(), flags.FLAGS.is_parsed()
    try:
        names = runpy.run_module(module)
        flags.FLAGS.mark_as_parsed()
        for name, value in values.items():
            flags.FLAGS[name].value = value
        yield names
    finally:
        _take_ours()
        for name, flag in others.items():
            flags.FLAGS[name] = flag
        if not parsed:
            flags.FLAGS.unparse_flags()


def _take_ours():
    """Removes the flags of our modules, and returns them by name."""
    ours = {
        flag.name: flag
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        for flag in defined
        if module.startswith(("progan_jax.", "runpy"))
    }
    flags.FLAGS.remove_flag_values(ours)
    return ours


def run_tool(module, *arguments, argument="SOURCE", encoding="utf-8", start=run):
    """Runs a tool as its command does; returns its exit code and what it prints.

    `start` is the tool's own: `run`, or `run_with_overrides`.
    """
    argv = [module, *map(str, arguments)]
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding, errors)
        for errors in ("strict", "backslashreplace")
    )
    code = 0
    with (
        tool(module) as names,
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            start(names["main"], argument)
        except SystemExit as error:
            code = error.code or 0
    texts = []
    for file in (out, err):
        file.flush()
        texts.append(file.buffer.getvalue().decode())
    return CompletedProcess(argv, code, *texts)
