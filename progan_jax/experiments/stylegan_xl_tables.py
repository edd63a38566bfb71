"""Tables of Sauer et al. 2022: recipes and published values of the rows."""

from progan_jax.experiments.table import Row, Table

PAPER = "Sauer et al. 2022"

_TITLES = {
    "B": "StyleGAN3's G, small latents, projected D",
    "C": "+ pretrained class embeddings",
    "D": "+ progressive growing",
    "E": "+ a transformer besides the CNN",
    "F": "+ guidance by a classifier",
}

_ABLATION = {
    "B": (22.98, 57.62),
    "C": (20.91, 35.79),
    "D": (19.51, 35.74),
    "E": (12.43, 56.72),
    "F": (12.24, 86.21),
}

_SCORES = ("fid", "inception_score_mean")

# What the discriminators have not learnt for; see metrics.ranking.
_RANKING = ("fd_dinov2", "swd_average")


def _scores(values: tuple[float, float]) -> dict[str, float]:
    return dict(zip(_SCORES, values, strict=True))


_TABLE = Table(
    title="ImageNet at 128x128: Fréchet Inception distance and Inception score",
    # From memory; see docs/fidelity.md.
    source=f"{PAPER}, table 1, not certain",
    metrics=("fid", "is", "swd"),
    columns=(*_SCORES, *_RANKING),
    best="fid",
    fallback="swd_average",
    num_runs=1,
    at_best=("fd_dinov2",),
    rows=tuple(
        Row(
            name,
            _TITLES[name],
            f"configs/stylegan_xl_ablation.py:{name}",
            _scores(values),
        )
        for name, values in _ABLATION.items()
    ),
    others={"A, StyleGAN3": _scores((53.57, 15.30))},
)

_COLUMNS = (
    *("fid", "sfid", "rfid", "inception_score_mean"),
    *("precision_vgg16", "recall_vgg16"),
)

_IMAGENET = {
    128: (1.81, 3.82, 1.82, 200.55, 0.77, 0.55),
    256: (2.30, 4.02, 7.06, 265.12, 0.78, 0.53),
    512: (2.41, 4.06, 51.54, 267.75, 0.77, 0.52),
    1024: (2.52, 4.12, 413.12, 260.14, 0.76, 0.51),
}

# Of the released models, by the authors' README.
_RELEASED = {
    "cifar10": {32: 1.85},
    "ffhq": {256: 2.19, 512: 2.23, 1024: 2.02},
    "pokemon": {256: 23.97, 512: 23.82, 1024: 25.47},
}


def _config(name: str, side: int) -> str:
    width = "full" if name == "imagenet" else "small"
    stages = "-".join(str(2**k) for k in range(4, side.bit_length()))
    return f"configs/stylegan_xl.py:{name},{width},{stages}"


def _row(name: str, side: int, published: dict[str, float]) -> Row:
    return Row(f"{name}_{side}", f"{side}x{side}", _config(name, side), published)


_RESULTS = Table(
    title="StyleGAN-XL's results by set and resolution",
    source=f"{PAPER}, table 2 (ImageNet), and the authors' README",
    metrics=("fid", "swd"),
    columns=(*_COLUMNS, *_RANKING),
    best="fid",
    fallback="swd_average",
    num_runs=1,
    rows=(
        *(
            _row("imagenet", side, dict(zip(_COLUMNS, values, strict=True)))
            for side, values in _IMAGENET.items()
        ),
        *(
            _row(name, side, {"fid": fid})
            for name, sides in _RELEASED.items()
            for side, fid in sides.items()
        ),
    ),
    at_best=("sfid", "rfid", "is", "pr_vgg16", "fd_dinov2"),
)

TABLES = {"stylegan_xl_table": _TABLE, "stylegan_xl_results": _RESULTS}
