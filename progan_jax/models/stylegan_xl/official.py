"""Files of the authors' program: none of them is a family's pickle.

Its checkpoints hold PyTorch modules and their source code, which nothing here runs.
`models.official.refuse_others` names them.
"""

from pathlib import Path
from typing import Any

from progan_jax.errors import UserError
from progan_jax.models.common import Weights

RECORD_CLASSES: tuple[str, ...] = ()


def recognises(value: Any) -> bool:
    """Returns False: see above."""
    del value
    return False


def import_value(
    path: Path, value: Any, kind: str, level: float | None
) -> tuple[Weights, dict[str, Any]]:
    """Raises UserError: checkpoints of the authors' program are not read."""
    del value, kind, level
    raise UserError(f"{path}: StyleGAN-XL's own checkpoints cannot be imported")
