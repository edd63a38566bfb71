"""Starts a command so that a user's mistake ends in one clear line and exit code 2."""

import difflib
import io
import itertools
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from progan_jax.errors import DivergedError, UserError, escape
from progan_jax.runtime.backend import explain_missing_devices
from progan_jax.runtime.background import leave
from progan_jax.runtime.recipes import find_config, recipe_names

_SIGPIPE_CODE = 128 + 13

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}


def run(main: Callable[[], None]) -> None:
    """Parses the flags, runs `main` and ends the process with its exit code."""

    def guarded(argv: list[str]) -> None:
        del argv
        _guard(main)

    _run(guarded, parse_flags)


def run_with_arguments(main: Callable[..., None], *names: str) -> None:
    """As `run`, for a `main` that takes the arguments that are no flags."""
    needed = f"one {' and one '.join(names)} " + ("is" if len(names) == 1 else "are")

    def parse(argv: list[str]) -> list[str]:
        rest = _parse_alone(argv)
        if len(rest) != 1 + len(names):
            _fail(f"{needed} needed, and {len(rest) - 1} are given; see --help")
        return rest

    _run(lambda argv: _guard(lambda: main(*argv[1:])), parse)


def run_with_overrides(main: Callable[[str, list[str]], None], name: str) -> None:
    """As `run`, for a `main` of one argument and of --config.FIELD=VALUE after "--"."""

    def parse(argv: list[str]) -> list[str]:
        rest = _parse_alone(argv)
        if len(rest) < 2 or rest[1].startswith("-"):
            _fail(f"a {name} is needed before the flags; see --help")
        for argument in rest[2:]:
            if not re.fullmatch(r"--config\.[\w.]+=.*", argument, re.DOTALL):
                _fail(
                    f"unexpected argument {argument!r}: after '--' come "
                    "--config.FIELD=VALUE"
                )
        return rest

    _run(lambda argv: _guard(lambda: main(argv[1], argv[2:])), parse)


def load_config(name: str, overrides: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """Loads a configuration file as --config and --config.FIELD=VALUE do.

    Args:
      name: A recipe's name or a FILE, or either with :ARGUMENT.
      overrides: Arguments --config.FIELD=VALUE.

    Raises:
      UserError: if there is no such file or field, or a value does not fit.
    """
    argv = ["load_config", f"--config={name}", *overrides]
    _check_config(argv)
    argv = _with_files(argv)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=argv)
    values(argv)
    return values.config


def _parse_alone(argv: list[str]) -> list[str]:
    """Parses the flags of a command without --config; a mistake ends in one line."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(_explained(error))


def _explained(error: Exception) -> str:
    """Returns one line for what is wrong with a flag."""
    line = " ".join(str(error).split())
    kinds = {"invalid literal for int": int, "could not convert string to float": float}
    for words, kind in kinds.items():
        if match := re.match(rf"flag (--\w+=.*): {words}", line):
            return f"{match[1]} must be {KINDS[kind]}; change it"
    return line


def _guard(main: Callable[[], None]) -> None:
    try:
        main()
        sys.stdout.flush()
    except (UserError, DivergedError) as error:
        report(str(error))
        leave(error.exit_code)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Who reads the output, such as `head`, has enough. Nothing more goes there, not
        # even what Python flushes at its end; the code is that of a death by SIGPIPE.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave(_SIGPIPE_CODE)
        sys.exit(_SIGPIPE_CODE)
    except (RuntimeError, AssertionError) as error:
        message = explain_missing_devices(error)
        if message is None:
            raise
        report(message)
        leave(UserError.exit_code)
        sys.exit(UserError.exit_code)
    leave(0)


def _run(main: Callable[[list[str]], None], parse: Callable[..., list[str]]) -> None:
    # Names of files may hold what a terminal's encoding does not.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # JAX tells of every backend that is not there, TFDS of every file that is.
    logging.set_verbosity(logging.ERROR)
    app.run(main, flags_parser=parse)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses absl's flags; a mistake ends the process with one line."""
    try:
        if "config" in flags.FLAGS and not _asks_for_help(argv):
            argv = _with_base(argv)
            _check_config(argv)
            argv = _with_files(argv)
        rest = flags.FLAGS(argv)
    except (flags.Error, UserError) as error:
        _fail(_explained(error))
    if len(rest) > 1:
        _fail(f"unexpected argument {rest[1]!r}: flags are written --name=value")
    return rest


def _asks_for_help(argv: list[str]) -> bool:
    return any(re.fullmatch(r"--?help(full|short|xml)?", a) for a in argv)


def _check_config(argv: list[str]) -> None:
    """Raises UserError if --config or one of the --config.X=V is faulty."""
    arguments = dict(_arguments(argv))
    name = arguments.pop("config", "")
    if not name:
        raise UserError(
            "--config is missing: give a recipe or a file; recipes are "
            + ", ".join(recipe_names())
        )
    fields = list_fields(_load(name))
    for argument, value in arguments.items():
        field = argument.removeprefix("config.")
        if field == argument:
            continue
        if field not in fields:
            raise UserError(_unknown_field(field, value, list(fields)))
        if not _fits(value, fields[field]):
            kind = KINDS.get(type(fields[field]), "of another type")
            raise UserError(
                f"config.{field} = {value!r} must be {kind}; write for example "
                f"--config.{field}={fields[field]}"
            )


def _with_base(argv: list[str]) -> list[str]:
    """Returns the arguments with a recipe where a run has its own configuration."""
    given = dict(_arguments(argv))
    if given.get("mode") == "eval" and "workdir" in given and "config" not in given:
        return [argv[0], "--config=base", *argv[1:]]
    return argv


def _with_files(argv: list[str]) -> list[str]:
    """Returns the arguments with the file of --config where a recipe is named."""
    files = list(argv)
    for i, argument in enumerate(argv):
        if match := re.match(r"(--?config=)(.+)", argument, re.DOTALL):
            files[i] = match[1] + find_config(match[2])
        elif argument in ("--config", "-config") and i + 1 < len(argv):
            files[i + 1] = find_config(argv[i + 1])
    return files


def _arguments(argv: list[str]) -> Iterator[tuple[str, str]]:
    """Yields the names and values of `--name=value` and `--name value`."""
    for argument, following in itertools.zip_longest(argv[1:], argv[2:], fillvalue=""):
        match = re.fullmatch(r"--?(no)?([\w.]+)(=.*)?", argument, re.DOTALL)
        if match and match[1] and "." in match[2]:
            yield (
                match[2],
                "false",
            )  # --noconfig.model.tanh is --config.model.tanh=false.
        elif match and match[3]:
            yield (match[1] or "") + match[2], match[3][1:]
        elif match:
            alone = following.startswith("-") or not following
            yield (match[1] or "") + match[2], "true" if alone else following


def _load(name: str) -> ml_collections.ConfigDict:
    """Loads a configuration file as it is, without what the command line changes."""
    path, colon, argument = find_config(name).partition(":")
    try:
        module = runpy.run_path(path)
        return module["get_config"](*[argument] if colon else [])
    except UserError:
        raise
    except Exception as error:  # The file is the user's program: it may do anything.
        lines = [
            f.lineno
            for f in traceback.extract_tb(error.__traceback__)
            if f.filename == path
        ]
        where = f"line {lines[-1]}" if lines else "the file"
        fix = "fix it"
        if isinstance(error, ModuleNotFoundError) and error.name == "configs":
            fix = "write 'from progan_jax.configs import base'"
        raise UserError(
            f"--config={name}: {where} fails with {_one_line(error)}; {fix}"
        ) from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    # ConfigDict lists all fields before it says which one may have been meant.
    text = re.sub(r"Other fields present: .*?(?=Did you mean|$)", "", text)
    return f"{type(error).__name__}: {text}".rstrip(" .")


def _unknown_field(field: str, value: str, known: list[str]) -> str:
    near = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
    last = field.split(".")[-1]
    near = [k for k in known if k.split(".")[-1] == last][:1] or near
    fix = f"did you mean config.{near[0]}?" if near else "see configs/base.py"
    return f"config.{field} = {value!r}: there is no such field; {fix}"


def list_fields(
    config: ml_collections.ConfigDict, prefix: str = ""
) -> dict[str, object]:
    """Returns the leaves of a configuration by their dotted names."""
    fields = {}
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            fields |= list_fields(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


def _fits(value: str, default: object) -> bool:
    if isinstance(default, bool):
        return value.lower() in ("true", "false", "0", "1")
    if isinstance(default, int | float):
        try:
            type(default)(value)
        except ValueError:
            return False
    return True


def report(message: str) -> None:
    """Prints each line of the message as an error."""
    sys.stdout.flush()
    for line in message.split("\n"):
        print(f"error: {line}", file=sys.stderr)


def _fail(message: str) -> NoReturn:
    """Reports the message and exits with code 2."""
    report(escape(message))
    sys.exit(2)
