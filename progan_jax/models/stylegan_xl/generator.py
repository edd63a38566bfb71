"""The generator of StyleGAN-XL: a stem, or a stem and its superresolutions.

It does not grow within a stage: each stage is a network of its own, which keeps most
layers of the one before. Source: Sauer et al. 2022, section 3.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from progan_jax.models.common import Layer
from progan_jax.models.layers import statistics_dtype
from progan_jax.models.stylegan.layers import broadcast_w
from progan_jax.models.stylegan_xl.design import design_network
from progan_jax.models.stylegan_xl.mapping import Mapping, update_average
from progan_jax.models.stylegan_xl.options import Options
from progan_jax.models.stylegan_xl.synthesis import Synthesis


class Generator(nn.Module):
    """Maps latents, and labels if there are classes, to w, and w to images.

    Its stats are `w_average`, of each class if there are some, the frequencies and
    phases of the input, and a constant of each layer. Samples may be truncated;
    training is not. Variants are made by `clone(truncation_psi=0.7)`.

    Attributes:
      resolution: Side of the images, that of the options.
      options: Options of the network.
      truncation_psi: Factor of the distance of w from its average, in samples.
      truncation_cutoff: Number of layers that it applies to, of which the input is the
        first; None for the options'.
      noise_mode: "none": there is no noise.
    """

    resolution: int
    options: Options = Options()
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    noise_mode: str = "none"

    @property
    def latent_size(self) -> int:
        """Width of the latents z."""
        return self.options.latent_size

    @property
    def num_classes(self) -> int:
        """Width of the one-hot labels; 0 for an unconditional network."""
        return self.options.num_classes

    @property
    def sees_batch(self) -> bool:
        """Whether an image depends on the other images of its batch."""
        return False

    @property
    def num_layers(self) -> int:
        """Number of layers that take a w of their own, with the input."""
        return len(design_network(self.options).layers) + 1

    @property
    def layer_sides(self) -> tuple[int, ...]:
        """Resolution of what each layer with a w gives, the input first.

        It is that of the image's square; maps reach beyond.
        """
        design = design_network(self.options)
        rates = [design.input.rate, *(layer.target.rate for layer in design.layers)]
        return tuple(int(rate) for rate in rates)

    def layers(self) -> tuple[Layer, ...]:
        """Returns kernel and number of pixels of each convolution, from the design."""
        layers = design_network(self.options).layers
        return tuple((layer.kernel_shape, layer.padded_size**2) for layer in layers)

    def is_trained(self, path: Sequence[str]) -> bool:
        """Returns whether this stage trains a parameter.

        A stem trains all. A superresolution trains its own layers, and the Fourier
        input if `options.train_input`, as the authors' program; the paper has it
        frozen. The mapping and the layers that it keeps stay those of the stage before.

        Args:
          path: Path of the parameter in Flax's "params".
        """
        design = design_network(self.options)
        trained = {layer.name for layer in design.head}
        trained |= {"input"} if self.options.train_input else set()
        return not design.num_kept or (path[0] == "synthesis" and path[1] in trained)

    def setup(self) -> None:
        """Makes both networks and the average of w."""
        if self.resolution != self.options.resolution:
            raise ValueError(
                f"resolution = {self.resolution} must be {self.options.resolution}, "
                "that of the options: the network does not grow"
            )
        # Their names as modules are those of the methods.
        self._mapping = Mapping(self.options, name="mapping")
        self._synthesis = Synthesis(self.options, name="synthesis")
        classes, size = self.num_classes, self.options.w_size
        shape = (classes, size) if classes else (size,)
        dtype = statistics_dtype(self.options.dtype)
        self._w_average = self.variable("stats", "w_average", jnp.zeros, shape, dtype)

    def __call__(
        self,
        z: jax.Array,
        labels: jax.Array | None = None,
        alpha: jax.typing.ArrayLike = 1.0,
        numbers: jax.Array | None = None,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Returns images [N, r, r, channels], about [-1, 1], float32 at least.

        Args:
          z: Latents [N, latent_size], standard normal.
          labels: One-hot [N, num_classes]; None without classes.
          alpha: Without effect, as the network does not grow.
          numbers: Without effect, as there is no noise.
          train: Whether the average of w follows this batch's. Nothing is truncated
            then.

        Raises:
          ValueError: if labels are missing, or given to an unconditional network.
        """
        w = self.mapping(z, labels)
        if not train:
            return self.synthesis(self.truncate(w, labels), alpha, numbers)
        average, decay = self._w_average, self.options.w_average_decay
        average.value = update_average(average.value, w, labels, decay)
        return self.synthesis(w, alpha, numbers)

    def mapping(self, z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Returns w [N, w_size], not truncated, of latents and one-hot labels."""
        return self._mapping(z, labels)

    def truncate(self, w: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Moves w towards its average: Karras et al. 2019, appendix B.

        Args:
          w: [N, w_size] or [N, num_layers, w_size].
          labels: One-hot [N, num_classes], for the average of each image's class. A
            conditional network without them takes the mean of the classes' averages.

        Returns:
          [N, num_layers, w_size].
        """
        w = broadcast_w(w, self.num_layers)
        if self.truncation_psi == 1:
            return w
        cutoff = self.truncation_cutoff
        cutoff = self.options.truncation_cutoff if cutoff is None else cutoff
        truncated = jnp.arange(self.num_layers) < cutoff
        psi = jnp.where(truncated, self.truncation_psi, 1.0).astype(w.dtype)
        average = self._average_of(labels)[:, None]
        return average + psi.reshape(1, -1, 1) * (w - average)

    def synthesis(
        self,
        w: jax.Array,
        alpha: jax.typing.ArrayLike = 1.0,
        numbers: jax.Array | None = None,
        transform: jax.Array | None = None,
    ) -> jax.Array:
        """Returns images [N, r, r, channels] of w.

        Args:
          w: [N, w_size], or one for the input and each layer [N, num_layers, w_size].
          alpha: See `__call__`.
          numbers: See `__call__`.
          transform: Inverse of a transform of the images [3, 3]; see `FourierInput`.

        Raises:
          ValueError: if w is of another shape.
        """
        del alpha, numbers
        layers, size = self.num_layers, self.options.w_size
        if w.shape[1:] not in ((size,), (layers, size)):
            raise ValueError(
                f"w of shape {w.shape} is neither [N, {size}] nor [N, {layers}, {size}]"
            )
        return self._synthesis(w, transform)

    def _average_of(self, labels: jax.Array | None) -> jax.Array:
        """Returns the average of each image's class, or one for all: [N or 1, size]."""
        average = self._w_average.value
        if labels is None:
            return jnp.mean(average.reshape(-1, average.shape[-1]), 0, keepdims=True)
        with jax.default_matmul_precision("highest"):
            return labels.astype(average.dtype) @ average
