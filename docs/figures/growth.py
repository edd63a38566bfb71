"""Draws docs/images/growth.svg: what grows, and when, from our own schedule.

python docs/figures/growth.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from progan_jax.training.schedule import Schedule, constant

FILE = Path(__file__).parents[1] / "images" / "growth.svg"
LAST = 64  # Final resolution of the drawing; the first is 4.
OLD, NEW, LINE = "#8fb4d9", "#e8a33d", "#333333"
STEP = 4  # Kimg between points of the curves.


def main() -> None:
    """Writes the picture."""
    plt.rcParams.update({"svg.hashsalt": "growth", "font.size": 9})
    figure, (networks, time) = plt.subplots(
        2, 1, figsize=(7.2, 6.4), height_ratios=[1.25, 1], layout="constrained"
    )
    draw_networks(networks)
    draw_time(time)
    # Without a date, the same program writes the same file.
    figure.savefig(FILE, metadata={"Date": None})


def draw_networks(axes: Axes) -> None:
    """Draws G and D in three moments: 4x4, 8x8 fading in, 8x8."""
    axes.set(xlim=(0, 9), ylim=(-0.3, 6.4))
    axes.axis("off")
    titles = ("4x4", "fade into 8x8, alpha rising", "8x8")
    for left, title in zip((0.1, 2.8, 6.9), titles, strict=True):
        axes.text(left + (1.6 if "fade" in title else 0.9), 6.1, title, ha="center")
    for left in (0.1, 6.9):
        grown = left > 1
        column = [("4x4", OLD)] + [("8x8", OLD)] * grown
        stack(axes, left, column, ("latents", "to_rgb"), "image")
    fading(axes, 2.8)
    axes.text(0, -0.25, "D mirrors G: from_rgb, blocks downwards, score.", color=LINE)


def stack(
    axes: Axes,
    left: float,
    blocks: list[tuple[str, str]],
    ends: tuple[str, str],
    result: str,
) -> None:
    """Draws a generator without a fade as boxes, from the top down."""
    first, last = ends
    rows = [(first, "white"), *blocks, (last, "white"), (result, "white")]
    for row, (text, colour) in enumerate(rows):
        top = 5.4 - row * 1.1
        box(axes, left, top, 1.8, text, colour)
        if row:
            arrow(axes, (left + 0.9, top + 1.1), (left + 0.9, top + 0.6))


def fading(axes: Axes, left: float) -> None:
    """Draws a generator during a fade: two ways to the image."""
    box(axes, left + 0.7, 5.4, 1.8, "latents", "white")
    box(axes, left + 0.7, 4.3, 1.8, "4x4", OLD)
    box(axes, left - 0.2, 3.2, 1.8, "to_rgb, enlarged", OLD)
    box(axes, left + 1.9, 3.2, 1.5, "8x8", NEW)
    box(axes, left + 1.9, 2.1, 1.5, "to_rgb", NEW)
    box(axes, left + 0.7, 0.6, 1.8, "sum = image", "white")
    arrow(axes, (left + 1.6, 5.4), (left + 1.6, 4.9))
    arrow(axes, (left + 1.3, 4.3), (left + 0.8, 3.8))
    arrow(axes, (left + 1.9, 4.3), (left + 2.5, 3.8))
    arrow(axes, (left + 2.65, 3.2), (left + 2.65, 2.7))
    arrow(axes, (left + 0.7, 3.2), (left + 1.2, 1.2))
    arrow(axes, (left + 2.5, 2.1), (left + 2.0, 1.2))
    axes.text(left + 0.75, 1.7, "1 - alpha", ha="right", color=LINE)
    axes.text(left + 2.45, 1.4, "alpha", color=LINE)


def box(
    axes: Axes, left: float, bottom: float, width: float, text: str, colour: str
) -> None:
    """Draws a box of height 0.6 with a text in it."""
    patch = plt.Rectangle((left, bottom), width, 0.6, fc=colour, ec=LINE, lw=0.8)
    axes.add_patch(patch)
    axes.text(left + width / 2, bottom + 0.3, text, ha="center", va="center")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draws an arrow between two points."""
    style = {"arrowstyle": "->", "color": LINE, "lw": 0.8}
    axes.annotate("", end, start, arrowprops=style)


def draw_time(axes: Axes) -> None:
    """Draws resolution and alpha against kimg, with 600 kimg to fade and to train."""
    schedule = Schedule(
        resolution=LAST,
        total_kimg=6000,
        stabilise_kimg=constant(600, LAST),
        fade_kimg=constant(600, LAST),
        batch_size=dict.fromkeys(constant(1, LAST), 16),
        g_learning_rate=constant(0.001, LAST),
        d_learning_rate=constant(0.001, LAST),
        tick_kimg=constant(50, LAST),
        microbatch=dict.fromkeys(constant(1, LAST), 0),
    )
    end = schedule.end_nimg() / 1000
    for stage in schedule.stages():
        start = stage.start_nimg / 1000
        faded = schedule.fade_end(stage) / 1000
        stop = min(schedule.stage_end(stage) / 1000, end)
        axes.axvspan(start, faded, color=NEW, alpha=0.35, lw=0)
        axes.axvspan(max(start, faded), stop, color=OLD, alpha=0.35, lw=0)
        side = stage.resolution
        middle = (start + stop) / 2
        axes.text(middle, 1.08, f"{side}x{side}", ha="center", color=LINE)
    kimg = range(0, int(end), STEP)
    alpha = [schedule.phase_at(k * 1000).alpha for k in kimg]
    axes.plot(kimg, alpha, color=LINE, lw=1.5)
    axes.set(
        xlim=(0, end),
        ylim=(0, 1.25),
        xlabel="kimg: thousands of real images shown to D",
    )
    axes.set_ylabel("alpha")
    axes.set_xticks(range(0, int(end) + 1, 600))
    axes.set_yticks([0, 0.5, 1])
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
