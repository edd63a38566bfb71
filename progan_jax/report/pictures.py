"""The run's grids, small enough that one page holds them all."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from progan_jax.report.previews import Preview, preview
from progan_jax.runtime.snapshot import parse_moment

_Item = TypeVar("_Item")

_FAKES = "fakes_"
_MOST_PICTURES = 60
_MOST_BYTES = 7_000_000  # Base64 makes 9.3 MB of it.


class Grid(NamedTuple):
    """A grid of fakes, as its name tells."""

    kimg: float
    resolution: int
    path: Path


@dataclass(frozen=True)
class Picture:
    """A grid as the page shows it.

    Attributes:
      file: Name of the grid.
      kimg: In that name; 0 of the reals.
      resolution: Of the stage, in pixels.
      preview: Its pixels.
    """

    file: str
    kimg: float
    resolution: int
    preview: Preview

    @property
    def is_coarse(self) -> bool:
        """Whether it has so few pixels that they are shown as squares."""
        return self.resolution <= 32


@dataclass(frozen=True)
class Pictures:
    """What a page shows of the grids.

    Attributes:
      fakes: Oldest first.
      reals: The training images, if their grid is there.
      num_fakes: Grids of fakes in the folder.
      unreadable: Names of those that are no pictures.
    """

    fakes: Sequence[Picture]
    reals: Picture | None
    num_fakes: int
    unreadable: Sequence[str]


def list_grids(folder: Path) -> list[Grid]:
    """Returns the grids of fakes in a folder, oldest first."""
    return sorted(
        Grid(*moment, path)
        for path in folder.glob(f"{_FAKES}*_r*.png")
        if (moment := parse_moment(path.stem.removeprefix(_FAKES)))
    )


def read_pictures(folder: Path, final: int, known: Mapping[str, Preview]) -> Pictures:
    """Returns the grids of a run, thinned out evenly if they are many.

    Args:
      folder: With the run's grids.
      final: Resolution of the run, to which the images in the grids are enlarged.
      known: Pictures of an earlier page.
    """
    grids, reals = list_grids(folder), Grid(0, final, folder / "reals.png")
    chosen = thin(grids, _MOST_PICTURES)
    wanted = [*chosen, reals] if reals.path.exists() else chosen
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda grid: _read(grid, final, known), wanted))
    fakes = [picture for picture in read[: len(chosen)] if picture is not None]
    return Pictures(
        fakes=fit(fakes, _MOST_BYTES),
        reals=read[-1] if len(read) > len(chosen) else None,
        num_fakes=len(grids),
        unreadable=[
            grid.path.name
            for grid, picture in zip(wanted, read, strict=True)
            if picture is None
        ],
    )


def thin(items: Sequence[_Item], most: int) -> list[_Item]:
    """Returns up to about `most` of the items at equal distances, and the last one.

    The distance is a power of two, so that a run that goes on shows what it has shown
    before, or every other one of it: nothing has to be read anew.
    """
    step = 1
    while len(items) > most * step:
        step *= 2
    chosen = list(items[::step])
    return chosen if (len(items) - 1) % step == 0 else [*chosen, items[-1]]


def fit(pictures: Sequence[Picture], most_bytes: int) -> list[Picture]:
    """Returns pictures, thinned out until they have so many bytes, at the most."""
    fitting = list(pictures)
    while len(fitting) > 2 and sum(len(p.preview.webp) for p in fitting) > most_bytes:
        fitting = thin(fitting, (len(fitting) + 1) // 2)
    return fitting


def _read(grid: Grid, final: int, known: Mapping[str, Preview]) -> Picture | None:
    """Returns a grid's picture; None if it cannot be read."""
    made = preview(grid.path, grid.resolution, final, known)
    return made and Picture(grid.path.name, grid.kimg, grid.resolution, made)
