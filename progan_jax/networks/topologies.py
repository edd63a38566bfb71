"""The topologies, by the names that `config.model.topology` has for them."""

from progan_jax.networks import mode_test, progan

TOPOLOGIES: dict[str, tuple[type[progan.Generator], type[progan.Discriminator]]] = {
    "progan": (progan.Generator, progan.Discriminator),
    "mode_test": (mode_test.Generator, mode_test.Discriminator),
}
