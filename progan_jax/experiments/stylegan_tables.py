"""Tables of Karras et al. 2019, at 1024x1024: recipes and published values of the rows.

Table 3 has the rows of the paper's tables 3 and 4, which have some in common.
"""

from progan_jax.experiments.table import Row, Table

PAPER = "Karras et al. 2019"

_TITLES = {
    "A": "Progressive GAN",
    "B": "+ tuning",
    "C": "+ mapping network and styles",
    "D": "+ constant input",
    "E": "+ noise",
    "F": "+ style mixing",
    "mix0": "no style mixing",
    "mix50": "mixing in 50% of the steps",
    "mix100": "mixing in all steps",
    "traditional0": "traditional, no mapping",
    "traditional8": "traditional, mapping of 8 layers",
    "style0": "style-based, no mapping",
    "style1": "style-based, mapping of 1 layer",
    "style2": "style-based, mapping of 2 layers",
}


def _row(name: str, published: dict[str, float], images: str = "ffhq") -> Row:
    """Returns a row; its name begins with that of its images if they are not FFHQ."""
    title = _TITLES[name]
    prefix = "" if images == "ffhq" else f"{images}_"
    config = f"configs/stylegan_ablation.py:{images},{name}"
    return Row(prefix + name, title, config, published)


_FFHQ = {"A": 8.04, "B": 5.25, "C": 4.85, "D": 4.88, "E": 4.42, "F": 4.40}
_CELEBA_HQ = {"A": 7.79, "B": 6.11, "C": 5.34, "D": 5.07, "E": 5.06, "F": 5.17}

_TABLE_1 = Table(
    title="FFHQ and CelebA-HQ: Fréchet Inception distance of each configuration",
    source=f"{PAPER}, table 1",
    metrics=("fid", "swd"),
    columns=("fid", "swd_average"),
    best="fid",
    fallback="swd_average",
    num_runs=1,
    rows=(
        *(_row(name, {"fid": fid}) for name, fid in _FFHQ.items()),
        *(_row(name, {"fid": fid}, "celeba_hq") for name, fid in _CELEBA_HQ.items()),
    ),
)

# By the number of latents whose styles are mixed in a sample, from 1 to 4.
_MIXED = ("fid", "fid_mixed_2", "fid_mixed_3", "fid_mixed_4")
_MIXING = {
    "mix0": (4.42, 8.22, 12.88, 17.41),
    "mix50": (4.41, 6.10, 8.71, 11.61),
    "F": (4.40, 5.11, 6.88, 9.03),
    "mix100": (4.83, 5.17, 6.63, 8.40),
}

_TABLE_2 = Table(
    title="FFHQ: Fréchet Inception distance by the share of steps that mix styles",
    source=f"{PAPER}, table 2",
    metrics=("fid", "swd"),
    columns=_MIXED,
    best="fid",
    fallback="swd_average",
    num_runs=1,
    rows=tuple(
        _row(name, dict(zip(_MIXED, values, strict=True)))
        for name, values in _MIXING.items()
    ),
    at_best=_MIXED[1:],
)

_OF_Z = ("ppl_zfull", "ppl_zend", "ls_z")
_OF_W = ("ppl_wfull", "ppl_wend", "ls_w")
# FID, then path lengths and separability in Z and in W.
_PATHS = {
    "traditional0": (5.25, (412.0, 415.3, 10.78), ()),
    "traditional8": (4.87, (896.2, 902.0, 170.29), (324.5, 212.2, 6.52)),
    "style0": (5.06, (283.5, 285.5, 9.88), ()),
    "style1": (4.60, (), (219.9, 209.4, 6.81)),
    "style2": (4.43, (), (217.8, 199.9, 6.25)),
    "D": (4.88, (), (446.2, 376.6, 3.61)),
    "E": (4.42, (), (200.5, 160.6, 3.54)),
    "mix50": (4.41, (), (231.5, 182.1, 3.51)),
    "F": (4.40, (), (234.0, 195.9, 3.79)),
}

_TABLE_3 = Table(
    title="FFHQ: perceptual path length, full and at its ends, and separability",
    source=f"{PAPER}, tables 3 and 4",
    metrics=("fid", "swd"),
    columns=("fid", *_OF_Z, *_OF_W),
    best="fid",
    fallback="swd_average",
    num_runs=1,
    rows=tuple(
        # A row is published in one of the spaces, or in both.
        _row(
            name,
            {
                "fid": fid,
                **dict(zip(_OF_Z, of_z, strict=False)),
                **dict(zip(_OF_W, of_w, strict=False)),
            },
        )
        for name, (fid, of_z, of_w) in _PATHS.items()
    ),
    at_best=("ppl_zfull", "ppl_zend", "ppl_wfull", "ppl_wend", "ls"),
)

TABLES = {
    "stylegan_table1": _TABLE_1,
    "stylegan_table2": _TABLE_2,
    "stylegan_table3": _TABLE_3,
}
