"""Compiled programs kept on disk, so that a run that starts again need not compile.

To load an entry is to run code, so the folder must be this user's alone: it lies in
the user's cache, never beside a run or where $PROGAN_JAX_CACHE says, which may be
shared.
"""

import os
import stat
from pathlib import Path

import jax

from progan_jax.files import user_cache
from progan_jax.runtime.logging import warn

# Of two cores, a run of three narrow stages starts anew in 14 s instead of 31 s with
# JAX's threshold of 1 s, in 10 s with this one, and in no less with 0.
_MIN_COMPILE_SEC = 0.2


def keep_compiled() -> None:
    """Lets JAX keep programs in the user's cache, or tells in a line why not.

    JAX_COMPILATION_CACHE_DIR, whatever it names, is left as it is; if empty, nothing is
    kept.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        folder = user_cache() / "xla"
        _make_private(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home.
        warn(
            f"compiled programs are not kept: {error}; fix that, or name a folder of "
            "your own in JAX_COMPILATION_CACHE_DIR, empty for none"
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SEC)


def _make_private(folder: Path) -> None:
    """Makes the folder.

    Raises:
      PermissionError: if others could put something into it, or in its place.
      OSError: if it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written")
    here, above = folder.stat(), folder.parent.stat()
    if here.st_uid != os.geteuid() or here.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"{folder} belongs to another user or others may write it"
        )
    # Many systems give each user a group of one, whose right to write is harmless.
    open_to_all = above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX
    if above.st_uid not in (0, os.geteuid()) or open_to_all:
        raise PermissionError(f"others may replace {folder}")
