"""Pieces of HTML, with all texts escaped."""

import html
from collections.abc import Iterable, Sequence


def escape(text: object) -> str:
    """Returns a text escaped for HTML, between tags and in attributes."""
    return html.escape(str(text))


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table that scrolls sideways by itself where it is too wide.

    Args:
      caption: What it shows; also its accessible name.
      header: Names of the columns.
      rows: Texts of the cells; the first cell of a row is its heading.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(f"<tr>{_cells(row)}</tr>" for row in rows)
    return (
        f'<figure class="table"><figcaption>{escape(caption)}</figcaption>\n'
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" '
        f'tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div></figure>"
    )


def details(summary: str, body: str) -> str:
    """Returns a part that is folded until its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}\n</details>"


def facts(items: Iterable[tuple[str, str, str]]) -> str:
    """Returns a list of names and values, each with a note in small print."""
    entries = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"<small>{escape(note)}</small></dd></div>"
        for name, value, note in items
    )
    return f'<dl class="facts">\n{entries}\n</dl>'


def section(name: str, title: str, body: str) -> str:
    """Returns a section with its heading; `name` is its id in the page."""
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{body}\n'
        "</section>"
    )


def paragraph(text: str) -> str:
    """Returns a paragraph of a text."""
    return f"<p>{escape(text)}</p>"


def _cells(row: Sequence[str]) -> str:
    first, *rest = (escape(cell) for cell in row)
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{c}</td>" for c in rest)
