import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from progan_jax.errors import UserError
from progan_jax.runtime.checkpoint import Checkpoints
from progan_jax.runtime.mesh import make_mesh, replicated
from progan_jax.runtime.newest import note_newest, read_newest


def make_state(value, devices=1):
    everywhere = replicated(make_mesh(jax.devices()[:devices]))
    state = {
        "params": {"kernel": jnp.full((3, 5), value, jnp.float32)},
        "count": jnp.int32(value),
        "key": jax.random.key(value),
    }
    return jax.device_put(state, everywhere)


def abstract(devices=1):
    everywhere = replicated(make_mesh(jax.devices()[:devices]))
    shapes = jax.eval_shape(lambda: make_state_shapes())
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes
    )


def make_state_shapes():
    return {
        "params": {"kernel": jnp.zeros((3, 5))},
        "count": jnp.int32(0),
        "key": jax.random.key(0),
    }


def save(directory, *values, keep=5):
    with Checkpoints(directory, keep=keep) as checkpoints:
        for value in values:
            checkpoints.save(1000 * value, make_state(value), {"value": value})


def restore(directory, devices=1):
    with Checkpoints(directory, keep=5) as checkpoints:
        return checkpoints.restore_newest(lambda meta: abstract(devices))


def numbers(directory):
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit())


def largest_file(folder):
    return max(
        (p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )


def data_files(folder):
    """The files of the array store, in which the numbers lie."""
    return [
        p for p in folder.rglob("*") if p.is_file() and p.parent.name in ("d", "c")
    ] or [largest_file(folder)]


@pytest.mark.parametrize("devices", [1, 8])
def test_newest_state_is_restored_bit_for_bit_with_its_meta_data(tmp_path, devices):
    save(tmp_path, 1, 2)
    state, meta = restore(tmp_path, devices)
    expected = make_state(2)
    assert meta == {"nimg": 2000, "value": 2}
    np.testing.assert_array_equal(
        state["params"]["kernel"], expected["params"]["kernel"]
    )
    assert state["count"] == 2
    np.testing.assert_array_equal(
        *(jax.random.key_data(s["key"]) for s in (state, expected))
    )
    assert len(state["count"].sharding.device_set) == devices


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert restore(tmp_path / "new") is None


def test_only_the_newest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert numbers(tmp_path) == [3000, 4000]


def test_saving_the_same_images_twice_writes_once(tmp_path):
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        checkpoints.save(1000, make_state(1), {"value": 1}, wait=True)
        checkpoints.save(1000, make_state(2), {"value": 2}, wait=True)
    _, meta = restore(tmp_path)
    assert meta == {"nimg": 1000, "value": 1}


def test_a_state_may_be_donated_right_after_its_save(tmp_path):
    """Without a copy, the next step would overwrite what is being written."""
    double = jax.jit(lambda x: jax.tree.map(lambda a: a * 2, x), donate_argnums=0)
    big = jax.device_put(
        {"x": jnp.ones((512, 1024))}, replicated(make_mesh(jax.devices()[:1]))
    )
    everywhere = big["x"].sharding
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        checkpoints.save(1, big, {})
        for _ in range(20):
            big = double(big)
        jax.block_until_ready(big)
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        shape = jax.ShapeDtypeStruct((512, 1024), jnp.float32, sharding=everywhere)
        state, _ = checkpoints.restore_newest(lambda meta: {"x": shape})
    assert np.array_equal(state["x"], np.ones((512, 1024)))


def truncate(folder):
    for path in data_files(folder):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(folder):
    for path in data_files(folder):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)


def empty(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def remove_state(folder):
    for path in sorted((folder / "state").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def remove_meta(folder):
    for path in (folder / "meta").rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize("damage", [truncate, flip, empty, remove_state, remove_meta])
def test_a_damaged_newest_checkpoint_is_set_aside_for_the_one_before(
    tmp_path, damage, capsys
):
    save(tmp_path, 1, 2)
    damage(tmp_path / "2000")
    state, meta = restore(tmp_path)
    assert meta == {"nimg": 1000, "value": 1}
    assert state["count"] == 1
    assert "warning: checkpoint 2000 is damaged" in capsys.readouterr().err
    assert (tmp_path / "damaged" / "2000").is_dir()
    assert numbers(tmp_path) == [1000]


def edit_meta(folder, old, new, sealed=True):
    """Changes the text of the meta data, as one flipped bit would."""
    path = folder / "meta" / "metadata"
    meta = json.loads(path.read_text())
    if not sealed:
        del meta["checksum"]
    text = json.dumps(meta)
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"value": 2', '"value": 3'),
        ('"nimg": 2000', '"nimg": 2001'),
        ('"nimg"', '"nimf"'),
        ('"crc32"', '"crc33"'),
        ("uint32 [2]", "uinp32 [2]"),
        ('"arrays"', '"arrayr"'),
    ],
)
def test_a_changed_character_of_the_meta_data_costs_the_checkpoint(
    tmp_path, capsys, old, new
):
    save(tmp_path, 1, 2)
    edit_meta(tmp_path / "2000", old, new)
    assert restore(tmp_path)[1]["value"] == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: checkpoint 2000 is damaged")
    assert line.endswith("continuing from 1000")


@pytest.mark.parametrize("damaged", ['"nimg": 2001', '"nimf": 2000'])
def test_older_meta_data_have_no_checksum_and_the_name_of_their_folder(
    tmp_path, damaged, capsys
):
    save(tmp_path, 1, 2)
    edit_meta(tmp_path / "2000", '"value": 2', '"value": 5', sealed=False)
    assert restore(tmp_path)[1] == {"nimg": 2000, "value": 5}
    edit_meta(tmp_path / "1000", '"nimg": 1000', '"nimg": 1000', sealed=False)
    path = tmp_path / "2000" / "meta" / "metadata"
    path.write_text(path.read_text().replace('"nimg": 2000', damaged))
    assert restore(tmp_path)[1] == {"nimg": 1000, "value": 1}
    assert "checkpoint 2000 is damaged" in capsys.readouterr().err


def test_a_state_that_its_meta_data_contradict_costs_the_checkpoint(tmp_path, capsys):
    def check(meta, arrays):
        if int(arrays["count"]) == 2:
            raise ValueError("it counts 2")

    save(tmp_path, 1, 2)
    with Checkpoints(tmp_path, keep=5) as checkpoints:
        _, meta = checkpoints.restore_newest(lambda meta: abstract(), check)
    assert meta["value"] == 1
    assert "checkpoint 2000 is damaged (it counts 2)" in capsys.readouterr().err


def delete(folder):
    shutil.rmtree(folder)


def put_a_file_there(folder):
    delete(folder)
    folder.write_text("no folder")


def renamed(name):
    return lambda folder: folder.rename(folder.with_name(name))


LOSSES = {
    "deleted": delete,
    "a file": put_a_file_there,
    **{
        name: renamed(name)
        for name in (
            *("2001", "20000", "02000", "2000x", "-2000", "200", "notes"),
            *("2000.orbax-checkpoint-tmp", "\u0662\u0660\u0660\u0660"),
        )
    },
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_no_newest_checkpoint_is_passed_over_without_a_warning(tmp_path, capsys, loss):
    save(tmp_path / "checkpoints", 1, 2)
    loss(tmp_path / "checkpoints" / "2000")
    state, meta = restore(tmp_path / "checkpoints")
    assert meta == {"nimg": 1000, "value": 1}
    assert state["count"] == 1
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("warning: checkpoint 2") for line in lines)
    assert any(line.endswith("continuing from 1000") for line in lines)


def test_a_lost_newest_checkpoint_is_named_with_number_and_folder(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    save(folder, 1, 2)
    delete(folder / "2000")
    restore(folder)
    assert capsys.readouterr().err == (
        f"warning: checkpoint 2000 was written and is not in {folder}: it was deleted, "
        "moved or renamed; continuing from 1000\n"
    )


@pytest.mark.parametrize("content", [b"", b"{", b"5", b"{}", b'{"newest": "x"}'])
def test_a_damaged_note_of_the_newest_checkpoint_is_reported(tmp_path, capsys, content):
    folder = tmp_path / "checkpoints"
    save(folder, 1)
    note = tmp_path / "checkpoints.json"
    note.write_bytes(content)
    assert restore(folder)[1]["nimg"] == 1000
    assert f"{note} is damaged: whether" in capsys.readouterr().err


def test_one_changed_digit_of_the_note_is_noticed(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    save(folder, 1)
    note = tmp_path / "checkpoints.json"
    note.write_text(note.read_text().replace("1000", "9000"))
    restore(folder)
    assert f"{note} is damaged: whether" in capsys.readouterr().err


def test_a_save_that_a_kill_cut_short_is_no_damage(tmp_path, capsys):
    """Checks that a save is noted only when it is complete."""
    folder = tmp_path / "checkpoints"
    save(folder, 1)
    checkpoints = Checkpoints(folder, keep=5)
    checkpoints.save(2000, make_state(2), {})
    checkpoints.wait()
    for noted, whole in ((1000, False), (2000, True)):
        # What the disk holds before and after the last step of a save.
        note_newest(folder, 1000)
        if not whole:
            (folder / "2000").rename(folder / "2000.orbax-checkpoint-tmp")
        checkpoints._begun = 2000
        checkpoints.note()
        assert read_newest(folder) == noted
        if not whole:
            (folder / "2000.orbax-checkpoint-tmp").rename(folder / "2000")
    assert capsys.readouterr().err == ""


def test_an_older_checkpoint_without_a_note_is_taken_without_a_warning(
    tmp_path, capsys
):
    folder = tmp_path / "checkpoints"
    save(folder, 1, 2)
    (tmp_path / "checkpoints.json").unlink()
    assert restore(folder)[1]["nimg"] == 2000
    assert capsys.readouterr().err == ""


FILES = (
    *("_CHECKPOINT_METADATA", "meta/metadata", "state/_METADATA"),
    *("state/manifest.ocdbt", "state/d/*", "state/ocdbt.process_0/manifest.ocdbt"),
)


def unlink(path):
    path.unlink()


def make_empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [unlink, make_empty, flip_a_bit])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_changes_nothing_or_costs_the_checkpoint(
    tmp_path, capfd, name, damage
):
    save(tmp_path, 1, 2)
    for path in (tmp_path / "2000").glob(name):
        damage(path)
    state, meta = restore(tmp_path)
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    assert meta["value"] == (1 if "checkpoint 2000 is damaged" in printed else 2)
    expected = make_state(meta["value"])
    np.testing.assert_array_equal(
        state["params"]["kernel"], expected["params"]["kernel"]
    )


def test_a_folder_that_goes_during_a_save_is_one_line(tmp_path, capfd):
    everywhere = replicated(make_mesh(jax.devices()[:1]))
    big = {"x": jax.device_put(jnp.ones((2048, 2048)), everywhere)}
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    with (
        pytest.raises(UserError, match="checkpoint 1 cannot be written to") as error,
        Checkpoints(tmp_path / "run" / "checkpoints", keep=3) as checkpoints,
    ):
        checkpoints.save(1, big, {})
        (tmp_path / "run").rename(tmp_path / "moved")
        (tmp_path / "run").write_text("in its place")
        checkpoints.save(2, big, {})
    assert "\n" not in str(error.value)
    # It does not promise that one is there.
    assert "restore the folder if it was deleted or moved" in str(error.value)
    assert str(error.value).endswith("from the newest checkpoint that is there")
    assert capfd.readouterr().err == ""


def test_a_run_continues_saving_where_a_damaged_checkpoint_was(tmp_path):
    save(tmp_path, 1, 2)
    flip(tmp_path / "2000")
    restore(tmp_path)
    save(tmp_path, 2)
    flip(tmp_path / "2000")
    restore(tmp_path)
    kept = sorted(p.name for p in (tmp_path / "damaged").iterdir())
    assert kept == ["2000", "2000-1"]


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_damage_of_all_is_an_error_at_every_try_and_moves_nothing(tmp_path):
    save(tmp_path, 1, 2)
    flip(tmp_path / "1000")
    flip(tmp_path / "2000")
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"no checkpoint in .* can be read"):
            restore(tmp_path)
        assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s | {"new": jnp.zeros(2)}, r"nothing as new, .* float32 \[2\]"),
        (
            lambda s: {k: s[k] for k in ("params", "key")},
            r"int32 \[\] as count, .* nothing",
        ),
        (lambda s: s | {"count": jnp.zeros(3)}, r"int32 \[\] as count, .* \[3\]"),
    ],
)
def test_a_checkpoint_of_another_program_is_refused_and_not_moved(
    tmp_path, change, words
):
    save(tmp_path, 1, 2)
    before = contents(tmp_path)
    everywhere = replicated(make_mesh(jax.devices()[:1]))
    other = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
        jax.eval_shape(lambda: change(make_state_shapes())),
    )
    with (
        Checkpoints(tmp_path, keep=5) as checkpoints,
        pytest.raises(UserError, match=f"checkpoint 2000 in .* holds {words}"),
    ):
        checkpoints.restore_newest(lambda meta: other)
    assert contents(tmp_path) == before


def sized(meta):
    """Arrays of a form that the meta data name."""
    if meta["value"] == 2:
        return abstract()
    return abstract() | {"count": jnp.zeros(3)}


def test_meta_data_without_a_checksum_that_ask_for_another_form_cost_the_checkpoint(
    tmp_path, capsys
):
    save(tmp_path, 2, 3)  # The newer one asks for what it does not hold.
    for name in ("2000", "3000"):
        edit_meta(tmp_path / name, '"value"', '"value"', sealed=False)
    with Checkpoints(tmp_path, keep=5) as checkpoints:
        _, meta = checkpoints.restore_newest(sized)
    assert meta["nimg"] == 2000
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: checkpoint 3000 is damaged (holds int32 [] as")
    assert line.endswith("continuing from 2000")


def test_checkpoints_without_a_checksum_are_refused_if_none_is_of_the_programs_form(
    tmp_path,
):
    save(tmp_path, 3, 4)
    for name in ("3000", "4000"):
        edit_meta(tmp_path / name, '"value"', '"value"', sealed=False)
    before = contents(tmp_path)
    with (
        Checkpoints(tmp_path, keep=5) as checkpoints,
        pytest.raises(UserError, match=r"checkpoint 4000 in .* holds int32 \[\] as co"),
    ):
        checkpoints.restore_newest(sized)
    assert contents(tmp_path) == before


def test_what_a_kill_left_half_written_is_not_taken_for_a_checkpoint(tmp_path):
    save(tmp_path, 1)
    half = tmp_path / "2000.orbax-checkpoint-tmp-7"
    (half / "state").mkdir(parents=True)
    (half / "state" / "x").write_text("half")
    _, meta = restore(tmp_path)
    assert meta == {"nimg": 1000, "value": 1}


def test_meta_data_are_json_on_disk(tmp_path):
    save(tmp_path, 1)
    files = [p for p in (tmp_path / "1000" / "meta").iterdir() if p.is_file()]
    assert any(json.loads(p.read_text()).get("value") == 1 for p in files)
