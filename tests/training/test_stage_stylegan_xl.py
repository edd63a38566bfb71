"""StyleGAN-XL's steps on several devices: groups of statistics, and what is shared."""

import jax
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.runtime.compiler import collectives, host_transfers
from progan_jax.runtime.mesh import make_mesh
from progan_jax.training.config import make_schedule
from progan_jax.training.stage import StageProgram, warn_of_small_groups
from tests.tiny_xl import CLASSES, SIDE, coloured_digits, use_pooled, write_lite0

pytestmark = pytest.mark.usefixtures("shared_programs")

BATCH = 16  # On 8 devices: groups of 2.


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_lite0(tmp_path_factory.mktemp("weights") / "lite0.safetensors")


@pytest.fixture
def config(tiny_xl, weights):
    tiny_xl.model.backbone_weights = f"lite0={weights}"
    tiny_xl.schedule.batch_size = str(BATCH)
    tiny_xl.schedule.total_kimg = 100.0
    return tiny_xl


def train(config, devices, pairs=10):
    side = config.model.resolution
    digits = coloured_digits(side)
    mesh = make_mesh(jax.devices()[:devices])
    counts = digits.label_counts
    stage = StageProgram(config, make_schedule(config), side, mesh, counts)
    state = stage.create(digits)
    stage.prepare(digits)
    for first in range(0, pairs, 4):
        count = min(4, pairs - first)
        state, _ = stage.run(state, BATCH * first, count)
    return arrays(state)


def arrays(state):
    """Returns all arrays of a state by path."""
    state = jax.device_get(state.replace(key=jax.random.key_data(state.key)))
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


@pytest.mark.slow
@pytest.mark.parametrize("side", [SIDE, 32])
def test_ten_pairs_are_the_same_on_eight_devices_with_groups_of_their_own(
    config, float64, own_emitters, monkeypatch, side
):
    use_pooled(monkeypatch)
    config.model.resolution = config.schedule.start_resolution = side
    config.model.backbone_weights = ""  # Other programs than those of lite0.
    config.model.dtype = "float64"
    one, eight = (train(config, n) for n in (1, 8))
    assert one["pairs"] == 10 and one["sums/penalty_steps"] == 5
    assert one["sums/d_skipped"] == one["sums/g_skipped"] == 0
    for path, array in one.items():
        np.testing.assert_allclose(
            array, eight[path], rtol=1e-9, atol=1e-9, err_msg=path
        )
    assert np.abs(one["g_stats/w_average"]).max() > 1e-3
    assert one["loss_state/path_length"] > 0
    # Were groups ignored, each of these numbers would be another.
    config.model.stats_batch = BATCH // 2
    other = train(config, 1)
    for path in ("d_params/lite0/heads_0/conv0/kernel", "sums/d_loss"):
        assert np.abs(one[path] - other[path]).max() > 1e-4


@pytest.mark.parametrize(
    ("group", "batch", "images"),
    [(2, 16, 2), (7, 14, 7), (0, 4, 4), (8, 16, None), (0, 8, None)],
)
def test_groups_of_few_images_are_reported(config, capsys, group, batch, images):
    config.model.stats_batch, config.schedule.batch_size = group, str(batch)
    warn_of_small_groups(config, 1)
    told = capsys.readouterr().err
    if images is None:
        assert not told
    else:
        assert told == (
            f"warning: config.model.stats_batch = {group}: groups of fewer than 8 "
            f"images share statistics ({images} at 16x16), and training may collapse; "
            "raise it, and with it config.schedule.batch_size and microbatch where "
            "they are smaller\n"
        )


def test_the_table_of_embeddings_is_read_where_a_run_starts_alone(config, tmp_path):
    config.model.embedding_file = str(tmp_path / "table.npy")
    digits, mesh = coloured_digits(), make_mesh(jax.devices()[:1])
    stage = StageProgram(config, make_schedule(config), SIDE, mesh, digits.label_counts)
    shape = stage.abstract_state().g_params["mapping"]["embedding"].shape
    assert shape == (6, 4)
    with pytest.raises(UserError, match=r"table\.npy' cannot be read"):
        stage.create()


def test_compiled_steps_exchange_sums_and_the_fakes_classes(config, monkeypatch):
    """How far an image moves its class's average of w depends on those after it."""
    use_pooled(monkeypatch)
    config.model.backbone_weights = ""
    digits, mesh = coloured_digits(), make_mesh(jax.devices())
    stage = StageProgram(config, make_schedule(config), SIDE, mesh, digits.label_counts)
    text = stage._compile(digits.levels[SIDE].shape).as_text()
    found = dict(collectives(text))
    assert found.pop("all-gather") == (1, 4 * BATCH * CLASSES)
    # Groups of D's statistics are of one device: only their averages are exchanged.
    assert found.keys() == {"all-reduce"}
    assert not host_transfers(text)
