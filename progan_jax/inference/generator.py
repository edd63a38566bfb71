"""Trained generators: called with latents, or sampled by seed.

Nothing here needs what training needs: data sets, checkpoints or configurations.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from progan_jax import images as pixels
from progan_jax.errors import UserError
from progan_jax.inference.classes import find_class, list_classes, one_line
from progan_jax.inference.imagenet import NUM_CLASSES, all_names, name_synset
from progan_jax.inference.inputs import check_seed, is_whole, read_array
from progan_jax.inference.programs import Programs
from progan_jax.inference.sampling import (
    BATCH_SIZE,
    check_weights,
    draw_inputs,
    generator_from_snapshot,
    read_alpha,
)
from progan_jax.inference.styles import (
    Layers,
    Style,
    check_style_based,
    is_style_based,
    read_centres,
    read_layers,
    read_style,
    read_w,
    truncate_to_nearest,
)
from progan_jax.models.common import Params, Weights, one_hot, to_variables
from progan_jax.models.families import DEFAULT, FAMILIES, Family

Label = jax.typing.ArrayLike | str | Sequence[str]  # One or many, by number or name.

_quantise = jax.jit(pixels.to_uint8)


class TrainedGenerator:
    """A trained generator: latents in, images out.

    Its calls compile at their first use, once for each batch size: 1, 2, 4, ...

    Attributes:
      name: Name of the snapshot, for messages.
      info: The snapshot's description; see docs/using.md.
      network: The Flax module.
      variables: Its parameters, and its other arrays, on the device.
      alpha: Weight of its newest block, in [0, 1]; 1 after the fade.
    """

    def __init__(self, weights: Weights, info: Mapping[str, Any], name: str) -> None:
        """Takes what `read_snapshot` returns, and the name of the snapshot.

        Raises:
          UserError: if weights and description do not fit together.
        """
        self.name, self.info = name, info
        self.network = generator_from_snapshot(info)
        check_weights(self.network, weights)
        self.variables = jax.device_put(to_variables(weights))
        self.alpha = read_alpha(info)
        self._programs = Programs(self.network, self.alpha, name)

    @property
    def family(self) -> Family:
        """The family of models that it belongs to."""
        return FAMILIES[self.info.get("family", DEFAULT)]

    @property
    def params(self) -> Params:
        """Its parameters, nested by layer."""
        params: Params = self.variables["params"]
        return params

    @property
    def latent_dim(self) -> int:
        """Width of the latents."""
        return self.network.latent_size

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.network.resolution

    @property
    def num_layers(self) -> int:
        """Number of layers with a style; 0 for a generator that is not style-based."""
        return self.network.num_layers if is_style_based(self.network) else 0

    @property
    def still_noise(self) -> str | None:
        """Noise that is the same for all images: "fixed", or "none" without any.

        None for a generator that is not style-based.
        """
        if not self.num_layers:
            return None
        return "none" if self.network.noise_mode == "none" else "fixed"

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for an unconditional generator."""
        return self.network.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers; () if unknown.

        A thousand classes without names of their own are ImageNet's, unless the set
        has another name. ImageNet's folders, such as n02123045, are named in words.
        """
        dataset = self.info.get("dataset") or {}
        names = dataset.get("class_names")
        if not names and self.num_classes == NUM_CLASSES:
            is_its = "imagenet" in str(dataset.get("name", "imagenet"))
            return all_names() if is_its else ()
        if not isinstance(names, list) or len(names) < self.num_classes:
            return ()
        # With data.truncate_labels it was trained on the first classes of a set.
        known = (one_line(str(name)) for name in names[: self.num_classes])
        return tuple(name_synset(name) for name in known)

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.network.options.channels

    def __call__(
        self,
        z: jax.typing.ArrayLike,
        label: Label | None = None,
        *,
        resolution: int | None = None,
        stale_rgb: bool = False,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise: str | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Returns the images of latents.

        Args:
          z: Latents [N, latent_dim], standard normal.
          label: Class of all images, or classes [N], by number from 0 to
            num_classes - 1 or by name; required if there are classes, an error if
            there are none.
          resolution: Side r of the images, a power of two from 4 to the generator's
            resolution, which is the default. Smaller images are means over blocks of
            pixels.
          stale_rgb: Whether smaller images are instead the output of the RGB layer of
            that resolution. That layer was last trained when the network had that
            resolution; the layers before it have been trained further since.
          truncation_psi: Of a style-based generator: see `inference.styles.Style`. By
            default the truncation is that of the generator's options.
          truncation_cutoff: Likewise.
          noise: "random", which is the default, "fixed" or "none"; likewise.
          seed: Seed of random noise; the same seed gives the same images.

        Returns:
          float32 [N, r, r, channels], about [-1, 1], not clipped.

        Raises:
          UserError: if an argument is invalid, or images are not finite.

        Examples:
          >>> import numpy as np
          >>> import progan_jax
          >>> g = progan_jax.load("cifar10")
          >>> z = np.random.default_rng(0).standard_normal((4, g.latent_dim))
          >>> g(z, "ship").shape
          (4, 32, 32, 3)
          >>> g(z, [0, 3, 8, 9], resolution=8).shape
          (4, 8, 8, 3)
        """
        latents, labels = self._read_inputs(z, label)
        style = self.read_style(truncation_psi, truncation_cutoff, noise)
        check_seed("seed", seed)
        return self._draw(latents, labels, resolution, stale_rgb, seed, style)

    def sample(
        self,
        n: int,
        seed: int,
        label: Label | None = None,
        *,
        resolution: int | None = None,
        stale_rgb: bool = False,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise: str | None = None,
    ) -> np.ndarray:
        """Returns n images of a seed; a larger n gives the same first images.

        The same up to rounding, which depends on the batch size.

        Args:
          n: Number of images, at least 1.
          seed: Seed of the latents, of random noise, and of the classes if `label` is
            None.
          label: Class of all images, or classes [n], by number or by name; None for
            random ones.
          resolution: See `__call__`.
          stale_rgb: See `__call__`.
          truncation_psi: See `__call__`.
          truncation_cutoff: See `__call__`.
          noise: See `__call__`.

        Returns:
          As `__call__`.

        Raises:
          UserError: if an argument is invalid, or images are not finite.

        Examples:
          >>> import numpy as np
          >>> import progan_jax
          >>> g = progan_jax.load("cifar10")
          >>> images = g.sample(4, seed=0)
          >>> images.shape, str(images.dtype)
          ((4, 32, 32, 3), 'float32')
          >>> np.allclose(images[:2], g.sample(2, seed=0), atol=1e-5)
          True
        """
        if not is_whole(n) or n < 1:
            raise UserError(f"n={n} must be at least 1, and whole; change it")
        check_seed("seed", seed)
        style = self.read_style(truncation_psi, truncation_cutoff, noise)
        # With batch norm an image depends on its batch: always draw complete ones.
        multiple = BATCH_SIZE if self.network.sees_batch else 1
        drawn = -(-n // multiple) * multiple
        latents, labels = draw_inputs(self.network, drawn, seed)
        if label is not None:
            labels = np.resize(np.asarray(self._read_labels(label, n)), drawn)
        return self._draw(latents, labels, resolution, stale_rgb, seed, style)[:n]

    def mapping(
        self, z: jax.typing.ArrayLike, label: Label | None = None
    ) -> np.ndarray:
        """Returns w of latents, float32 [N, w_size]: a style for all layers.

        Args:
          z: See `__call__`.
          label: See `__call__`.

        Raises:
          UserError: if an argument is invalid, or the generator is not style-based.
        """
        self.check_style_based("mapping")
        latents, labels = self._read_inputs(z, label)
        return self._programs.map(self.variables, latents, labels)

    def truncate(
        self,
        w: jax.typing.ArrayLike,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        label: Label | None = None,
        centres: jax.typing.ArrayLike | None = None,
    ) -> np.ndarray:
        """Returns w_average + psi (w - w_average) in the first layers, w in the others.

        Args:
          w: [N, w_size] or [N, num_layers, w_size].
          truncation_psi: See `__call__`.
          truncation_cutoff: See `__call__`.
          label: Class of all w, or classes [N], where each class has an average of its
            own; None for the average of all.
          centres: [K, w_size], to the nearest of which each w moves, whatever its
            class; None for the average. See `inference.styles.truncate_to_nearest`.

        Returns:
          float32 [N, num_layers, w_size].

        Raises:
          UserError: if an argument is invalid, or the generator is not style-based.

        Source: Karras et al. 2019, appendix B.
        """
        self.check_style_based("truncate")
        style = self.read_style(truncation_psi, truncation_cutoff)
        network = self.network.clone(
            truncation_psi=style.truncation_psi,
            truncation_cutoff=style.truncation_cutoff,
        )
        values = read_w(network, w)
        if centres is not None:
            if label is not None:
                raise UserError("label and centres exclude each other; leave one out")
            return truncate_to_nearest(values, read_centres(network, centres), style)
        labels = None if label is None else self._read_labels(label, len(values))
        classes = one_hot(network, labels)
        return np.array(
            network.apply(self.variables, values, classes, method="truncate")
        )

    def synthesis(
        self,
        w: jax.typing.ArrayLike,
        *,
        noise: str | None = None,
        seed: int = 0,
        resolution: int | None = None,
        stale_rgb: bool = False,
    ) -> np.ndarray:
        """Returns the images of w, which is taken as it is: it is not truncated.

        Args:
          w: [N, w_size], or [N, num_layers, w_size] with a style for each layer.
          noise: See `__call__`.
          seed: Seed of random noise.
          resolution: See `__call__`.
          stale_rgb: See `__call__`.

        Returns:
          As `__call__`.

        Raises:
          UserError: if an argument is invalid, the generator is not style-based, or
            images are not finite.
        """
        self.check_style_based("synthesis")
        style, values = self.read_style(noise=noise), read_w(self.network, w)
        check_seed("seed", seed)
        return self._programs.draw(
            self.variables, values, None, seed, resolution, stale_rgb, style.noise
        )

    def mix(
        self,
        z1: jax.typing.ArrayLike,
        z2: jax.typing.ArrayLike,
        layers: Layers,
        label: Label | None = None,
        *,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise: str | None = None,
        seed: int = 0,
        resolution: int | None = None,
    ) -> np.ndarray:
        """Returns images of z1 whose given layers have the styles of z2.

        Args:
          z1: See `__call__`.
          z2: As many latents.
          layers: Numbers of layers, from 0 at 4x4; or "coarse", "middle", "fine"; or
            the first and the last one, as "4-7".
          label: See `__call__`; the class of both.
          truncation_psi: See `__call__`.
          truncation_cutoff: See `__call__`.
          noise: See `__call__`.
          seed: See `__call__`.
          resolution: See `__call__`.

        Returns:
          As `__call__`.

        Raises:
          UserError: if an argument is invalid, the generator is not style-based, or
            images are not finite.

        Source: Karras et al. 2019, section 3.1.
        """
        self.check_style_based("mix")
        chosen = read_layers("layers", layers, self.num_layers)
        style = self.read_style(truncation_psi, truncation_cutoff, noise)
        z1, z2 = read_array("z1", z1), read_array("z2", z2)
        if z1.shape != z2.shape:
            raise UserError(
                f"z1 has the shape {list(z1.shape)} and z2 {list(z2.shape)}; give as "
                "many latents of each"
            )
        w, others = (
            self.truncate(self.mapping(z, label), *style[:2], label) for z in (z1, z2)
        )
        w[:, chosen] = others[:, chosen]
        return self.synthesis(w, noise=style.noise, seed=seed, resolution=resolution)

    def read_style(
        self,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = None,
        noise: str | None = None,
        prefix: str = "",
    ) -> Style:
        """Returns the complete settings of a call; see `inference.styles.read_style`.

        Raises:
          UserError: if one is invalid, or given to a generator that is not style-based.
        """
        given = Style(truncation_psi, truncation_cutoff, noise)
        return read_style(self.network, self.family.PAPER.model, given, prefix)

    def check_style_based(self, asked: str, *fix: str) -> None:
        """Raises UserError for a generator without styles; see `inference.styles`."""
        check_style_based(self.network, self.family.PAPER.model, asked, *fix)

    def _read_inputs(
        self, z: jax.typing.ArrayLike, label: Label | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns latents float32 [N, latent_dim], and classes int [N] or None."""
        latents = read_array("z", z)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim or not len(latents):
            raise UserError(
                f"z has the shape {list(latents.shape)} and must have [N, "
                f"{self.latent_dim}] with N at least 1; draw it with "
                f"numpy.random.default_rng(0).standard_normal((N, {self.latent_dim}))"
            )
        if not np.isfinite(latents).all():
            raise UserError("z has numbers that are not finite; draw it again")
        return latents, self._read_labels(label, len(latents))

    def _read_labels(self, label: Label | None, count: int) -> np.ndarray | None:
        """Returns classes int [count], or None for an unconditional generator."""
        names = self.class_names
        if label is None and self.num_classes:
            choice = list_classes(names) or f"a number from 0 to {self.num_classes - 1}"
            raise UserError(f"label is missing: give a class, {choice}")
        if label is None:
            return None
        try:
            given = np.asarray(label)
        except ValueError:  # Lists of several lengths.
            given = np.array(None)
        if given.dtype.kind not in "iuU" or given.shape not in ((), (count,)):
            raise UserError(
                f"label must be a class, or {count} of them, one for each image; it is "
                f"{given.dtype}{list(given.shape)}"
            )
        classes = [
            find_class("label", wanted, self.num_classes, names)
            for wanted in given.ravel().tolist()
        ]
        return np.broadcast_to(np.array(classes).reshape(given.shape), count)

    def _draw(
        self,
        latents: np.ndarray,
        labels: np.ndarray | None,
        resolution: int | None,
        stale_rgb: bool,
        seed: int,
        style: Style,
    ) -> np.ndarray:
        if self.num_layers:
            w = self.mapping(latents, labels)
            latents = self.truncate(w, *style[:2], labels)
        return self._programs.draw(
            self.variables, latents, labels, seed, resolution, stale_rgb, style.noise
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the compiled programs, which other processes cannot use."""
        programs = Programs(self.network, self.alpha, self.name)
        variables = jax.device_get(self.variables)
        return self.__dict__ | {"variables": variables, "_programs": programs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"variables": jax.device_put(state["variables"])}

    def __repr__(self) -> str:
        side, classes = self.resolution, self.num_classes or "no"
        return (
            f"<generator {self.name}: {side}x{side}x{self.channels} from "
            f"{self.latent_dim} latents, {classes} classes>"
        )


def to_uint8(images: jax.typing.ArrayLike) -> np.ndarray:
    """Maps images of any shape from [-1, 1] to uint8 0..255, rounded and clipped.

    Examples:
      >>> import progan_jax
      >>> progan_jax.to_uint8([-1.2, -1.0, 0.0, 1.0]).tolist()
      [0, 0, 128, 255]
    """
    return np.asarray(_quantise(jnp.asarray(images)))
