"""The report of a run: one HTML file that loads no other."""

import base64
import hashlib
from pathlib import Path
from string import Template

from progan_jax import __version__
from progan_jax.display.markup import escape
from progan_jax.display.pictures import Pictures, pictures_section, read_pictures
from progan_jax.display.run_record import RunRecord, read_run
from progan_jax.display.sections import (
    config_section,
    metrics_section,
    schedule_section,
    starts_section,
    summary,
    training_section,
)
from progan_jax.errors import reason, warn
from progan_jax.files import write_whole, writing_to

NAME = "report.html"

_FOLDER = Path(__file__).parent

_SECTIONS = (schedule_section, training_section, metrics_section, config_section)


def write_report(run: Path, out: Path) -> Pictures:
    """Writes the report of a run.

    Args:
      run: Its folder, which is only read.
      out: The HTML file.

    Returns:
      The pictures in it.

    Raises:
      UserError: if the folder is not a run's, if no tick of it has ended, or if the
        file cannot be written.
    """
    record = read_run(run)
    pictures = read_pictures(run / "grids", record.config.model.resolution)
    with writing_to("--out", out):
        # Not that of the run, which may have been deleted since it was read.
        if out.parent != run:
            out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, render(record, pictures))
    return pictures


def try_to_write_report(run: Path) -> None:
    """Writes a run's report into its folder; a failure is a warning."""
    try:
        write_report(run, run / NAME)
    except Exception as error:
        warn(f"{run / NAME} is not written: {type(error).__name__}: {reason(error)}")


def render(record: RunRecord, pictures: Pictures) -> str:
    """Returns the HTML of a report."""
    style, script = ((_FOLDER / name).read_text() for name in ("page.css", "page.js"))
    sections = [section(record) for section in (*_SECTIONS, starts_section)]
    return Template((_FOLDER / "page.html").read_text()).substitute(
        title=escape(record.name),
        model=escape(record.family.PAPER.model),
        run=escape(record.workdir.resolve().name),
        status="finished" if record.is_finished else "not finished",
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        summary=summary(record),
        sections="\n".join([pictures_section(pictures, record.row_classes), *sections]),
        version=escape(__version__),
    )


def _hash(text: str) -> str:
    """Returns the hash by which a Content-Security-Policy names an inline text."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"
