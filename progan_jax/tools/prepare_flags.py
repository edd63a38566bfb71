"""The flags of prepare_data, and whether they make sense."""

import os
from typing import Any

from absl import flags

from progan_jax.data.checks import check_local
from progan_jax.data.shards import Settings
from progan_jax.errors import UserError
from progan_jax.files import check_utf_8

OUT = flags.DEFINE_string("out", None, "Folder of prepared sets.")
NAME = flags.DEFINE_string("name", None, "Name of the set; the source's by default.")
RESOLUTION = flags.DEFINE_integer("resolution", None, "Side of the largest level.")
CHANNELS = flags.DEFINE_integer("channels", 3, "1 (grey) or 3 (RGB).")
CROP = flags.DEFINE_enum(
    "crop", "centre", ["centre", "celeba", "none"], "How images become square."
)
PAD = flags.DEFINE_enum(
    "pad",
    "none",
    ["none", "black", "mirror"],
    "How smaller images are brought to size.",
)
LABELS = flags.DEFINE_string("labels", None, "CSV of file,class for folder: and zip:.")
LANDMARKS = flags.DEFINE_string(
    "landmarks", None, "CelebA's list_landmarks_celeba.txt, for celeba_hq:."
)
KEEP = flags.DEFINE_integer(
    "keep", None, "Take the best so many photographs of celeba_hq:, by their spectra."
)
EXPLAIN_IMAGE = flags.DEFINE_string(
    "explain_image", None, "Draw the steps of one photograph of celeba_hq: to --out."
)
DATA_DIR = flags.DEFINE_string("data_dir", "", "TFDS root for tfds:.")
SPLIT = flags.DEFINE_string("split", "train", "Split for tfds:.")
IMAGE_FEATURE = flags.DEFINE_string(
    "image_feature", "image", "Feature that holds the images of tfds:."
)
LABEL_FEATURE = flags.DEFINE_string(
    "label_feature", "label", "Feature that holds the classes of tfds:."
)
MAX_IMAGES = flags.DEFINE_integer(
    "max_images",
    None,
    "Take only so many: of all classes in turn, each time the first that is left; the "
    "first so many of tfds: and of sources without classes.",
)
RAW_UP_TO = flags.DEFINE_integer(
    "raw_up_to", 128, "Larger levels are stored as lossless WebP (grey ones as PNG)."
)
WORKERS = flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes.")
STRICT = flags.DEFINE_bool(
    "strict",
    False,
    "Let a bad image end the work, and any file that is neither an image nor text.",
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only tell what it would take.")

# Sources that a flag is for; all others refuse it.
_ONLY_FOR = {
    "labels": ("folder", "zip"),
    "landmarks": ("celeba_hq",),
    "keep": ("celeba_hq",),
    "explain_image": ("celeba_hq",),
    "data_dir": ("tfds",),
    "split": ("tfds",),
    "image_feature": ("tfds",),
    "label_feature": ("tfds",),
}


def read_settings(kind: str) -> Settings:
    """Returns how images are made, as the flags say it for sources of a kind.

    Raises:
      UserError: if a flag is missing, out of range or for other sources.
    """
    for name, kinds in _ONLY_FOR.items():
        if flags.FLAGS[name].present and kind not in kinds:
            raise UserError(
                f"--{name} is for {' and '.join(f'{k}:' for k in kinds)} sources; "
                "leave it out"
            )
    if not OUT.value:
        raise UserError("--out is missing: name a folder for prepared sets")
    for flag in (OUT, LABELS, LANDMARKS):
        check_local(f"--{flag.name}", flag.value or "")
    check_utf_8("--out", OUT.value)
    resolution = RESOLUTION.value
    if resolution is None:
        raise UserError("--resolution is missing: set it, as in --resolution=128")
    if not 4 <= resolution <= 1024 or resolution & (resolution - 1):
        raise UserError(
            f"--resolution={resolution} must be a power of two from 4 to 1024; choose "
            "one"
        )
    if CHANNELS.value not in (1, 3):
        raise UserError(f"--channels={CHANNELS.value} must be 1 or 3; choose one")
    if KEEP.value is not None and resolution < 64:
        raise UserError(
            f"--keep: spectra of {resolution} pixels tell little; raise --resolution "
            "to 64 at least"
        )
    for flag in (WORKERS, MAX_IMAGES, KEEP):
        if flag.value is not None and flag.value < 1:
            raise UserError(f"--{flag.name}={flag.value} must be at least 1; raise it")
    crop: Any = CROP.value
    pad: Any = PAD.value
    return Settings(
        resolution=resolution,
        channels=CHANNELS.value,
        crop=crop,
        pad=pad,
        raw_up_to=RAW_UP_TO.value,
        strict=STRICT.value,
    )
