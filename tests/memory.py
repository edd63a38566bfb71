"""How much memory something takes at most."""

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCRIPT = """
import resource, sys
from pathlib import Path
{imports}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10
paths = [Path(argument) for argument in sys.argv[1:]]
before = peak()
{body}
print(peak() - before)
"""


@contextmanager
def allocating_at_most(num_bytes: int) -> Iterator[None]:
    """Fails if Python allocates more; what C libraries allocate is not seen."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= num_bytes
    finally:
        tracemalloc.stop()


def run_alone(imports: str, body: str, *paths: Path) -> tuple[list[str], int]:
    """Runs a script in a process of its own, whose `paths` are the ones given.

    Returns:
      The lines that it printed, and by how many bytes its memory grew at most.
    """
    script = _SCRIPT.format(imports=imports, body=body)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    *lines, grown = done.stdout.splitlines()
    return lines, int(grown)
