"""What the compiler is told besides the program."""

import jax
import ml_collections

from progan_jax.errors import UserError

_DETERMINISTIC: dict[str, bool | str] = {
    # No atomic additions, and the first kernel that fits: which is the fastest would
    # turn out otherwise after a restart.
    "xla_gpu_deterministic_ops": True,
    # Leaves the tuning of plain fusions out too.
    "xla_gpu_exclude_nondeterministic_ops": True,
    # JAX keeps tunings beside its cache of programs, where other runs write their own.
    "xla_gpu_per_fusion_autotune_cache_dir": "",
}


def compiler_options(
    config: ml_collections.ConfigDict, platform: str
) -> dict[str, bool | str]:
    """Returns the options for programs that change or draw from a run's state.

    Args:
      config: The run's; runtime.deterministic asks for the options.
      platform: Of the devices, such as "gpu"; others give the same bits anyway.

    Raises:
      UserError: if this version of XLA does not know one of them.
    """
    if not config.runtime.deterministic or platform != "gpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_DETERMINISTIC).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"config.runtime.deterministic = True: JAX {jax.__version__} refuses what "
            f"it needs ({error}); install the versions in constraints/"
        ) from error
    return dict(_DETERMINISTIC)


def set_precision(config: ml_collections.ConfigDict) -> None:
    """Sets, for this process, the precision that model and products ask for."""
    jax.config.update("jax_enable_x64", config.model.dtype == "float64")
    if config.runtime.matmul_precision != "default":
        precision = config.runtime.matmul_precision
        jax.config.update("jax_default_matmul_precision", precision)
