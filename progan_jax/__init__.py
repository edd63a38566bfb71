"""Progressive GAN, StyleGAN and StyleGAN-XL in JAX and Flax.

    import progan_jax
    g = progan_jax.load("runs/digits")  # A trained generator.
    images = g.sample(16, seed=1)       # float32 [16, 32, 32, 1], about [-1, 1].

JAX is imported when one of these names is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from progan_jax.errors import UserError as UserError
    from progan_jax.inference.generator import to_uint8 as to_uint8
    from progan_jax.inference.load import load as load

__version__ = "0.1.0"

_PLACES = {
    "load": "progan_jax.inference.load",
    "to_uint8": "progan_jax.inference.generator",
    "UserError": "progan_jax.errors",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
