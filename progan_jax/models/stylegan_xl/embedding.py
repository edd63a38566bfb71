"""The table of class embeddings that a training starts from.

That of the paper has a row for each class of ImageNet: the mean of EfficientNet-lite0's
deepest features over its images. G and each head of D train a copy of their own.
Source: Sauer et al. 2022, section 3.2.
"""

from pathlib import Path

import numpy as np

from progan_jax.errors import UserError
from progan_jax.models.common import Variables
from progan_jax.models.stylegan_xl.discriminator import with_embedding
from progan_jax.models.stylegan_xl.options import Options

_FIELD = "config.model.embedding_file"


def begin(options: Options, born: Variables) -> Variables:
    """Returns new networks' variables, with the table of the options' file if any.

    Raises:
      UserError: if the file cannot be read, or the table has too few rows or another
        width.
    """
    if not options.embedding_file or not options.num_classes:
        return born
    table = read_table(options)
    mapping = born.g["params"]["mapping"] | {"embedding": table}
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
            f"{_FIELD} = {options.embedding_file!r} has rows of {table.shape[1]} "
            f"numbers, and config.model.embedding_size = {width}; set it to that"
        )
    if max(chosen) >= len(table):
        raise UserError(
            f"{_FIELD} = {options.embedding_file!r} has {len(table)} rows, from 0 on, "
            f"and row {max(chosen)} is asked for; lower config.model.embedding_rows, "
            "or choose others by config.model.embedding_choice"
        )
    return table[chosen]


def _read(path: str) -> np.ndarray:
    """Returns the only array of an .npy or .npz file, as float32."""
    file = Path(path).expanduser()
    try:
        found = np.load(file, allow_pickle=False)
        arrays = [found] if isinstance(found, np.ndarray) else list(found.values())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{_FIELD} = {path!r} cannot be read ({error}); name an .npz or .npy file, "
            "or set it to '' for random embeddings"
        ) from error
    tables = [array for array in arrays if array.ndim == 2]
    if len(tables) != 1:
        raise UserError(
            f"{_FIELD} = {path!r} holds {len(tables)} tables and must hold one, an "
            "array [rows, width]; name another file"
        )
    return np.asarray(tables[0], np.float32)
