"""What the tools that draw from a model share."""

import pytest
from absl import flags


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
