"""The HTML of pictures and messages; whatever text they are given is escaped.

A picture is its PNG at native resolution, which the browser enlarges: what is
downloaded is what was drawn.
"""

import base64
import re
from html import escape

import numpy as np

from progan_jax.images import encode_png, tile

_SHOWN = 512  # Pixels to which small pictures are enlarged, by a whole number.


def picture(images: np.ndarray, columns: int, told: str, name: str) -> str:
    """Returns images as one picture with its caption and a link that downloads it.

    Args:
      images: uint8 [N, h, w, 1 or 3].
      columns: Images in a row.
      told: What they are; it is also read out to who cannot see them.
      name: Of the file, without its suffix; other characters than letters, digits, "."
        and "-" become "_".
    """
    whole = tile(images, columns)
    height, width, _ = whole.shape
    shown = width * max(1, _SHOWN // max(height, width))
    address = "data:image/png;base64," + base64.b64encode(encode_png(whole)).decode()
    file = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII) + ".png"
    return (
        f'<figure class="picture"><img src="{address}" alt="{escape(told)}" '
        f'width="{width}" height="{height}" style="width: {shown}px">\n'
        f'<figcaption><span>{escape(told)}</span> <a href="{address}" '
        f'download="{escape(file)}">Download PNG, {width}x{height}</a></figcaption>'
        "</figure>"
    )


def message(text: str) -> str:
    """Returns a mistake as screen readers tell it at once; nothing for no text."""
    return f'<p class="mistake" role="alert">{escape(text)}</p>' if text else ""


def heading(title: str, facts: str) -> str:
    """Returns the page's title and what the generator is."""
    return f"<h1>{escape(title)}</h1>\n<p>{escape(facts)}</p>"
