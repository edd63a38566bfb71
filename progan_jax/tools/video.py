"""Makes a film through a generator's latents, or of the training of a run.

    python -m progan_jax.tools.video MODEL [--seconds=60] [--grid=3x2] [--seed=1]
    python -m progan_jax.tools.video MODEL --seeds=1,5,9
    python -m progan_jax.tools.video MODEL --space=w --truncation_psi=0.5
    python -m progan_jax.tools.video MODEL --classes=3,7,tabby
    python -m progan_jax.tools.video RUN --timelapse
    python -m progan_jax.tools.video RUN --growth

MODEL is what progan_jax.load takes. The first moves through the latents and ends
where it begins, as in the paper's video; the second goes from the first image of one
seed to that of the next. Films of a StyleGAN go through w instead, unless --space=z,
with fixed noise. --classes goes through w from class to class, and back to the first;
each is truncated towards its own average, where classes have some. --timelapse shows
the run's grids, and --growth is one PNG: the same latents by each stage's last
snapshot. Films are MP4, which needs the extra `video`, or by the suffix of --out
animated WebP or GIF. By default they lie in the folder videos/ of the run, or of the
current directory if MODEL is not a folder.
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from progan_jax.display.film import check_encoder, write_film
from progan_jax.display.frames import (
    circle,
    growth_picture,
    interpolation_frames,
    timelapse_frames,
    travel,
    wander,
)
from progan_jax.display.pictures import list_grids
from progan_jax.errors import UserError
from progan_jax.files import local_folder, writing_to
from progan_jax.images import write_png
from progan_jax.inference.generator import TrainedGenerator
from progan_jax.inference.load import open_generator, open_snapshot, own_folder
from progan_jax.inference.sampling import draw_latents, seed_key, seeded_latents
from progan_jax.inference.snapshot import find_snapshot
from progan_jax.inference.styles import OR_LOAD, Style
from progan_jax.runtime.command_line import run
from progan_jax.runtime.compiler import keep_compiled
from progan_jax.tools.drawing import (
    PsiParser,
    find_label,
    find_labels,
    read_seeds,
)
from progan_jax.training.config import parse_grid

SNAPSHOT = flags.DEFINE_string(
    "snapshot", None, 'Name of a snapshot of a run, or "best"; the newest if unset.'
)

OUT = flags.DEFINE_string("out", None, "File to write; its suffix is the kind of film.")

SECONDS = flags.DEFINE_float(
    "seconds",
    None,
    "Length; 60 if unset, and a quarter for each grid of a time-lapse.",
    lower_bound=0.01,
    upper_bound=3600,
)

FPS = flags.DEFINE_integer(
    "fps", 30, "Frames per second.", lower_bound=1, upper_bound=120
)

GRID = flags.DEFINE_string("grid", "1x1", "Images at once, COLUMNSxROWS.")

SMOOTHING = flags.DEFINE_float(
    "smoothing",
    1.0,
    "Seconds over which latents change.",
    lower_bound=0,
    upper_bound=600,
)

SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the latents.", lower_bound=0, upper_bound=2**32 - 1
)

SEEDS = flags.DEFINE_string("seeds", None, "Seeds to go through, as in 1,5,9.")

CLASS = flags.DEFINE_string(
    "class", None, "Class of all images, by number or name; random if unset."
)

CLASSES = flags.DEFINE_string(
    "classes", None, "Classes to go through, as in 3,7,tabby."
)

SPACE = flags.DEFINE_enum(
    "space", None, ["z", "w"], "Latents z, or a StyleGAN's w, which is its default."
)

TRUNCATION_PSI = flags.DEFINE(
    PsiParser(),
    "truncation_psi",
    None,
    "Weight of w against its average; the model's if unset.",
)

TRUNCATION_CUTOFF = flags.DEFINE_integer(
    "truncation_cutoff", None, "Number of layers that it applies to; likewise."
)

NOISE = flags.DEFINE_string(
    "noise", None, "Noise of a StyleGAN: fixed (the default), random or none."
)

TIMELAPSE = flags.DEFINE_bool("timelapse", False, "Show the run's grids.")

GROWTH = flags.DEFINE_bool("growth", False, "Draw each stage's images of one seed.")

_GROWTH_COLUMNS = 8

# Times the smoothing: as far apart latents that are smoothed by a Gaussian are hardly
# alike, with a correlation of exp(-9/4).
_INDEPENDENT = 3


def main(model: str) -> None:
    """Reads the flags and writes the film."""
    _check_flags()
    if GROWTH.value:
        print(_write_growth(local_folder("RUN", model)))
    elif TIMELAPSE.value:
        print(_write_timelapse(local_folder("RUN", model)))
    else:
        print(_write_interpolation(model))


def _check_flags() -> None:
    kinds = {
        "class": CLASS.value if CLASSES.value is not None else None,
        "classes": CLASSES.value,
        "seeds": SEEDS.value,
        "timelapse": TIMELAPSE.value,
        "growth": GROWTH.value,
    }
    asked = [f"--{name}" for name, value in kinds.items() if value not in (None, False)]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} exclude each other; give one of them")


def _write_interpolation(model: str) -> str:
    seeds = read_seeds("--seeds", SEEDS.value, 2) if SEEDS.value is not None else None
    columns, rows = _grid(seeds)
    keep_compiled()
    generator = open_generator(model, SNAPSHOT.value, ("MODEL", "--snapshot"))
    seed = "-".join(map(str, seeds)) if seeds else SEED.value
    label, through = find_label(generator, CLASS.value), _read_classes(generator)
    of = _class_suffix(label)
    of += f"_classes{'-'.join(map(str, through))}" if through else ""
    name = f"{generator.name.replace('/', '_')}_seed{seed}{of}.mp4"
    out = _out(own_folder(model), name)
    check_encoder(out)
    frames, images = max(1, round((SECONDS.value or 60) * FPS.value)), columns * rows
    labels = _classes(generator.num_classes, images, label)
    draw = _draw_in_z(generator)
    if through:
        labels, path = None, _path_of_classes(generator, through, frames, images)
        draw = _draw_layers(generator)
    elif SPACE.value == "w" or (SPACE.value is None and generator.num_layers):
        generator.check_style_based("--space=w", OR_LOAD)
        path = _path_in_w(generator, seeds, labels, frames, images)
        draw = _draw_in_w(generator)
    elif seeds:
        path = travel(seeds, frames, generator.latent_dim)
    else:
        smoothing = SMOOTHING.value * FPS.value
        path = wander(SEED.value, frames, images, generator.latent_dim, smoothing)
    return _write(out, interpolation_frames(draw, path, labels, columns), frames)


def _read_style(generator: TrainedGenerator) -> Style:
    asked = TRUNCATION_PSI.value, TRUNCATION_CUTOFF.value
    # Random noise would be another one in each frame.
    noise = NOISE.value or generator.still_noise
    return generator.read_style(*asked, noise, prefix="--")


def _draw_in_z(generator: TrainedGenerator) -> Callable[..., np.ndarray]:
    return partial(generator, **_read_style(generator)._asdict())


def _draw_in_w(generator: TrainedGenerator) -> Callable[..., np.ndarray]:
    psi, cutoff, noise = _read_style(generator)

    def draw(w: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        truncated = generator.truncate(w, psi, cutoff, labels)
        return generator.synthesis(truncated, noise=noise)

    return draw


def _path_in_w(
    generator: TrainedGenerator,
    seeds: list[int] | None,
    labels: np.ndarray | None,
    frames: int,
    images: int,
) -> np.ndarray:
    """Returns w [frames, images, w_size] through those of seeds, or of many latents."""
    size = generator.latent_dim
    if seeds:
        latents = np.concatenate([seeded_latents(seed, 1, size) for seed in seeds])
    else:
        between = _INDEPENDENT * SMOOTHING.value * FPS.value
        count = min(max(2, round(frames / max(between, 1))), max(2, frames))
        latents = draw_latents(seed_key(SEED.value), count * images, size)
    stops = len(latents) // images
    w = generator.mapping(latents, None if labels is None else np.tile(labels, stops))
    return circle(w.reshape(stops, images, -1), frames)


def _read_classes(generator: TrainedGenerator) -> list[int]:
    """Returns the classes of --classes; [] without it."""
    if CLASSES.value is None:
        return []
    generator.check_style_based(f"--classes={CLASSES.value}", OR_LOAD)
    if SPACE.value == "z":
        raise UserError("--space=z: --classes goes through w; leave one of them out")
    return find_labels(generator, CLASSES.value, 2)


def _path_of_classes(
    generator: TrainedGenerator, classes: list[int], frames: int, images: int
) -> np.ndarray:
    """Returns w through classes, truncated, [frames, images, num_layers * w_size]."""
    latents = seeded_latents(SEED.value, images, generator.latent_dim)
    psi, cutoff, _ = _read_style(generator)
    stops = []
    for label in classes:
        w = generator.mapping(latents, label)
        stops.append(generator.truncate(w, psi, cutoff, label).reshape(images, -1))
    return circle(np.stack(stops), frames)


def _draw_layers(generator: TrainedGenerator) -> Callable[..., np.ndarray]:
    noise = _read_style(generator).noise

    def draw(w: np.ndarray, labels: None) -> np.ndarray:
        layers = w.reshape(len(w), generator.num_layers, -1)
        return generator.synthesis(layers, noise=noise)

    return draw


def _write_timelapse(folder: Path) -> str:
    grids = list_grids(folder / "grids")
    if not grids:
        raise UserError(
            f"RUN={folder}: it has no grids/fakes_*.png; name the folder of a run "
            "that has drawn some"
        )
    out = _out(folder, "timelapse.mp4")
    check_encoder(out)
    seconds = SECONDS.value or len(grids) / 4
    hold = max(1, round(seconds * FPS.value / len(grids)))
    return _write(out, timelapse_frames(grids, hold), hold * len(grids))


def _write_growth(folder: Path) -> str:
    snapshot = find_snapshot(folder)
    if snapshot == folder:
        raise UserError(f"RUN={folder}: it is one snapshot; name the run's folder")
    label = find_label(open_snapshot(snapshot), CLASS.value)
    out = _out(folder, f"growth_seed{SEED.value}{_class_suffix(label)}.png")
    if out.suffix != ".png":
        raise UserError(f"--out={out}: with --growth the name must end in .png")
    keep_compiled()
    picture, rows = growth_picture(folder, _GROWTH_COLUMNS, SEED.value, label)
    with writing_to("--out", out):
        write_png(out, picture)
    return f"{out}: {rows} stages"


def _write(out: Path, pictures: Iterable[np.ndarray], total: int) -> str:
    shown = tqdm(pictures, total=total, unit="frame", disable=None, leave=False)
    count = write_film(out, shown, FPS.value)
    return f"{out}: {count / FPS.value:.1f} s, {out.stat().st_size / 2**20:.1f} MiB"


def _out(folder: Path, name: str) -> Path:
    return Path(OUT.value) if OUT.value else folder / "videos" / name


def _grid(seeds: list[int] | None) -> tuple[int, int]:
    shape = parse_grid(GRID.value)
    if shape is None:
        raise UserError(f"--grid={GRID.value} must be COLUMNSxROWS, as in --grid=3x2")
    if seeds and shape != (1, 1):
        raise UserError(f"--grid={GRID.value}: --seeds shows one image; drop --grid")
    return shape


def _classes(num_classes: int, images: int, label: int | None) -> np.ndarray | None:
    """Returns the class of each image, or None where there are none."""
    if label is not None:
        return np.full(images, label, np.int32)
    rng = np.random.default_rng(SEED.value)
    return rng.integers(0, num_classes, images, np.int32) if num_classes else None


def _class_suffix(label: int | None) -> str:
    return "" if label is None else f"_class{label}"


if __name__ == "__main__":
    run(main, "MODEL")
