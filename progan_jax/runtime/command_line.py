"""The start and the end of a command: its flags, its errors and its exit code.

A mistake in what the user typed is one line on standard error and exit code 2.
"""

import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from progan_jax.errors import DivergedError, UserError, escape
from progan_jax.runtime.backend import explain_missing_devices
from progan_jax.runtime.background import leave
from progan_jax.runtime.recipes import find_config, recipe_names

_SIGPIPE_CODE = 128 + 13


def run(main: Callable[..., None], *names: str) -> None:
    """Parses the flags, runs `main` and ends the process with its exit code.

    Args:
      main: Takes the arguments that are not flags.
      names: Their names, for messages.
    """

    def parse(argv: list[str]) -> list[str]:
        rest = parse_flags(argv)
        if not names and len(rest) > 1:
            _fail(f"unexpected argument {rest[1]!r}: flags are written --name=value")
        if len(rest) != 1 + len(names):
            needed = (
                f"one {' and one '.join(names)} {'is' if len(names) == 1 else 'are'}"
            )
            _fail(f"{needed} needed, and {len(rest) - 1} are given; see --help")
        return rest

    _run(lambda argv: main(*argv[1:]), parse)


def run_with_overrides(main: Callable[[str, list[str]], None], name: str) -> None:
    """As `run`, for a `main` of one argument and of the --config.FIELD=VALUE given."""

    def parse(argv: list[str]) -> list[str]:
        fields = [a for a in argv if re.match(r"--config\.[\w.]+=", a)]
        others = [a for a in argv if a not in fields]
        for argument in others:
            if re.match(r"--?(no)?config\.", argument):
                _fail(
                    f"{argument}: fields are written --config.FIELD=VALUE, such as "
                    "--config.data.mirror=false"
                )
        rest = parse_flags(others)
        if len(rest) < 2 or rest[1].startswith("-"):
            _fail(f"{name} is missing: it comes before the flags; see --help")
        if len(rest) > 2:
            _fail(
                f"unexpected argument {rest[2]!r}: fields are written "
                "--config.FIELD=VALUE"
            )
        return rest + fields

    _run(lambda argv: main(argv[1], argv[2:]), parse)


def load_config(name: str, overrides: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """Loads a configuration file as --config and --config.FIELD=VALUE do.

    Args:
      name: A recipe's name or a FILE, or either with :ARGUMENT.
      overrides: Arguments --config.FIELD=VALUE.

    Raises:
      UserError: if there is no such file or field, or a value does not fit.
    """
    argv = ["load_config", f"--config={name}", *overrides]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
    _parse(values, argv)
    return values.config


def parse_flags(argv: list[str]) -> list[str]:
    """Returns the arguments that are not flags; a mistake ends the process."""
    try:
        return _parse(flags.FLAGS, argv)
    except UserError as error:
        _fail(str(error))


def _parse(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Parses flags; --config may name a recipe.

    Raises:
      UserError: if a flag, a field or the file of the configuration is at fault.
    """
    if "config" in values:
        argv = _find_config(argv)
    try:
        return values(argv)
    except UserError:
        raise
    except Exception as error:  # A configuration file is a program of the user's.
        raise UserError(_explain(error, argv)) from error


def _find_config(argv: list[str]) -> list[str]:
    """Returns the arguments with the file of the recipe that --config names."""
    argv, found = list(argv), False
    for i, argument in enumerate(argv):
        flag, equals, name = argument.partition("=")
        if flag in ("--config", "-config"):
            found = True
            if equals:
                argv[i] = f"--config={find_config(name)}"
            elif i + 1 < len(argv):
                argv[i + 1] = find_config(argv[i + 1])
    typed = " ".join(argv)
    if found or re.search(r" --?help", typed):
        return argv
    if re.search(r" --?mode[= ]eval\b", typed):
        # A run is measured by its own config.json, of which base has every field.
        return [argv[0], f"--config={find_config('base')}", *argv[1:]]
    raise UserError(
        "--config is missing: give a recipe or a file; recipes are "
        + ", ".join(recipe_names())
    )


def _explain(error: Exception, argv: list[str]) -> str:
    """Returns one line for what absl, config_flags or a configuration file raised."""
    # config_flags puts the traceback of a file's TypeError into its own message.
    text = "".join(traceback.format_exception(error)).strip()
    if isinstance(error, flags.Error) and "Traceback" not in str(error):
        return " ".join(str(error).split())
    # ConfigDict lists all fields before it asks which one was meant.
    last = re.sub(r"Other fields present: .*(?=Did you)", "", text.split("\n")[-1])
    for name in re.findall(r"--?config[= ]([^ :]+)", " ".join(argv)):
        if lines := re.findall(rf'File "{re.escape(name)}", line (\d+)', text):
            return f"--config={name}: line {lines[-1]} fails with {last}; fix it"
    # config_flags quotes an unknown field twice: KeyError: '\'modl\'\\nDid you mean
    unknown = r"(?:Key|Attribute)Error: \W*(\w+)(?:\W+n?(Did you mean .*\?))?\W*"
    if match := re.fullmatch(unknown, last):
        return (
            f"--config has no field {match[1]!r}. {match[2] or 'See configs/base.py'}"
        )
    return f"--config: {last}"


def _run(main: Callable[[list[str]], None], parse: Callable[..., list[str]]) -> None:
    # Names of files may hold what a terminal's encoding does not.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # JAX logs every backend that is missing, TFDS every file that is there.
    logging.set_verbosity(logging.ERROR)
    app.run(lambda argv: _guard(lambda: main(argv)), flags_parser=parse)


def _guard(main: Callable[[], None]) -> None:
    """Runs `main`, and ends the process with the exit code of its error."""
    try:
        main()
        sys.stdout.flush()
    except (UserError, DivergedError) as error:
        report(str(error))
        _exit(error.exit_code)
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Nothing more goes there, not
        # even what Python flushes at its end; the code is that of a death by SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _exit(_SIGPIPE_CODE)
    except (RuntimeError, AssertionError) as error:
        message = explain_missing_devices(error)
        if message is None:
            raise
        report(message)
        _exit(UserError.exit_code)
    leave(0)


def list_fields(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the leaves of a configuration by their dotted names."""
    from flax.traverse_util import flatten_dict  # It imports JAX, which takes a second.

    return flatten_dict(config.to_dict(), sep=".")


def report(message: str) -> None:
    """Prints each line of the message as an error."""
    sys.stdout.flush()
    for line in message.split("\n"):
        print(f"error: {line}", file=sys.stderr)


def _fail(message: str) -> NoReturn:
    report(escape(message))
    sys.exit(UserError.exit_code)


def _exit(code: int) -> NoReturn:
    leave(code)
    sys.exit(code)
