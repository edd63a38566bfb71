"""The families of models, by the names that `config.family` has for them."""

from types import ModuleType

from progan_jax.models import progan
from progan_jax.models.progan import NETWORKS, import_network

__all__ = ["DEFAULT", "FAMILIES", "NETWORKS", "import_network"]

FAMILIES: dict[str, ModuleType] = {"progan": progan}

DEFAULT = "progan"  # Of configurations and snapshots that name none.
