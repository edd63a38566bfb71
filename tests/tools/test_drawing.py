"""What the tools that draw from a model share."""

import pytest
from absl import flags

from progan_jax.errors import UserError
from progan_jax.tools.drawing import read_seeds


@pytest.mark.parametrize("tool", ["sample", "style_mix", "noise", "video"])
def test_psi_is_read_or_refused_with_its_range_by_all_tools_that_take_it(
    import_tool, tool
):
    import_tool(tool)
    psi = flags.FLAGS["truncation_psi"]
    for text, number in (("0.7", 0.7), ("-2", -2.0), ("2", 2.0)):
        psi.parse(text)
        assert psi.value == number
    for text in ("abc", "", "3", "-2.1", "nan", "inf"):
        with pytest.raises(flags.IllegalFlagValueError) as refused:
            psi.parse(text)
        assert str(refused.value) == (
            f"flag --truncation_psi={text}: must be a number in [-2, 2]; change it"
        )
    psi.value = None


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("7", [7]),
        ("1,5,9", [1, 5, 9]),
        ("0-3,85", [0, 1, 2, 3, 85]),
        (" 4 , 2-2", [4, 2]),
        ("4294967295", [2**32 - 1]),
    ],
)
def test_seeds_are_numbers_and_ranges_in_their_order(text, seeds):
    assert read_seeds("--seeds", text) == seeds


@pytest.mark.parametrize(
    "text", ["", "one", "1,", "3-1", "-1", "1-2-3", "0-4294967296", "1.5", "0x1"]
)
def test_other_seeds_are_refused_with_examples(text):
    with pytest.raises(UserError) as refused:
        read_seeds("--seeds", text)
    assert str(refused.value) == (
        f"--seeds={text} must be one or more whole numbers in [0, 2**32) or ranges of "
        "them, with commas between; write for example --seeds=1,5,9 or --seeds=0-31,85"
    )


def test_a_range_of_too_many_seeds_is_refused_before_it_fills_the_memory():
    with pytest.raises(UserError, match="at most 1,000,000 seeds; shorten the ranges"):
        read_seeds("--seeds", "0-4294967295")
