"""Where a prepared pyramid lies: names that its writer and its readers share.

DIR/NAME/r004/1.0.0 ... DIR/NAME/r1024/1.0.0    one TFDS set for each level
DIR/NAME/pyramid.json                           written last: the pyramid is whole
"""

VERSION = "1.0.0"
RECORD = "pyramid.json"
LABELS = "labels.npy"
UNFINISHED = ".partial"  # Holds the work of a pyramid that is not whole yet.


def level_name(resolution: int) -> str:
    """Returns the folder of a level, such as "r032"."""
    return f"r{resolution:03d}"
