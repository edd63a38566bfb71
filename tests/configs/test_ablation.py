"""The rows of the ablation against the reference's table, line by line."""

import pytest

from progan_jax.configs import ablation, celeba
from progan_jax.errors import UserError
from progan_jax.explain import explain
from progan_jax.training.config import get_field, make_schedule
from progan_jax.training.validation import validate

COLUMNS = (
    ("optim.d_repeats", "optim.beta2", "schedule.batch_size"),
    ("optim.ema_decay", "schedule.g_learning_rate", "model.latent_size"),
    ("model.normalize_latents", "model.activation", "model.g_norm", "model.tanh"),
    ("model.d_norm", "loss.drift_weight", "model.equalized", "model.pixel_norm"),
    ("model.minibatch_stddev", "model.minibatch_discrimination"),
)
FIELDS = [field for group in COLUMNS for field in group]
OLD = (128, False, "relu", "batch", True, "layer", 0.0, False, False, False, 0)
NEW = (512, True, "leaky_relu", "none", False, "none", 0.001)
TABLE = {
    "a": (5, 0.9, "64", 0.999**20, "0.0001", *OLD),
    "b": (5, 0.9, "64", 0.999**20, "0.0001", *OLD),
    "c": (5, 0.9, "16", 0.999**5, "0.0001", *OLD),
    "d": (1, 0.99, "16", 0.999, "0.0001", *NEW, False, False, False, 0),
    "e*": (1, 0.99, "16", 0.999, "0.0001", *NEW, False, False, False, 100),
    "e": (1, 0.99, "16", 0.999, "0.0001", *NEW, False, False, True, 0),
    "f": (1, 0.99, "16", 0.999, "0.001", *NEW, True, False, True, 0),
    "g": (1, 0.99, "16", 0.999, "0.001", *NEW, True, True, True, 0),
    "h": (1, 0.99, "16", 0.999, "0.001", *NEW, True, True, True, 0),
}


@pytest.mark.parametrize("row", TABLE)
def test_row_is_that_of_the_reference(row):
    config = ablation.get_config(f"celeba,{row}")
    assert tuple(get_field(config, field) for field in FIELDS) == TABLE[row]
    assert config.schedule.d_learning_rate == config.schedule.g_learning_rate
    assert config.model.mbstd_group_size == 0
    assert (config.model.resolution, config.model.fmap_base) == (128, 2048)


@pytest.mark.parametrize("row", ablation.ROWS)
def test_every_row_is_valid_and_explains_itself(row):
    config = ablation.get_config(f"celeba,{row}")
    config.runtime.num_devices = 1
    validate(config, 1)
    assert "128x128" in explain(config)


def test_only_the_first_row_does_not_grow():
    for row in ablation.ROWS:
        schedule = make_schedule(ablation.get_config(f"celeba,{row}"))
        sides = [stage.resolution for stage in schedule.stages()]
        assert sides == ([128] if row == "a" else [4, 8, 16, 32, 64, 128])
        assert schedule.total_kimg == (20_000 if row == "h" else 10_000)


def test_bedrooms_are_not_mirrored_and_faces_are():
    assert ablation.get_config("celeba,a").data.mirror
    bedroom = ablation.get_config("lsun_bedroom,a")
    assert (bedroom.data.name, bedroom.data.mirror) == ("lsun/bedroom", False)


def test_row_g_is_the_recipe_for_celeba():
    assert ablation.get_config("celeba,g").to_dict() == celeba.get_config().to_dict()


def test_the_star_may_be_written_out():
    star = ablation.get_config("celeba,e*").to_dict()
    assert ablation.get_config("celeba,e_star").to_dict() == star


@pytest.mark.parametrize("argument", ["", "celeba", "celeba,z", "faces,a", "a,celeba"])
def test_any_other_argument_is_refused_with_the_valid_ones(argument):
    with pytest.raises(UserError, match="must be SET,ROW with SET one of celeba, lsun"):
        ablation.get_config(argument)
