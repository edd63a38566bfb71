"""The families of models by their names in `config.family`, and their interface.

A family is a package of `progan_jax.models` whose `__init__` has the names of `Family`.
Nothing outside `models` imports a family by its own name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax

from progan_jax.models import progan, stylegan, stylegan_xl
from progan_jax.models.common import (
    LossInputs,
    LossOutputs,
    LossState,
    Paper,
    Params,
    Penalty,
    Variables,
    Weights,
)
from progan_jax.models.official import refuse_others
from progan_jax.weights.kinds import PERSISTENT, identify
from progan_jax.weights.torch_pickles import read_modules
from progan_jax.weights.unpickling import read_pickle

# "file", the name of a file, and its "sha256", by the frozen networks whose it is.
Files = dict[str, dict[str, str]]


class Family(Protocol):
    """Interface of a family; `options` and `loss` are instances of its dataclasses.

    Attributes:
      Options: Dataclass of the fields of `config.model`; see `models.options`. All
        families have `resolution`, `channels`, `latent_size`, `num_classes`, `dtype`
        and `remat`, and the properties `stddev_group`, `group_field`, `advised_group`,
        `keeps_groups`, `whole_batch`, `one_stage` and `matters` of
        `progan.options.Options`.
      LossOptions: Dataclass of the fields of `config.loss`, with the property
        `in_full_space` of `progan.options.LossOptions`.
      G_PENALTY: A penalty on G alone, which has steps of its own; None for none.
      RESTARTS: Whether each stage begins anew, with new optimizers and a new D, on the
        average of G of the stage before. Then `Options` also has `sides`, the
        resolutions of the stages, and G may have `is_trained(path)`, whether a stage
        trains a parameter.
      PAPER: The publication that it implements.
      CURVES: Charts of the report besides those of losses and scores, by title: scalars
        of its losses, as "Loss/NAME" or "Health/NAME", and their names in the legend.
      IMPORTED: Networks that are read from its authors' pickles, of `common.NETWORKS`.
      RECORD_CLASSES: Classes of the networks in its authors' pickles.
    """

    Options: Any
    LossOptions: Any
    G_PENALTY: Penalty | None
    RESTARTS: bool
    PAPER: Paper
    CURVES: Mapping[str, Mapping[str, str]]
    IMPORTED: tuple[str, ...]
    RECORD_CLASSES: tuple[str, ...]

    def describe(self, options: Any, /) -> dict[str, str]:
        """Returns rows of a model card on the networks: names and values."""
        ...

    def joint_faults(self, options: Any, loss: Any, /) -> Any:
        """Yields a line for each combination of fields that is invalid."""

    def loss_at(self, options: Any, loss: Any, resolution: int, /) -> Any:
        """Returns the `LossOptions` of the stage of a resolution."""

    def make_networks(
        self, options: Any, resolution: int, per_device_batch: int = 0, /
    ) -> tuple[Any, Any]:
        """Returns G and D of one resolution's stage, Flax modules.

        Both have `resolution` and `num_classes`. G also has `options`, `latent_size`,
        `sees_batch` (whether an image depends on its batch) and `layers()` (see
        `common.Layer`); D has `channels`. A style-based G has also `num_layers`,
        `layer_sides`, the field `noise_mode`, which is "none" for a G without noise,
        and the methods `mapping`, `truncate` and `synthesis`; `truncate` takes w and
        one-hot labels, or None for no class in particular.
        """
        ...

    def draw_for_d(
        self, keys: jax.Array, n: int, options: Any, loss: Any, log_probs: Any, /
    ) -> Any:
        """Returns the random arrays of a D step: `labels`, and whatever it needs.

        Each has n rows, one per image; what a step draws once is drawn by `make_fakes`
        from `progress.key`. If `labels` is None, fakes take the classes of the real
        images. `keys` are three keys, and `log_probs` the classes' log frequencies.
        """

    def draw_for_g(
        self, keys: jax.Array, n: int, options: Any, loss: Any, log_probs: Any, /
    ) -> Any:
        """Returns the random arrays of a G step, likewise."""

    def load_frozen(self, options: Any, loss: Any, blank: bool, /) -> Any:
        """Returns a tree of NumPy arrays that losses read and that are never trained.

        They come from files, are not checkpointed, and are on every device. None if
        there are none. Raises UserError if a file cannot be read. `blank`: without
        files, for programs that are compiled and not run; their numbers are arbitrary.
        """

    def files(self, options: Any, loss: Any, /) -> Files:
        """Returns name and hash of the files of `load_frozen`, by their networks.

        Runs and snapshots record them. Raises UserError if a file is missing.
        """
        ...

    def begin(self, options: Any, born: Variables, /) -> Variables:
        """Returns a run's first variables, given those that were drawn.

        Raises UserError if a file that they start from cannot be read.
        """
        ...

    def make_fakes(
        self, generator: Any, variables: Any, draws: Any, labels: Any, progress: Any, /
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Returns G's images [N, r, r, C] in training, and its stats after the call.

        `variables` are G's, `draws` a step's, `labels` the fakes' classes int [N] or
        None, and `progress` is the run's. All parts of a batch see the same
        `progress.key`: noise of an image must depend on its number in the batch, too.
        """
        ...

    def init_loss_state(self, loss: Any, /) -> LossState:
        """Returns what the losses carry from step to step, at a run's start."""
        ...

    def d_loss(
        self, d_params: Params, inputs: LossInputs, /
    ) -> tuple[jax.Array, LossOutputs]:
        """Returns D's loss, to be differentiated with respect to `d_params`.

        Its scalars have at least `d_loss`, `real_scores` and `fake_scores`.
        """
        ...

    def g_loss(
        self, g_params: Params, inputs: LossInputs, /
    ) -> tuple[jax.Array, LossOutputs]:
        """Returns G's loss on the given fakes, or on fakes made with `g_params`.

        Its scalars have at least `g_loss`; the names of all begin with "g_".
        """
        ...

    def g_takes_reals(self, loss: Any, /) -> bool:
        """Returns whether G's loss needs a batch of real images."""
        ...

    def is_zero_sum(self, options: Any, loss: Any, /) -> bool:
        """Returns whether G's loss is minus `fake_scores`, the fakes' part of D's.

        D's loss may then have no other gradient with respect to the fakes. A
        simultaneous step goes back through D once instead of twice.
        """
        ...

    def num_to_fit(self, options: Any, num_images: int, /) -> int:
        """Returns the number of real images that a new D is fitted to; 0 for none."""
        ...

    def fit(self, discriminator: Any, d_params: Params, images: jax.Array, /) -> Params:
        """Returns a new D's parameters, fitted to images [N, r, r, C] in [-1, 1]."""
        ...

    def recognises(self, value: Any, /) -> bool:
        """Returns whether an authors' pickle has this family's networks."""
        ...

    def import_value(
        self, path: Path, value: Any, kind: str, level: float | None, /
    ) -> tuple[Weights, dict[str, Any]]:
        """Returns weights and description of a network; see `import_network`."""
        ...


FAMILIES: dict[str, Family] = {
    "progan": progan,
    "stylegan": stylegan,
    "stylegan_xl": stylegan_xl,
}

DEFAULT = "progan"  # For configurations and snapshots that name no family.


def import_network(
    path: Path, kind: str, level: float | None = None
) -> tuple[Weights, dict[str, Any]]:
    """Returns the weights and the description of a network in an authors' file.

    Args:
      path: A pickle that the program of one of the families' authors wrote.
      kind: One of `common.NETWORKS`; "Gs" is the averaged generator.
      level: Level of detail, for families that grow; by default the network's own.

    Returns:
      Nested float32 NumPy arrays, and a snapshot's description with the licence.

    Raises:
      UserError: if the file cannot be read, refers to code, or does not hold complete
        networks of a family.
    """
    value = _read(path)
    known = [family for family in FAMILIES.values() if family.recognises(value)]
    if not known:
        refuse_others(path, value)
    # The default's error names what is wrong with a file that no family recognises.
    family = known[0] if known else FAMILIES[DEFAULT]
    return family.import_value(path, value, kind, level)


def _read(path: Path) -> Any:
    """Returns the content of a pickle of TensorFlow's programs, or of PyTorch's."""
    if identify(path) == PERSISTENT:
        return read_modules(path)
    classes = [name for family in FAMILIES.values() for name in family.RECORD_CLASSES]
    return read_pickle(path, classes)


def import_networks(
    path: Path, level: float | None = None
) -> tuple[dict[str, Weights], dict[str, Any]]:
    """Returns all networks that are read from an authors' file, and Gs's description.

    Args:
      path: See `import_network`.
      level: See `import_network`.

    Returns:
      Weights by the networks' names, of which "Gs" is the first.

    Raises:
      UserError: as for `import_network`.
    """
    averaged, info = import_network(path, "Gs", level)
    others = [n for n in FAMILIES[info.get("family", DEFAULT)].IMPORTED if n != "Gs"]
    found = {name: import_network(path, name, level)[0] for name in others}
    return {"Gs": averaged} | found, info
