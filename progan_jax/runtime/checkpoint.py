"""Checkpoints of the complete training state; the only file that imports orbax."""

import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import NamedSharding

from progan_jax.errors import UserError, reason, warn
from progan_jax.files import CHECKSUM, free_name, is_intact, seal
from progan_jax.runtime.distributed import is_primary, share, share_json, together
from progan_jax.runtime.mesh import lay_out
from progan_jax.runtime.newest import (
    DAMAGED,
    is_noted,
    list_steps,
    note_newest,
    read_newest,
)

# Orbax logs failures with tracebacks, and raises them too: a line of ours is enough.
logging.get_absl_logger().addFilter(lambda record: "orbax" not in record.pathname)

_report_unraisable = sys.unraisablehook


def _report_others(unraisable: Any) -> None:
    """Ignores errors of TensorStore's reads after Orbax has failed to read one array.

    They may come at any later time, since Orbax closes the event loop that they use.
    """
    if "Event loop is closed" not in str(unraisable.exc_value):
        _report_unraisable(unraisable)


sys.unraisablehook = _report_others

_Arrays = dict[str, np.ndarray]

_Meta = dict[str, Any]


class _OtherForm(Exception):
    """A checkpoint's arrays differ in name, shape or type from those asked for."""


class Checkpoints:
    """The newest checkpoints of a run, written in the background.

    Steps are numbered by images shown. Orbax writes into a temporary folder and
    renames it, so that a kill during a save leaves the earlier checkpoints intact.
    The metadata hold a checksum of every array, and one of themselves. A file beside
    the folder names the newest one, once it is on the disk.

    Only the primary process writes and reads: every device has the same state. So a
    run may continue with other devices and processes than before, and only the primary
    needs the folder.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        """Opens the folder, making it if it does not exist.

        Args:
          directory: Folder of the run's checkpoints.
          keep: Number of the newest checkpoints that are kept.
        """
        self._directory, self._keep = Path(directory).absolute(), keep
        self._begun: int | None = None  # A save that is not yet noted.
        self._manager: Any = together(self._open)

    def _open(self) -> ocp.CheckpointManager | None:
        if not is_primary():
            return None
        self._directory.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._keep,
            create=False,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
            # They also create the run's folder: only right after it was seen to exist.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            # It would otherwise read old checkpoints, which may be damaged.
            lightweight_initialize=True,
            # Orbax would otherwise wait for the other processes.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                active_processes={0}, barrier_sync_key_prefix="primary"
            ),
        )
        return ocp.CheckpointManager(self._directory, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._manager is None:
            return
        # After an error, that of a failing save adds nothing.
        with suppress(*[Exception] if kind else []):
            self.wait()
            self._manager.close()

    def save(
        self, nimg: int, state: Any, meta: dict[str, Any], *, wait: bool = False
    ) -> None:
        """Saves the state, unless that nimg is saved already.

        Args:
          nimg: Number of images shown.
          state: Tree of arrays; it may be donated as soon as this returns.
          meta: JSON values; `restore_newest` returns them with the state.
          wait: Whether to return only when everything is on the disk.
        """
        if self._manager is None:
            return
        if nimg not in self._manager.all_steps():
            # A copy that shares nothing with the devices: on the CPU, arrays given to
            # Orbax could be views of buffers that the next step overwrites.
            arrays = {name: _to_host(leaf) for name, leaf in _named_leaves(state)}
            described = {
                name: {"form": _form(array), "crc32": _crc32(array)}
                for name, array in arrays.items()
            }
            sealed = seal(meta | {"nimg": nimg, "arrays": described})
            args = ocp.args.Composite(
                state=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(sealed)
            )
            self.wait()
            with self._in_one_line(nimg):
                self._manager.save(nimg, args=args)
            self._begun = nimg
        if wait:
            self.wait()

    def restore_newest(
        self,
        make_abstract: Callable[[_Meta], Any],
        check: Callable[[_Meta, _Arrays], None] = lambda meta, arrays: None,
    ) -> tuple[Any, _Meta] | None:
        """Restores the newest checkpoint that is intact.

        Damaged ones that are newer are moved to `damaged/` beside it, with a warning;
        another warning says where the newest that was written is missing.
        All processes must call it.

        Args:
          make_abstract: From the metadata to a tree of jax.ShapeDtypeStruct with
            shardings, of the form that was saved.
          check: Raises if metadata and arrays, by their names, contradict each other.

        Returns:
          State and metadata with "nimg", or None if there is no checkpoint.

        Raises:
          UserError: if all checkpoints are damaged, or a sealed one has another form
            than asked for; nothing is moved.
        """
        found = together(lambda: self._read_newest(make_abstract, check))
        arrays, meta = found or ({}, None)
        meta = share_json(meta)
        if meta is None:
            return None
        abstract = make_abstract(meta)
        placed = [
            _to_devices(share(arrays.get(name, _host_form(leaf))), leaf)
            for name, leaf in _named_leaves(abstract)
        ]
        return jax.tree.unflatten(jax.tree.structure(abstract), placed), meta

    def note(self) -> None:
        """Notes the checkpoint that was saved last, once it is on the disk."""
        begun = self._begun
        if begun is not None and (self._directory / str(begun)).is_dir():
            note_newest(self._directory, begun)
            self._begun = None

    def wait(self) -> None:
        """Returns when everything is on the disk."""
        if self._manager is not None:
            with self._in_one_line(self._begun):
                self._manager.wait_until_finished()
            self.note()

    @contextmanager
    def _in_one_line(self, nimg: int | None) -> Iterator[None]:
        """Raises UserError for whatever Orbax raises when a save fails."""
        try:
            yield
        except Exception as error:
            raise UserError(
                f"--workdir: checkpoint {nimg} cannot be written to {self._directory} "
                f"({reason(error)}); make room, or restore the folder if it was "
                "deleted or moved, then run the same command, which continues from the "
                "newest checkpoint that is there"
            ) from error

    def _read_newest(
        self,
        make_abstract: Callable[[_Meta], Any],
        check: Callable[[_Meta, _Arrays], None],
    ) -> tuple[_Arrays, _Meta] | None:
        """Returns arrays by name, and the metadata; None on all but the primary."""
        if self._manager is None:
            return None
        damaged: dict[int, Exception] = {}
        for step in list_steps(self._directory):
            try:
                found = self._read(step, make_abstract)
                check(found[1], found[0])
            except (UserError, MemoryError):
                raise
            except Exception as error:  # Orbax raises many kinds for a damaged file.
                damaged[step] = error
                continue
            self._fall_back(step, damaged)
            return found
        if damaged:
            for step, error in damaged.items():
                if isinstance(error, _OtherForm):
                    raise self._of_another_program(step, error)
            newest, error = next(iter(damaged.items()))
            raise UserError(
                f"--workdir: no checkpoint in {self._directory} can be read (the "
                f"newest, {newest}: {reason(error)}); restore one from a backup, or "
                "choose another folder to start again"
            )
        return None

    def _read(
        self, step: int, make_abstract: Callable[[_Meta], Any]
    ) -> tuple[_Arrays, _Meta]:
        only_meta = ocp.args.Composite(meta=ocp.args.JsonRestore())
        meta = dict(self._manager.restore(step, args=only_meta)["meta"])
        if not is_intact(meta):
            raise ValueError("the checksum of its metadata differs")
        if meta["nimg"] != step:
            raise ValueError(f"its metadata are those of {meta['nimg']!r}")
        sealed = meta.pop(CHECKSUM, None) is not None
        saved = meta.pop("arrays")
        abstract = make_abstract(meta)
        wanted = {name: _host_form(leaf) for name, leaf in _named_leaves(abstract)}
        try:
            _check_form(saved, wanted)
        except _OtherForm as error:
            # Without a checksum, the metadata may be what is damaged.
            if sealed:
                raise self._of_another_program(step, error) from error
            raise
        args = ocp.args.Composite(state=ocp.args.StandardRestore(wanted))
        arrays = self._manager.restore(step, args=args)["state"]
        if any(_crc32(arrays[name]) != saved[name]["crc32"] for name in wanted):
            raise ValueError("checksums differ")
        return arrays, meta

    def _of_another_program(self, step: int, error: _OtherForm) -> UserError:
        return UserError(
            f"--workdir: checkpoint {step} in {self._directory} {error}; continue "
            "with the version that wrote it (see config.json), or choose another folder"
        )

    def _fall_back(self, step: int, damaged: dict[int, Exception]) -> None:
        """Warns of every checkpoint newer than `step`, and moves damaged ones aside."""
        newest = read_newest(self._directory)
        for newer, error in damaged.items():
            kept = self._set_aside(newer)
            warn(
                f"checkpoint {newer} is damaged ({reason(error)}): kept as {kept}; "
                f"continuing from {step}"
            )
        if newest is not None and newest > step and newest not in damaged:
            warn(
                f"checkpoint {newest} was written and is not in {self._directory}: it "
                f"was deleted, moved or renamed; continuing from {step}"
            )
        if newest is None and is_noted(self._directory):
            warn(
                f"{self._directory}.json is damaged: whether a checkpoint after {step} "
                "was written and is lost is not known"
            )
        if damaged:
            self._manager.close()
            self._manager = self._open()

    def _set_aside(self, step: int) -> Path:
        damaged = self._directory / DAMAGED
        damaged.mkdir(exist_ok=True)
        kept = free_name(damaged / str(step))
        (self._directory / str(step)).rename(kept)
        return kept


def _check_form(saved: dict[str, Any], wanted: dict[str, np.ndarray]) -> None:
    """Raises _OtherForm if a checkpoint's arrays are not those that are asked for."""
    for name in sorted(saved.keys() | wanted.keys()):
        here = _form(wanted[name]) if name in wanted else "nothing"
        there = saved[name]["form"] if name in saved else "nothing"
        if here != there:
            raise _OtherForm(f"holds {there} as {name}, and this program has {here}")


def _to_host(leaf: jax.Array) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.array(leaf, copy=True)


def _to_devices(array: np.ndarray, like: jax.ShapeDtypeStruct) -> jax.Array:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        wrap = jax.jit(jax.random.wrap_key_data, out_shardings=like.sharding)
        return wrap(array)
    assert isinstance(like.sharding, NamedSharding), "of a mesh"
    return lay_out(array, like.sharding)


def _host_form(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    """Returns an array of the saved shape and type, by which Orbax restores NumPy."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Returns the leaves in order, named by their path in the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = [
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        for path, leaf in leaves
    ]
    # In the first checkpoints, this one lay beside the rest.
    older = {"loss_state.fake_scores": "fake_scores"}
    return [(older.get(name, name), leaf) for name, leaf in named]


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _crc32(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)
