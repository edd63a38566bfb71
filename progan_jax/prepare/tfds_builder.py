"""Sets that TFDS downloads and prepares by builders of its own.

Only builders of the installed library are used; no code is downloaded.
"""

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from progan_jax.data.checks import check_features, check_split
from progan_jax.data.names import first_few
from progan_jax.data.records import newest_version
from progan_jax.errors import UserError, reason

# What TFDS itself does not install, and needs to prepare a set.
_PREPARING = "importlib_resources", "tensorflow-cpu"


def is_missing(name: str, root: Path) -> bool:
    """Returns whether a folder of TFDS sets lacks a set that can be prepared there.

    Args:
      name: NAME or NAME/CONFIG.
      root: Folder of TFDS sets.

    Raises:
      UserError: if the folder lacks it, and TFDS has no such set or configuration.
    """
    if newest_version(root / name) is not None and not name.endswith("/"):
        return False
    _check_name(name, root)
    return True


def build(name: str, root: Path, split: str, image: str) -> None:
    """Downloads a set and prepares it as ArrayRecord files, in its newest version.

    Args:
      name: NAME or NAME/CONFIG of a set that `is_missing`.
      root: Folder of TFDS sets, which need not exist; what is downloaded stays there.
      split: Split that is wanted; looked for before the download if TFDS knows the
        set's splits by then.
      image: Feature of the images, which is looked for before the download.

    Raises:
      UserError: if the set has no such split or images, a library or the network is
        missing, or TFDS cannot prepare it.
    """
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with _explaining(name, root):
        builder = tfds.builder(name, data_dir=root, file_format="array_record")
        info = builder.info
    if sizes := {s: info.splits[s].num_examples for s in info.splits}:
        check_split(name, split, sizes)
    check_features(name, info.features, image)
    print(f"tfds:{name} is not in {root}: TFDS downloads and prepares it", flush=True)
    with _explaining(name, root):
        builder.download_and_prepare()


@contextmanager
def _explaining(name: str, root: Path) -> Iterator[None]:
    """Turns what TFDS raises into one line."""
    try:
        yield
    except ImportError as error:
        raise _without_library(name, error) from error
    except Exception as error:  # Its own, and those of the libraries it uses.
        raise UserError(
            f"tfds:{name}: TFDS cannot prepare it ({reason(error)}); check the network "
            f"and what https://www.tensorflow.org/datasets says of it; what is "
            f"downloaded stays in {root / 'downloads'}"
        ) from error


def _check_name(name: str, root: Path) -> None:
    import tensorflow_datasets as tfds

    first = name.partition("/")[0]
    known = tfds.list_builders(with_community_datasets=False)
    if first not in known:
        near = difflib.get_close_matches(first, known)
        meant = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise UserError(
            f"tfds:{name}: there is no such set in --data_dir = {str(root)!r}, and "
            f"TFDS has none of that name{meant}; name another set, or another folder"
        )
    try:
        configs = [c.name for c in tfds.builder_cls(first).BUILDER_CONFIGS or []]
    except ImportError as error:
        raise _without_library(name, error) from error
    if name not in ([f"{first}/{config}" for config in configs] or [first]):
        fix = f"name one as {first}/CONFIG: {first_few(configs)}"
        raise UserError(
            f"tfds:{name}: {first} has {'' if configs else 'no '}configurations; "
            + (fix if configs else f"write tfds:{first}")
        )


def _without_library(name: str, error: ImportError) -> UserError:
    first: BaseException = error
    while first.__cause__:  # TFDS adds what it was doing.
        first = first.__cause__
    library = (getattr(first, "name", "") or reason(error)).partition(".")[0]
    needed = {each.partition("-")[0] for each in _PREPARING}
    install = " ".join(_PREPARING) if library in needed else library
    return UserError(
        f"tfds:{name}: TFDS needs {library} to prepare it, which is not installed; pip "
        f"install {install}"
    )
