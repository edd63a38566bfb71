"""Commands beside progan_jax.main, each a module: python -m progan_jax.tools.NAME."""

from progan_jax.runtime.xla_log import keep_xla_quiet

keep_xla_quiet()  # Here, since the modules import JAX.
