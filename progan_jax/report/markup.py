"""Pieces of HTML; whatever text they are given is escaped."""

import html
from collections.abc import Iterable, Sequence


def escape(text: object) -> str:
    """Returns a text as it may stand in HTML, between tags and in attributes."""
    return html.escape(str(text))


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table that scrolls sideways by itself where it is too wide.

    Args:
      caption: What it tells; also its name for who cannot see it.
      header: Of its columns.
      rows: Of texts; the first of each names the row.
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
    """Returns what is folded until it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{body}\n</details>"


def facts(items: Iterable[tuple[str, str, str]]) -> str:
    """Returns a list of names, values and what is to be added in small print."""
    told = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"<small>{escape(note)}</small></dd></div>"
        for name, value, note in items
    )
    return f'<dl class="facts">\n{told}\n</dl>'


def section(name: str, title: str, body: str) -> str:
    """Returns a section with its heading; `name` is its place in the page's address."""
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{body}\n'
        "</section>"
    )


def paragraph(text: str) -> str:
    """Returns a paragraph."""
    return f"<p>{escape(text)}</p>"


def _cells(row: Sequence[str]) -> str:
    first, *rest = (escape(cell) for cell in row)
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{c}</td>" for c in rest)
