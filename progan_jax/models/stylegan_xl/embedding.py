"""The table of class embeddings that a training starts from.

That of the paper has a row for each class of ImageNet: the mean of EfficientNet-lite0's
deepest features over its images. G and each head of D train a copy of their own.
Source: Sauer et al. 2022, section 3.2.
"""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from progan_jax.errors import UserError, reason
from progan_jax.models.common import Variables
from progan_jax.models.stylegan_xl.discriminator import with_embedding
from progan_jax.models.stylegan_xl.options import Options
from progan_jax.weights.kinds import PICKLES, identify
from progan_jax.weights.torch_pickles import named_arrays, read_modules

_FIELD = "config.model.embedding_file"


def begin(options: Options, born: Variables) -> Variables:
    """Returns new networks' variables, with the table of the options' file if any.

    Raises:
      UserError: if the file cannot be read, or the table has too few rows or another
        width.
    """
    if not options.embedding_file or not options.num_classes:
        return born
    table, mapping = read_table(options), born.g["params"]["mapping"]
    given = jnp.asarray(table, mapping["embedding"].dtype)
    mapping = mapping | {"embedding": given}
    g = born.g | {"params": born.g["params"] | {"mapping": mapping}}
    d = born.d | {"params": with_embedding(born.d["params"], table)}
    return Variables(g, d)


def read_table(options: Options) -> np.ndarray:
    """Returns the rows of the options' file that they choose, float32 [rows, width].

    Raises:
      UserError: see `begin`.
    """
    table = _read(options.embedding_file)
    rows, width = options.embedding_rows, options.embedding_size
    chosen = [int(row) for row in options.chosen_rows] or list(range(rows))
    if table.shape[1] != width:
        raise UserError(
            f"{_FIELD} = {options.embedding_file!r} must have rows of "
            f"config.model.embedding_size = {width} numbers and has rows of "
            f"{table.shape[1]}; set that to {table.shape[1]}, or name another file"
        )
    if max(chosen) >= len(table):
        raise UserError(
            f"{_FIELD} = {options.embedding_file!r} must have a row {max(chosen)} and "
            f"has rows 0 to {len(table) - 1}; lower config.model.embedding_rows, or "
            "choose others by config.model.embedding_choice"
        )
    return table[chosen]


def _read(path: str) -> np.ndarray:
    """Returns the only table of a file, as float32."""
    try:
        arrays = _arrays(Path(path).expanduser())
    except UserError as error:
        raise UserError(f"{_FIELD}: {error}") from error
    except Exception as error:  # Damaged bytes fail in any operation.
        raise UserError(
            f"{_FIELD} = {path!r} cannot be read ({reason(error)}); name an .npz or "
            ".npy file or the authors' .pkl, or set it to '' for random embeddings"
        ) from error
    tables = [a for a in arrays if a.ndim == 2 and a.dtype.kind in "fiu"]
    if len(tables) != 1:
        raise UserError(
            f"{_FIELD} = {path!r} must hold one table, numbers [rows, width], and "
            f"holds {len(tables)}; name another file"
        )
    return np.asarray(tables[0], np.float32)


def _arrays(file: Path) -> list[np.ndarray]:
    if identify(file) in PICKLES:
        return _pickled_arrays(read_modules(file))
    # NumPy leaves a file open that it opens itself and finds damaged.
    with file.open("rb") as opened:
        found = np.load(opened, allow_pickle=False)
        return [found] if isinstance(found, np.ndarray) else list(found.values())


def _pickled_arrays(value: Any) -> list[np.ndarray]:
    """Returns the arrays of the authors' file, a dictionary with one module."""
    module = value.get("embed") if isinstance(value, dict) else None
    return [array.numbers for _, array in named_arrays(module)] if module else []
