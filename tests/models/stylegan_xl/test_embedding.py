"""The table of class embeddings that a run starts from."""

import jax
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.models import stylegan_xl as family
from progan_jax.models.common import init_variables
from progan_jax.models.stylegan_xl.embedding import begin, read_table
from progan_jax.models.stylegan_xl.options import Options
from progan_jax.training.state import create_state
from tests.tiny_xl import SIDE, SIZES
from tests.torch_pickles import Named, Object, call, dumps, module_state, parameter

FIELD = "config.model.embedding_file"
TABLE = np.arange(40, dtype=np.float64).reshape(10, 4)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "table.npy"
    np.save(path, TABLE)
    return path


def options(path, **changed):
    return Options(**SIZES | {"embedding_file": str(path)} | changed)


def message(path, **changed):
    with pytest.raises(UserError) as error:
        read_table(options(path, **changed))
    text = str(error.value)
    assert len(text.splitlines()) == 1
    return text.removeprefix(f"{FIELD} = {str(path)!r} ")


def test_the_first_rows_are_taken_or_those_that_are_chosen(file, tmp_path):
    np.testing.assert_array_equal(read_table(options(file)), TABLE[:6])
    assert read_table(options(file)).dtype == np.float32
    chosen = options(file, embedding_rows=3, embedding_choice="7, 0,7")
    np.testing.assert_array_equal(read_table(chosen), TABLE[[7, 0, 7]])
    # Beside other things, in an archive.
    path = tmp_path / "table.npz"
    np.savez(path, names=np.array(list("abc")), table=TABLE, count=np.int64(3))
    np.testing.assert_array_equal(read_table(options(path)), TABLE[:6])


def pickled(path, value, **options):
    path.write_bytes(dumps(value, **options))
    return path


@pytest.mark.parametrize("protocol", [3, 4])
def test_the_authors_pickle_is_read_as_data(tmp_path, protocol):
    """Their program dumps {"embed": torch.nn.Embedding}."""
    weight = {"weight": parameter(TABLE.astype(np.float32))}
    settings = {"num_embeddings": 10, "embedding_dim": 4, "padding_idx": None}
    state = module_state(weight, {}, {}, protocol == 3, **settings)
    embedding = Object("torch.nn.modules.sparse.Embedding", state)
    path = pickled(tmp_path / "embed.pkl", {"embed": embedding}, protocol=protocol)
    np.testing.assert_array_equal(read_table(options(path)), TABLE[:6])
    # Another program's.
    path = pickled(tmp_path / "other.pkl", {"G_ema": embedding})
    assert message(path).startswith("must hold one table, numbers [rows, width], and")
    path = pickled(tmp_path / "odd.pkl", {"embed": Object("torch.nn.Embedding", {})})
    assert message(path).startswith("cannot be read (")
    other = pickled(tmp_path / "call.pkl", [Named("torch.nn.A"), call("os.abort")])
    with pytest.raises(UserError, match=f"^{FIELD}: {other} is an object of a PyTorch"):
        read_table(options(other))


def test_a_run_starts_with_the_table_in_g_and_in_every_head_of_d(file):
    chosen = options(file, embedding_choice="9,8,7,6,5,4", num_classes=5)
    networks = family.make_networks(chosen, SIDE)
    born = jax.eval_shape(lambda key: init_variables(key, *networks), jax.random.key(0))
    begun = begin(chosen, born)
    table = TABLE[[9, 8, 7, 6, 5, 4]]
    tables = [begun.g["params"]["mapping"]["embedding"]]
    [heads] = begun.d["params"].values()
    assert sorted(heads) == ["heads_0", "heads_1", "heads_2", "heads_3"]
    tables += [head["embedding"] for head in heads.values()]
    for ours in tables:
        np.testing.assert_array_equal(ours, table)
    # All else is as it was drawn, and in its place.
    for a, b in zip(*map(jax.tree.leaves, (begun, born)), strict=True):
        assert a is b or a.shape == b.shape == (6, 4)
    assert jax.tree.structure(begun) == jax.tree.structure(born)


def test_without_a_file_or_classes_nothing_changes(file):
    for fields in ({"embedding_file": ""}, {"num_classes": 0}):
        given = options(file, **fields)
        born = object()
        assert begin(given, born) is born


def test_the_average_of_g_starts_with_the_table_too(file):
    import optax

    chosen = options(file)

    def create(key):
        networks = family.make_networks(chosen, SIDE)
        return create_state(
            key, *networks, optax.identity(), {}, lambda born: begin(chosen, born)
        )

    state = jax.jit(create)(jax.random.key(0))
    for params in (state.g_params, state.g_ema):
        np.testing.assert_array_equal(params["mapping"]["embedding"], TABLE[:6])


def test_files_that_do_not_fit_are_refused(file):
    assert message(file, embedding_size=320) == (
        "must have rows of config.model.embedding_size = 320 numbers and has rows of "
        "4; set that to 4, or name another file"
    )
    assert message(file, embedding_rows=11) == (
        "must have a row 10 and has rows 0 to 9; lower config.model.embedding_rows, or "
        "choose others by config.model.embedding_choice"
    )
    assert message(file, embedding_rows=2, embedding_choice="3,404").startswith(
        "must have a row 404 and has rows 0 to 9"
    )


def test_a_missing_file_is_refused(tmp_path):
    assert message(tmp_path / "none.npy") == (
        "cannot be read (No such file or directory); name an .npz or .npy file or the "
        "authors' .pkl, or set it to '' for random embeddings"
    )


def test_damaged_files_and_those_of_other_kinds_are_refused(tmp_path):
    whole = tmp_path / "whole.npz"
    np.savez(whole, table=TABLE)
    contents = {
        "empty.npy": b"",
        "text.npy": b"1,2,3",
        "cut.npz": whole.read_bytes()[:100],
        "changed.npz": whole.read_bytes().replace(TABLE[4].tobytes(), bytes(32)),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert "cannot be read (" in message(tmp_path / name), name
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}, {}]), allow_pickle=True)
    assert "cannot be read (" in message(objects)


def test_files_without_one_table_are_refused(tmp_path):
    path = tmp_path / "tables.npz"
    for arrays in ({}, {"row": TABLE[0]}, {"names": np.full((2, 2), "a")}):
        np.savez(path, **arrays)
        assert message(path) == (
            "must hold one table, numbers [rows, width], and holds 0; name another file"
        )
    np.savez(path, a=TABLE, b=TABLE)
    assert "and holds 2; name another" in message(path)
