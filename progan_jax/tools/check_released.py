"""Compares a released StyleGAN-XL with what its authors published.

    python -m progan_jax.tools.check_released FILE.pkl [--class=207] [--out=PNG]
    python -m progan_jax.tools.check_released FILE.pkl --reference=FILE.npz

FILE.pkl is one that the authors of StyleGAN-XL released, such as imagenet128.pkl. It is
read as data: no code in it is run. The images of the seeds of their README, 10 to 15,
are drawn as their program does, with psi 0.7, and written as one picture for comparison
by eye; random classes are theirs, too. Hashes of the file, the weights and each image
are printed: the last ones tell machines and versions of this package apart, and are not
known of the authors' program, whose images differ in rounding.

--reference has mean and covariance of Inception's features of the real images, `mu` and
`sigma`, as pytorch-fid writes them. Then FID of --num images, not truncated, is printed
beside the published value, which is of 50,000.

None of the released files was at hand when this was written: the import is tested on
files that the program's own classes wrote.
"""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags
from flax import traverse_util

from progan_jax.errors import UserError, reason
from progan_jax.images import tile
from progan_jax.inference.generator import TrainedGenerator, to_uint8
from progan_jax.inference.load import open_generator
from progan_jax.metrics.frechet import (
    FeatureStatistics,
    frechet_distance,
    statistics_of,
)
from progan_jax.metrics.inception import InceptionExtractor
from progan_jax.metrics.inception_weights import load_inception
from progan_jax.models.common import to_weights
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.tools.drawing import find_label, write_picture

# FID of the released models, by the names of their files: the authors' README.
PUBLISHED = {
    **{"imagenet16": 0.73, "imagenet32": 1.11, "imagenet64": 1.52, "imagenet128": 1.77},
    **{"imagenet256": 2.26, "imagenet512": 2.42, "imagenet1024": 2.51, "cifar10": 1.85},
    **{"ffhq256": 2.19, "ffhq512": 2.23, "ffhq1024": 2.02},
    **{"pokemon256": 23.97, "pokemon512": 23.82, "pokemon1024": 25.47},
}

_SEEDS, _PSI = range(10, 16), 0.7  # Of the pictures in the authors' README.
_TAP = "2048"  # Inception's features that FID compares.
_CHUNK = 64  # Images that are drawn at a time.

CLASS = flags.DEFINE_string("class", None, "Class of all images; random if unset.")

OUT = flags.DEFINE_string("out", None, "The PNG to write.")

REFERENCE = flags.DEFINE_string("reference", None, "Statistics of real images, .npz.")

NUM = flags.DEFINE_integer("num", 50_000, "Images for FID.", lower_bound=2)

INCEPTION_WEIGHTS = flags.DEFINE_string(
    "inception_weights", None, "File of Inception's weights; the cache's if unset."
)


def main(file: str) -> None:
    """Imports the file, draws and prints."""
    reference = read_reference(Path(REFERENCE.value)) if REFERENCE.value else None
    keep_compiled()
    generator = open_generator(file, None, ("FILE", "--snapshot"))
    _check_released(file, generator)
    source = generator.info["source"]
    print(f"{source['file']}: {generator.resolution}x{generator.resolution}, ", end="")
    print(f"{generator.num_classes or 'no'} classes, {generator.num_layers} layers")
    print(f"SHA-256 of the file     {source['sha256']}")
    print(f"SHA-256 of the weights  {hash_weights(generator)}")
    images = draw_as_readme(generator, find_label(generator, CLASS.value))
    for seed, image in zip(_SEEDS, images, strict=True):
        print(f"SHA-256 of seed {seed:<8}{hashlib.sha256(image.tobytes()).hexdigest()}")
    name = f"released/seeds{_SEEDS[0]}-{_SEEDS[-1]}"
    print(write_picture(file, generator, name, OUT.value, tile(images, len(images))))
    if reference is not None:
        given = INCEPTION_WEIGHTS.value
        weights = load_inception(Path(given) if given else None)
        features = InceptionExtractor(weights).at(_TAP)
        fid = measure_fid(generator, features, reference, NUM.value)
        print(f"FID of {NUM.value} images {fid:.2f}; {_published(Path(file).stem)}")


def draw_as_readme(generator: TrainedGenerator, label: int | None) -> np.ndarray:
    """Returns the images of the README's seeds, uint8 [6, r, r, 3].

    Latents and random classes are those of NumPy's older generator, each of a fresh one
    of the seed, as in the authors' program.
    """
    size, classes = generator.latent_dim, generator.num_classes
    z = np.stack([np.random.RandomState(seed).randn(size) for seed in _SEEDS])
    labels = None
    if classes:
        drawn = [np.random.RandomState(s).randint(0, classes) for s in _SEEDS]
        labels = np.array(drawn if label is None else [label] * len(drawn))
    images = generator(z.astype(np.float32), labels, truncation_psi=_PSI)
    # Their scripts cut the fraction off, where others round.
    return np.clip((images + 1) * 127.5, 0, 255).astype(np.uint8)


def hash_weights(generator: TrainedGenerator) -> str:
    """Returns a SHA-256 of all names and arrays, which is the same on all machines."""
    flat = traverse_util.flatten_dict(to_weights(generator.variables), sep="/")
    digest = hashlib.sha256()
    for name in sorted(flat):
        array = np.asarray(flat[name], "<f4")
        digest.update(f"{name} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()


def read_reference(path: Path) -> FeatureStatistics:
    """Returns the statistics of real images in an .npz file with `mu` and `sigma`.

    Raises:
      UserError: if there are none of Inception's features.
    """
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            mean, covariance = (
                np.asarray(arrays[name], np.float64) for name in ("mu", "sigma")
            )
        size = int(_TAP)
        if mean.shape != (size,) or covariance.shape != (size, size):
            raise ValueError(f"mu has the shape {mean.shape}, not ({size},)")
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"--reference={path}: {reason(error)}; name an .npz file with the mean mu "
            "and the covariance sigma of Inception's features"
        ) from error
    # The file has no count: the covariance is taken as it is.
    count = 2 * size
    return FeatureStatistics(count, mean, covariance * (count - 1))


def measure_fid(
    generator: TrainedGenerator,
    features: Callable[[np.ndarray], np.ndarray],
    reference: FeatureStatistics,
    num: int,
) -> float:
    """Returns FID of images that are not truncated, of all classes alike.

    Args:
      generator: Draws the images.
      features: Maps uint8 [n, r, r, 3] to [n, d].
      reference: Statistics of the real images' features.
      num: Number of images.
    """
    sizes = [min(_CHUNK, num - start) for start in range(0, num, _CHUNK)]
    found = [
        features(to_uint8(generator.sample(size, seed, truncation_psi=1.0)))
        for seed, size in enumerate(sizes)
    ]
    return frechet_distance(reference, statistics_of(np.concatenate(found)))


def _check_released(file: str, generator: TrainedGenerator) -> None:
    info = generator.info
    if info.get("family") != "stylegan_xl" or "class" not in info.get("source", {}):
        raise UserError(
            f"FILE={file} is not a pickle of StyleGAN-XL's authors; name one"
        )


def _published(name: str) -> str:
    if name in PUBLISHED:
        return f"published: {PUBLISHED[name]}"
    return f"no value is published for a file called {name}"


if __name__ == "__main__":
    run(main, "FILE")
