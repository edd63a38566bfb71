"""Files that are whole or not there: a kill leaves the old one or the new one."""

import json
import os
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file beside its place and moves it there."""
    unfinished = path.with_name(f".{path.name}.partial")
    data = content.encode() if isinstance(content, str) else content
    unfinished.write_bytes(data)
    os.replace(unfinished, path)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that people can read."""
    write_whole(path, json.dumps(value, indent=2) + "\n")
