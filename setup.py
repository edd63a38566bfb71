"""Gives PyPI links that work there; everything else is in setup.cfg.

README.md links files by their paths in the repository, which REPOSITORY_URL names, as
`make build` finds it.
"""

import os
import re
from pathlib import Path

from setuptools import setup


def absolute(link: re.Match[str]) -> str:
    """Returns the start of a link or an image with an address before its path."""
    return f"{link[0]}{url}/{'raw' if link[0][0] == '!' else 'blob'}/HEAD/"


url = os.environ.get("REPOSITORY_URL", "").rstrip("/")
readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
if url:
    readme = re.sub(r"!?\[[^\]]*\]\((?!https?:|#)", absolute, readme)
pages = {"Documentation": "docs", "Changelog": "CHANGELOG.md"}
links = {name: f"{url}/blob/HEAD/{path}" for name, path in pages.items()}
setup(
    long_description=readme,
    project_urls={"Source": url, **links} if url else {},
)
