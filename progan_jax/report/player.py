"""The grids of a run, one after another under a slider."""

from collections.abc import Sequence

from progan_jax.report.markup import details, escape, paragraph, section
from progan_jax.report.pictures import Picture, Pictures


def pictures_section(pictures: Pictures, row_classes: Sequence[str] = ()) -> str:
    """Returns the grids, to be stepped through, and the training images beside.

    Args:
      pictures: Of the run.
      row_classes: Names of the classes that the rows show, if each shows one.
    """
    if not pictures.fakes:
        return section("pictures", "Pictures", _told(pictures))
    frames = "\n".join(_frame(picture) for picture in pictures.fakes)
    player = _player(pictures.fakes)
    fakes = f'<div><h3>Fakes</h3>\n<ol id="frames">\n{frames}\n</ol>\n{player}</div>'
    body = f'<div class="grids">\n{fakes}\n{_reals(pictures.reals)}\n</div>'
    if row_classes:
        body += paragraph(f"Each row shows one class: {', '.join(row_classes)}.")
    return section("pictures", "Pictures", body + _told(pictures))


def _player(fakes: Sequence[Picture]) -> str:
    """Returns what steps through the pictures; the script of the page shows it."""
    newest, told = len(fakes) - 1, _moment(fakes[-1])
    return (
        '<div class="player" id="player" hidden>\n'
        '<button type="button" id="play">Play</button>\n'
        '<label for="moment">Moment of the training</label>\n'
        f'<input type="range" id="moment" min="0" max="{newest}" step="1" '
        f'value="{newest}" aria-valuetext="{told}">\n'
        f'<output for="moment" id="told">{told}</output>\n</div>'
    )


def _frame(picture: Picture) -> str:
    text = f"Fakes after {_moment(picture)}"
    return (
        f"<li><figure>{_image(picture, text)}<figcaption>{_moment(picture)}"
        "</figcaption></figure></li>"
    )


def _reals(picture: Picture | None) -> str:
    if picture is None:
        return ""
    return f"<div><h3>Training images</h3>\n{_image(picture, 'Training images')}</div>"


def _image(picture: Picture, text: str) -> str:
    kind = ' class="coarse"' if picture.is_coarse else ""
    return f'<img{kind} alt="{escape(text)}" {picture.preview.attributes}>'


def _moment(picture: Picture) -> str:
    r = picture.resolution
    return f"{picture.kimg:,.10g} kimg, {r}x{r}"


def _told(pictures: Pictures) -> str:
    """Returns which grids are shown, and which could not be."""
    shown, there = len(pictures.fakes), pictures.num_fakes
    told = "No grid is drawn yet." if not there else f"All {there} grids are shown."
    lines = [told]
    if shown < there - len(pictures.unreadable):
        lines = [f"{shown} of {there} grids are shown, at about equal distances."]
    if pictures.unreadable:
        lines = [] if shown + len(pictures.unreadable) >= there else lines
        lines.append(f"Left out as unreadable: {', '.join(pictures.unreadable)}.")
    names = ", ".join(picture.file for picture in pictures.fakes)
    return paragraph(" ".join(lines)) + (
        details("Files of the grids", paragraph(names)) if names else ""
    )
