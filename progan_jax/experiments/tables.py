"""The papers' tables: the recipe and the published values of each row.

Numbers are those of Karras et al. 2018 where no other source is named.
"""

from collections.abc import Mapping

from progan_jax.configs.lsun import CATEGORIES
from progan_jax.experiments import stylegan_tables, stylegan_xl_tables
from progan_jax.experiments.table import Row, Table

PAPER = "Karras et al. 2018"


_TABLE_1 = ("swd_128", "swd_64", "swd_32", "swd_16", "swd_average", "ms_ssim")

_ROW_TITLES = {
    "a": "Gulrajani et al. 2017",
    "b": "+ progressive growing",
    "c": "+ small minibatch",
    "d": "+ revised training parameters",
    "e*": "+ minibatch discrimination",
    "e": "minibatch stddev instead",
    "f": "+ equalized learning rate",
    "g": "+ pixelwise normalization",
    "h": "converged",
}

_CELEBA = {
    "a": (12.99, 7.79, 7.62, 8.73, 9.28, 0.2854),
    "b": (4.62, 2.64, 3.78, 6.06, 4.28, 0.2838),
    "c": (75.42, 41.33, 41.62, 26.57, 46.23, 0.4065),
    "d": (9.20, 6.53, 4.71, 11.84, 8.07, 0.3027),
    "e*": (10.76, 6.28, 6.04, 16.29, 9.84, 0.3057),
    "e": (13.94, 5.67, 2.82, 5.71, 7.04, 0.2950),
    "f": (4.42, 3.28, 2.32, 7.52, 4.39, 0.2902),
    "g": (4.06, 3.04, 2.02, 5.13, 3.56, 0.2845),
    "h": (2.42, 2.17, 2.24, 4.99, 2.96, 0.2828),
}

_BEDROOM = {
    "a": (11.97, 10.51, 8.03, 14.48, 11.25, 0.0587),
    "b": (7.09, 6.27, 7.40, 9.64, 7.60, 0.0615),
    "c": (72.73, 40.16, 42.75, 42.46, 49.52, 0.1061),
    "d": (7.39, 5.51, 3.65, 9.63, 6.54, 0.0662),
    "e*": (10.29, 6.22, 5.32, 11.88, 8.43, 0.0648),
    "e": (7.77, 5.23, 3.27, 9.64, 6.48, 0.0671),
    "f": (3.61, 3.32, 2.71, 6.44, 4.02, 0.0668),
    "g": (3.89, 3.05, 3.24, 5.87, 4.01, 0.0640),
    "h": (3.47, 2.60, 2.30, 4.87, 3.31, 0.0636),
}


def _table_1(images: str, argument: str, published: Mapping[str, tuple]) -> Table:
    rows = [
        Row(
            name,
            _ROW_TITLES[name],
            f"configs/ablation.py:{argument},{name}",
            dict(zip(_TABLE_1, values, strict=True)),
        )
        for name, values in published.items()
    ]
    return Table(
        title=f"{images} at 128x128: SWD x 1e3 by level, and MS-SSIM",
        source=f"{PAPER}, table 1",
        metrics=("swd", "ms_ssim"),
        columns=_TABLE_1,
        best="swd_average",
        fallback="swd_average",
        num_runs=1,
        rows=tuple(rows),
    )


def _score(mean: float, deviation: float) -> dict[str, tuple[float, float]]:
    return {"inception_score_mean": (mean, deviation)}


_CIFAR10 = Table(
    title="CIFAR-10, unconditional, 32x32: Inception score",
    source=f"{PAPER}, table 3",
    metrics=("is", "fid", "swd"),
    columns=("inception_score_mean", "fid", "swd_average"),
    best="inception_score_mean",
    fallback="swd_average",
    num_runs=10,
    rows=(Row("ours", "Progressive GAN", "configs/cifar10.py", _score(8.56, 0.06)),),
    others={
        "ALI": _score(5.34, 0.05),
        "GMAN": _score(6.00, 0.19),
        "Improved GAN": _score(6.86, 0.06),
        "CEGAN-Ent-VI": _score(7.07, 0.07),
        "LR-GAN": _score(7.17, 0.17),
        "DFM": _score(7.72, 0.13),
        "WGAN-GP": _score(7.86, 0.07),
        "Splitting GAN": _score(7.90, 0.09),
        "Progressive GAN, best of ten runs": _score(8.80, 0.05),
    },
)

# Values at 256x256: Fréchet distances of three from the paper, the others as other
# papers quote it.
_LSUN = {
    "bedroom": {"fid": 8.34},
    "cat": {"fid": 37.52, "swd_average": 8.76},
    "church_outdoor": {"fid": 6.42},
    "car": {"fid": 8.36, "swd_average": 3.50},
    "dining_table": {"fid": 10.28, "swd_average": 3.22},
    "dog": {"fid": 47.63, "swd_average": 5.83},
}


_LSUN_TABLE = Table(
    title="LSUN at 256x256: Fréchet Inception distance of each category",
    source=(
        f"{PAPER}, appendix G; SWD, and car, dining_table and dog, as others quote them"
    ),
    metrics=("fid", "swd"),
    columns=("fid", "swd_average"),
    best="fid",
    fallback="swd_average",
    num_runs=1,
    rows=tuple(
        Row(name, "", f"configs/lsun.py:{name}", _LSUN.get(name, {}))
        for name in CATEGORIES
    ),
)

# By the divisor of D's maps, then as configs/mnist_modes.py names the variants: modes
# found and divergence.
_MODES = {
    4: {
        "wgan_gp": ((640.1, 136.3), (1.97, 0.70)),
        "our_norm": ((856.7, 50.4), (1.10, 0.19)),
        "mbstd": ((881.3, 39.2), (1.09, 0.16)),
        "progression": ((859.5, 36.2), (1.05, 0.09)),
    },
    2: {
        "wgan_gp": ((772.4, 146.5), (1.35, 0.55)),
        "our_norm": ((886.6, 58.5), (0.98, 0.33)),
        "mbstd": ((918.3, 30.2), (0.89, 0.21)),
        "progression": ((919.8, 35.1), (0.82, 0.13)),
    },
}

_OTHERS_MODES = {
    "GAN, K = 1/4": ((30.6, 20.7), (5.99, 0.42)),
    "Unrolled GAN, K = 1/4": ((372.2, 20.7), (4.66, 0.46)),
    "GAN, K = 1/2": ((628.0, 140.9), (2.58, 0.75)),
    "Unrolled GAN, K = 1/2": ((817.4, 39.9), (1.43, 0.12)),
}

_VARIANT_TITLES = {
    "wgan_gp": "WGAN-GP",
    "our_norm": "+ our normalization",
    "mbstd": "+ minibatch stddev",
    "progression": "+ progression",
}

_MODE_COLUMNS = ("modes_found", "modes_kl")


_MNIST_MODES = Table(
    title="stacked MNIST at 32x32: modes found of 1,000, and KL from uniform in nats",
    # We are not certain of these values; see docs/fidelity.md.
    source=f"{PAPER}, table 4; KL of mbstd, progression and k2_our_norm not certain",
    metrics=("modes",),
    columns=_MODE_COLUMNS,
    best="modes_found",
    fallback="modes_found",
    num_runs=8,
    rows=tuple(
        Row(
            f"k{divisor}_{name}",
            f"K = 1/{divisor}, {_VARIANT_TITLES[name]}",
            f"configs/mnist_modes.py:{divisor},{name}",
            dict(zip(_MODE_COLUMNS, published, strict=True)),
        )
        for divisor, variants in _MODES.items()
        for name, published in variants.items()
    ),
    others={
        title: dict(zip(_MODE_COLUMNS, published, strict=True))
        for title, published in _OTHERS_MODES.items()
    },
)

TABLES = {
    "cifar10_is": _CIFAR10,
    "table1_celeba": _table_1("CelebA", "celeba", _CELEBA),
    "table1_lsun": _table_1("LSUN bedroom", "lsun_bedroom", _BEDROOM),
    "lsun_categories": _LSUN_TABLE,
    "mnist_modes": _MNIST_MODES,
    **stylegan_tables.TABLES,
    **stylegan_xl_tables.TABLES,
}
