"""Checkpoints of the whole training state; the only file that imports orbax."""

import logging
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from progan_jax.errors import UserError

_LOG = logging.getLogger("progan_jax")


class Checkpoints:
    """The newest checkpoints of a run, written in the background.

    Steps are numbered by images shown. Orbax writes into a temporary folder and
    renames it, so that a kill during a save leaves the earlier checkpoints whole.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        """Opens the folder, making it if it does not exist.

        Args:
          directory: Of the run's checkpoints.
          keep: Number of newest ones that stay.
        """
        self._directory = Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=True,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.close()

    def save(
        self, nimg: int, state: Any, meta: dict[str, Any], *, wait: bool = False
    ) -> None:
        """Saves the state; nothing happens if that nimg is saved already.

        Args:
          nimg: Images shown.
          state: Tree of arrays; it may be donated as soon as this returns.
          meta: What JSON can hold; comes back with the state.
          wait: Whether to return only when everything is on the disk.
        """
        if nimg not in self._manager.all_steps():
            # A copy that shares nothing with the devices: on the CPU, arrays given to
            # Orbax could be views of buffers that the next step overwrites.
            leaves = [_to_host(leaf) for leaf in jax.tree.leaves(state)]
            meta = meta | {"crc32": [_crc32(leaf) for leaf in leaves]}
            arrays = {f"{i:05d}": leaf for i, leaf in enumerate(leaves)}
            args = ocp.args.Composite(
                state=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(meta)
            )
            self._manager.save(nimg, args=args)
        if wait:
            self.wait()

    def restore_newest(
        self, make_abstract: Callable[[dict[str, Any]], Any]
    ) -> tuple[Any, dict[str, Any]] | None:
        """Restores the newest checkpoint that is whole.

        A damaged one is moved to `damaged/` beside it, with a warning.

        Args:
          make_abstract: From the meta data to a tree of jax.ShapeDtypeStruct with
            shardings, of the form that was saved.

        Returns:
          State and meta data, or None if there is no checkpoint.

        Raises:
          UserError: if there are checkpoints, and all are damaged.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._restore(step, make_abstract)
            except Exception as error:  # Orbax raises many kinds for a damaged file.
                self._set_aside(step, error)
        if steps:
            raise UserError(
                f"--workdir: every checkpoint in {self._directory} is damaged (they "
                f"are kept in {self._directory / 'damaged'}); restore one from a "
                "backup, or choose another folder to start anew"
            )
        return None

    def wait(self) -> None:
        """Returns when everything is on the disk."""
        self._manager.wait_until_finished()

    def _restore(
        self, step: int, make_abstract: Callable[[dict[str, Any]], Any]
    ) -> tuple[Any, dict[str, Any]]:
        only_meta = ocp.args.Composite(meta=ocp.args.JsonRestore())
        meta = dict(self._manager.restore(step, args=only_meta)["meta"])
        checksums = meta.pop("crc32")
        abstract, structure = jax.tree.flatten(make_abstract(meta))
        shapes = {f"{i:05d}": _host_shape(leaf) for i, leaf in enumerate(abstract)}
        args = ocp.args.Composite(state=ocp.args.StandardRestore(shapes))
        arrays = self._manager.restore(step, args=args)["state"]
        leaves = [arrays[name] for name in sorted(arrays)]
        if [_crc32(leaf) for leaf in leaves] != checksums:
            raise ValueError("checksums differ")
        placed = map(_to_devices, leaves, abstract)
        return jax.tree.unflatten(structure, placed), meta

    def _set_aside(self, step: int, error: Exception) -> None:
        damaged = self._directory / "damaged"
        damaged.mkdir(exist_ok=True)
        target = next(p for p in _names(damaged, step) if not p.exists())
        (self._directory / str(step)).rename(target)
        reason = " ".join(str(error).split())[:120]
        _LOG.warning(
            "checkpoint %d is damaged (%s): kept as %s; going on from the one before",
            step,
            reason or type(error).__name__,
            target,
        )
        self._manager.reload()


def _to_host(leaf: jax.Array) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.array(leaf, copy=True)


def _to_devices(array: np.ndarray, like: jax.ShapeDtypeStruct) -> jax.Array:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(jnp.asarray(array))
        return jax.device_put(key, like.sharding)
    return jax.device_put(array, like.sharding)


def _host_shape(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    """Returns an array of the saved shape and type: what tells Orbax to give NumPy."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)


def _crc32(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


def _names(folder: Path, step: int) -> Iterator[Path]:
    yield folder / str(step)
    number = 1
    while True:
        yield folder / f"{step}-{number}"
        number += 1
