"""Options: rules of fields, and what follows from a family's dataclass alone."""

import dataclasses
import math

import jax
import numpy as np
import pytest

import progan_jax
from progan_jax.configs import base
from progan_jax.errors import UserError
from progan_jax.inference.snapshot import read_info, write_snapshot
from progan_jax.models import progan
from progan_jax.models.common import init_generator
from progan_jax.models.options import Rule, differences, option, read_options
from progan_jax.models.progan import LossOptions, Options
from progan_jax.training.config import make_networks, model_options
from progan_jax.training.start import open_initial
from progan_jax.training.validation import validate
from tests.untrained import untrained


@pytest.mark.parametrize(
    ("rule", "allowed", "wrong", "fault"),
    [
        (Rule(choices=("a", "b")), "b", "c", "must be one of a, b; choose one"),
        (Rule(least=1), 1, 0, "must be at least 1; raise it"),
        (Rule(least=1), 5, math.inf, "must be finite; lower it"),
        (Rule(least=1), 5, math.nan, "must be at least 1; raise it"),
        (Rule(least=0, most=2), 2, 3, "must be at most 2; lower it"),
        (Rule(least=0, most=2), 0, math.inf, "must be at most 2; lower it"),
        (Rule(above=0), 1e-9, 0, "must be above 0; set a positive number"),
        (Rule(above=0), 1, math.inf, "must be above 0; set a positive number"),
        (Rule(below=1), 0, 1, r"must lie in [0, 1); choose such a number"),
        (Rule(below=1), 0.5, math.nan, r"must lie in [0, 1); choose such a number"),
    ],
)
def test_a_rule_names_itself_and_the_fix(rule, allowed, wrong, fault):
    assert rule.fault(allowed) is None
    assert rule.fault(wrong) == fault


@pytest.mark.parametrize("kind", [Options, LossOptions])
def test_defaults_are_allowed_and_every_field_has_a_rule(kind):
    for field in dataclasses.fields(kind):
        assert field.metadata["rule"].fault(field.default) is None, field.name
        assert isinstance(field.default, bool) or field.metadata["rule"] != Rule()


def test_stored_options_may_lack_younger_fields_alone_and_hold_unknown_ones():
    stored = dataclasses.asdict(Options(fmap_max=8, g_slope=0.3)) | {"gone": 1}
    assert read_options(Options, stored) == Options(fmap_max=8, g_slope=0.3)
    del stored["g_slope"]
    assert read_options(Options, stored) == Options(fmap_max=8)
    del stored["channels"]
    with pytest.raises(KeyError, match="channels"):
        read_options(Options, stored)


def test_options_differ_where_they_shape_one_of_the_networks():
    one = Options(d_divisor=2, tanh=True, remat="blocks")
    assert [name for name, *_ in differences(Options(), one, "G")] == ["tanh"]
    both = [name for name, *_ in differences(Options(), one, "GD")]
    assert both == ["d_divisor", "tanh"]


@dataclasses.dataclass(frozen=True)
class More(Options):
    """The family's options, and one more."""

    warmth: float = option(0.5, least=0, most=1, of="G", younger=True)


def test_an_option_more_is_known_to_config_checks_snapshot_load_and_init_from(
    tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(progan, "Options", More)
    assert base.get_config().model.warmth == 0.5
    stored = model_options(tiny_config)  # Of before there was such an option.
    assert stored.warmth == 0.5
    with tiny_config.unlocked():
        tiny_config.model.warmth = 2.0
    with pytest.raises(UserError, match=r"config\.model\.warmth = 2\.0 must be at mos"):
        validate(tiny_config, 1)
    tiny_config.model.warmth = 0.25
    generator, _ = make_networks(tiny_config, 8, 8)
    params = jax.device_get(untrained(init_generator, generator))
    options = dataclasses.asdict(model_options(tiny_config))
    info = {"options": options, "stage": {"resolution": 8, "alpha": 1.0}}
    write_snapshot(tmp_path / "warm", params, info)
    assert read_info(tmp_path / "warm")["options"]["warmth"] == 0.25
    loaded = progan_jax.load(tmp_path / "warm")
    assert loaded.network.options == model_options(tiny_config)
    images = generator.apply({"params": params}, np.ones((2, 8), np.float32), alpha=1.0)
    np.testing.assert_allclose(loaded(np.ones((2, 8))), images, atol=1e-6)
    tiny_config.init_from = str(tmp_path / "warm")
    tiny_config.model.warmth = 0.75
    with pytest.raises(
        UserError, match=r"set config\.model\.warmth to 0\.25 \(now 0\.75\)"
    ):
        open_initial(tiny_config, tmp_path / "run")
