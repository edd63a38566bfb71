import contextlib
import copy
import errno
import fcntl
import functools
import json
import operator
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from progan_jax.configs import base
from progan_jax.errors import UserError
from progan_jax.runtime.command_line import list_fields
from progan_jax.runtime.newest import note_newest
from progan_jax.training.workdir import (
    check_begun,
    check_same_config,
    config_of_run,
    exclusive,
    open_workdir,
    read_config,
)
from tests.json_places import places

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refusal(config, folder, fingerprint="data", num_devices=1):
    """Returns the message, after checking that nothing in the folder was touched."""
    before = contents(folder)
    with pytest.raises(UserError) as error:
        open_workdir(config, folder, fingerprint, num_devices)
    assert contents(folder) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_second_process_is_kept_out_until_the_first_is_killed(tmp_path):
    workdir = tmp_path / "run"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from progan_jax.training.workdir import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n"
        "    print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(workdir)], stdout=subprocess.PIPE, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == b"in\n"
        with (
            pytest.raises(UserError, match="another process trains in it"),
            exclusive(workdir),
        ):
            raise AssertionError("entered")
        other.kill()
    with exclusive(workdir):
        assert workdir.is_dir()
    assert [path.name for path in workdir.iterdir()] == [".lock"]


def test_a_folder_on_nfs_is_locked(workdir, monkeypatch, capsys):
    """NFS refuses an exclusive lock on what is not opened for writing."""

    def flock(opened, operation):
        if fcntl.fcntl(opened, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        local_flock(opened, operation)

    local_flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        exclusive(workdir),
        pytest.raises(UserError, match="another process trains in it"),
        exclusive(workdir),
    ):
        raise AssertionError("entered")
    assert capsys.readouterr().err == ""


def test_a_folder_without_locks_is_used_with_a_warning(workdir, monkeypatch, capsys):
    def flock(opened, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(workdir):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"warning: {workdir}: its file system has no locks (No locks available); two "
        "processes that write into it would not be noticed"
    )


def test_a_new_folder_records_configuration_data_and_versions(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    record = json.loads((workdir / "config.json").read_text())
    assert record["config"] == tiny_config.to_dict()
    assert record["data_fingerprint"] == "data"
    (start,) = record["starts"]
    assert {"git", "python", "versions", "device_kind"} <= start.keys()


def test_the_same_configuration_opens_the_folder_again(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    open_workdir(tiny_config, workdir, "data", 1)
    record = json.loads((workdir / "config.json").read_text())
    assert len(record["starts"]) == 2


def frozen(sha256, name="a.pth"):
    return {"lite0": {"file": name, "sha256": sha256}}


def test_files_of_frozen_networks_are_recorded_and_may_move(tiny_config, workdir):
    for files in (frozen("ab"), frozen("ab", "moved.pth")):
        open_workdir(tiny_config, workdir, "data", 1, files)
        record = json.loads((workdir / "config.json").read_text())
        assert record["frozen_files"] == files


def test_other_weights_of_a_frozen_network_are_refused(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1, frozen("ab"))
    before = (workdir / "config.json").read_text()
    with pytest.raises(UserError) as error:
        open_workdir(tiny_config, workdir, "data", 1, frozen("cd", "b.pth"))
    assert str(error.value) == (
        f"--workdir={workdir}: the weights of lite0 are read from b.pth with SHA-256 "
        "cd, and the run was begun with a.pth with SHA-256 ab; name that file, or "
        "choose another --workdir"
    )
    assert (workdir / "config.json").read_text() == before


def test_a_run_of_a_version_without_that_record_takes_it_up(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    open_workdir(tiny_config, workdir, "data", 1, frozen("ab"))
    with pytest.raises(UserError, match=r"begun with a\.pth with SHA-256 ab"):
        open_workdir(tiny_config, workdir, "data", 1, frozen("cd"))


def test_another_configuration_is_refused_by_its_first_field(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    tiny_config.optim.beta2 = 0.9
    assert refusal(tiny_config, workdir) == (
        f"config.optim.beta2 = 0.9, but the run in {workdir} was begun with "
        "0.99, and a run keeps its configuration; choose another --workdir, or "
        "continue with --config.optim.beta2=0.99"
    )


def test_fields_that_change_no_image_may_differ(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    tiny_config.schedule.total_kimg = 99.0
    tiny_config.runtime.pairs_per_dispatch = 1
    tiny_config.data.data_dir = "/elsewhere"
    open_workdir(tiny_config, workdir, "data", 1)
    record = json.loads((workdir / "config.json").read_text())
    assert record["config"]["schedule"]["total_kimg"] == 99.0


def test_a_field_that_the_program_has_got_since_does_not_stop_a_run(
    tiny_config, workdir
):
    open_workdir(tiny_config, workdir, "data", 1)
    path = workdir / "config.json"
    record = json.loads(path.read_text())
    del record["config"]["data"]["dequantise"], record["checksum"]
    path.write_text(json.dumps(record))
    tiny_config.data.dequantise = True
    assert "dequantise = True" in refusal(tiny_config, workdir)
    tiny_config.data.dequantise = False
    open_workdir(tiny_config, workdir, "data", 1)
    assert json.loads(path.read_text())["config"]["data"]["dequantise"] is False


def test_a_run_keeps_its_word_on_deterministic_kernels(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    tiny_config.runtime.deterministic = True
    assert "config.runtime.deterministic = True, but the run" in refusal(
        tiny_config, workdir
    )


def test_other_images_are_refused(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    message = refusal(tiny_config, workdir, "other data")
    assert message.startswith("config.data.name = 'digits': its images are not those")


def test_devices_may_change_if_the_groups_of_the_statistic_do_not(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    open_workdir(tiny_config, workdir, "data", 2)
    assert refusal(tiny_config, workdir, num_devices=8) == (
        "config.runtime.num_devices: on this number of devices the minibatch statistic "
        f"at 4x4 has groups of 1 image(s), and the run in {workdir} was begun with 4; "
        "use as many devices as at its start"
    )


def test_what_a_kill_left_of_a_record_does_not_lock_the_folder(tiny_config, workdir):
    (workdir / ".config.json.partial").write_text("{")
    open_workdir(tiny_config, workdir, "data", 1)
    assert (workdir / "config.json").exists()


def test_a_folder_of_other_things_is_refused(tiny_config, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"sun")
    assert "is in use and holds no config.json" in refusal(tiny_config, tmp_path)


def rewrite(path, **fields):
    """Changes a record as a version without checksums would have written it."""
    record = json.loads(path.read_text()) | fields
    record.pop("checksum", None)
    path.write_text(json.dumps(record))


BROKEN = ["", "{", "[]", '{"config": 3}', "[" * 100_000, "5", "{}", '{"config": {}}']


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_record_is_refused(tiny_config, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert "its config.json cannot be read" in refusal(tiny_config, tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("starts", 5, "starts = 5 and needs a list there"),
        ("starts", [5], r"starts = \[5\] and needs records"),
        ("stddev_groups", 5, "stddev_groups = 5 and needs a dict"),
        ("data_fingerprint", None, "data_fingerprint = None and needs a str"),
        ("config", 5, "config = 5 and needs a dict"),
        ("frozen_files", [], r"frozen_files = \[\] and needs a dict"),
        ("frozen_files", {"lite0": {"file": "a"}}, "and no hashes there"),
        ("note", float("nan"), "NaN is not a JSON number"),
        ("config", {"model": {"a.b": 1}}, "does not accept dots in field names"),
        ("config", {"__class__": 1}, "__class__ cannot be overridden"),
    ],
)
def test_a_record_with_a_field_of_another_kind_is_refused(
    tiny_config, workdir, field, value, reason
):
    open_workdir(tiny_config, workdir, "data", 1)
    rewrite(workdir / "config.json", **{field: value})
    assert re.search(reason, refusal(tiny_config, workdir))
    with pytest.raises(UserError, match=reason):
        read_config(workdir, "RUN")


def test_a_record_that_is_no_text_is_refused(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    path = workdir / "config.json"
    path.write_bytes(path.read_bytes().replace(b"digits", b"dig\xffts"))
    assert "cannot be read ('utf-8' codec" in refusal(tiny_config, workdir)


def test_one_changed_digit_of_a_record_is_noticed(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    path = workdir / "config.json"
    path.write_text(path.read_text().replace('"beta2": 0.99', '"beta2": 0.98'))
    assert "its checksum differs; if you have changed it" in refusal(
        tiny_config, workdir
    )


def test_a_record_of_before_without_a_checksum_is_taken_as_it_is(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    rewrite(workdir / "config.json")
    open_workdir(tiny_config, workdir, "data", 1)
    assert len(json.loads((workdir / "config.json").read_text())["starts"]) == 2


@pytest.fixture
def begun(tiny_config, workdir):
    """A run of 0.32 kimg that has reached 0.24, with a checkpoint there."""
    open_workdir(tiny_config, workdir, "data", 1)
    (workdir / "checkpoints" / "240").mkdir(parents=True)
    note_newest(workdir / "checkpoints", 240)
    (workdir / "stats.jsonl").write_text('{"Progress/nimg": 240}\n')
    (workdir / "grids").mkdir()
    return workdir


def test_a_run_that_can_continue_may(tiny_config, begun):
    check_begun(tiny_config, begun)


@pytest.mark.parametrize("without", ["checkpoints.json", "stats.jsonl"])
def test_a_run_is_not_made_shorter_than_it_is_by_now(tiny_config, begun, without):
    (begun / without).unlink()
    tiny_config.schedule.total_kimg = 0.224
    with pytest.raises(UserError) as error:
        check_begun(tiny_config, begun)
    assert str(error.value) == (
        f"config.schedule.total_kimg = 0.224, but the run in {begun} has reached 0.24 "
        "kimg, and its log is never truncated; set 0.24 or more, or choose another "
        "--workdir"
    )
    tiny_config.schedule.total_kimg = 0.24
    check_begun(tiny_config, begun)


def remove_all(checkpoints):
    shutil.rmtree(checkpoints)


def empty(checkpoints):
    shutil.rmtree(checkpoints)
    checkpoints.mkdir()


def remove_with_note(checkpoints):
    """As of a version that notes nothing."""
    shutil.rmtree(checkpoints)
    checkpoints.with_name("checkpoints.json").unlink()


@pytest.mark.parametrize("loss", [remove_all, empty, remove_with_note])
def test_a_run_without_its_checkpoints_is_not_begun_again_over_its_record(
    tiny_config, begun, loss
):
    loss(begun / "checkpoints")
    before = contents(begun)
    with pytest.raises(UserError) as error:
        check_begun(tiny_config, begun)
    assert contents(begun) == before
    assert str(error.value) == (
        f"--workdir={begun} holds stats.jsonl of a run that has reached 0.24 kimg, and "
        f"no checkpoint to continue from; restore {begun}/checkpoints, or choose "
        f"another --workdir, where --config.init_from={begun} starts from what was "
        "trained here"
    )


# Ticks end at 32, 64 and 80 images, and the first stage with the last of them.
@pytest.mark.parametrize(
    ("every_ticks", "first"), [(1, 32), (2, 64), (3, 80), (4, 80), (100, 80)]
)
@pytest.mark.parametrize("shown_by", ["stats.jsonl", "snapshots", "grids"])
def test_a_run_begins_again_only_if_its_first_checkpoint_may_not_have_been_written(
    tiny_config, workdir, every_ticks, first, shown_by
):
    tiny_config.train.checkpoint_ticks = every_ticks
    open_workdir(tiny_config, workdir, "data", 1)
    (workdir / "checkpoints").mkdir()
    show(workdir, shown_by, first)
    # Of how the run was begun, and not of how it goes on.
    for now in (1, 1000):
        tiny_config.train.checkpoint_ticks = now
        check_begun(tiny_config, workdir)
    show(workdir, shown_by, first + 16)
    for now in (1, 1000):
        tiny_config.train.checkpoint_ticks = now
        kimg = f"{(first + 16) / 1000:g}"
        with pytest.raises(UserError, match=rf"has reached {kimg} kimg, and no chec"):
            check_begun(tiny_config, workdir)


def show(workdir, part, nimg):
    """Leaves a trace of so many images."""
    if part == "stats.jsonl":
        with (workdir / part).open("a") as file:
            file.write(f'{{"Progress/nimg": {nimg}}}\n')
    elif part == "snapshots":
        (workdir / part / f"000000.{nimg:03d}_r004").mkdir(parents=True)
    else:
        (workdir / part).mkdir(exist_ok=True)
        (workdir / part / f"fakes_000000.{nimg:03d}_r004.png").touch()


def test_a_run_that_started_from_other_networks_has_a_checkpoint_from_its_start(
    tiny_config, workdir
):
    tiny_config.init_from = "runs/other"
    open_workdir(tiny_config, workdir, "data", 1)
    (workdir / "checkpoints").mkdir()
    check_begun(tiny_config, workdir)
    show(workdir, "stats.jsonl", 32)
    with pytest.raises(UserError, match="and no checkpoint to continue from"):
        check_begun(tiny_config, workdir)


@pytest.mark.parametrize("name", ["0240", "2e2", "240.orbax-checkpoint-tmp", "240x"])
def test_what_is_called_like_no_checkpoint_is_none(tiny_config, begun, name):
    (begun / "checkpoints" / "240").rename(begun / "checkpoints" / name)
    with pytest.raises(UserError, match="and no checkpoint to continue from"):
        check_begun(tiny_config, begun)


@pytest.mark.parametrize("name", ["0256", "256.bak", " 256", "2e2", "\n256"])
def test_a_folder_that_is_called_like_no_checkpoint_is_named(
    tiny_config, begun, name, capsys
):
    (begun / "checkpoints" / name).mkdir()
    check_begun(tiny_config, begun)
    (line,) = capsys.readouterr().err.splitlines()
    shown = name.replace("\n", "\\n")
    assert line.startswith(
        f"warning: {begun}/checkpoints holds {shown}, which is ignored: "
    )


def test_what_a_kill_or_damage_left_beside_checkpoints_is_not_named(
    tiny_config, begun, capsys
):
    (begun / "checkpoints" / "256.orbax-checkpoint-tmp").mkdir()
    (begun / "checkpoints" / "damaged").mkdir()
    (begun / "checkpoints" / "descriptor").touch()
    check_begun(tiny_config, begun)
    assert capsys.readouterr().err == ""


def test_a_run_without_a_note_warns_if_its_last_checkpoint_is_missing(
    tiny_config, workdir, capsys
):
    tiny_config.train.checkpoint_ticks = 1
    open_workdir(tiny_config, workdir, "data", 1)
    (workdir / "checkpoints" / "80").mkdir(parents=True)
    show(workdir, "stats.jsonl", 80)
    check_begun(tiny_config, workdir)
    assert capsys.readouterr().err == ""
    show(workdir, "stats.jsonl", 112)
    check_begun(tiny_config, workdir)
    assert capsys.readouterr().err == (
        f"warning: {workdir}/stats.jsonl has rows up to 0.112 kimg, and the checkpoint "
        f"of 0.112 kimg is not in {workdir}/checkpoints: a kill cut it short, or it "
        "was deleted, moved or renamed; continuing from 80\n"
    )


# After 80 images a tick ends at 112, and the next at 144.
@pytest.mark.parametrize(("every_ticks", "due"), [(1, 112), (5, 144)])
@pytest.mark.parametrize("noted", [None, 80])
def test_rows_that_need_a_later_checkpoint_warn_that_it_is_gone(
    tiny_config, workdir, capsys, every_ticks, due, noted
):
    tiny_config.train.checkpoint_ticks = every_ticks
    open_workdir(tiny_config, workdir, "data", 1)
    (workdir / "checkpoints" / "80").mkdir(parents=True)
    if noted:
        note_newest(workdir / "checkpoints", noted)
    for nimg in (32, 64, 80, 112, due):
        show(workdir, "stats.jsonl", nimg)
        check_begun(tiny_config, workdir)
    assert noted is None or capsys.readouterr().err == ""
    capsys.readouterr()
    show(workdir, "stats.jsonl", due + 16)
    check_begun(tiny_config, workdir)
    assert capsys.readouterr().err == (
        f"warning: {workdir}/stats.jsonl has rows up to {(due + 16) / 1000:g} kimg, "
        f"and the checkpoint of {due / 1000:g} kimg is not in {workdir}/checkpoints: "
        "it was deleted, moved or renamed; continuing from 80\n"
    )


def test_a_new_folder_and_one_with_nothing_in_it_may_begin(tiny_config, workdir):
    check_begun(tiny_config, workdir / "new")
    check_begun(tiny_config, workdir)
    open_workdir(tiny_config, workdir, "data", 1)
    check_begun(tiny_config, workdir)


@pytest.fixture
def flowers(tiny_config, workdir):
    """A run that was begun with two fields that its recipe sets otherwise."""
    begun = copy.deepcopy(tiny_config)
    begun.data.name, begun.eval.num_images = "flowers", 500
    begun.runtime.num_devices = 8
    open_workdir(begun, workdir, "data", 1)
    return workdir


def test_a_runs_own_configuration_is_used_where_nothing_else_is_given(
    tiny_config, flowers
):
    config = config_of_run(tiny_config, [], flowers)
    assert config.data.name == "flowers"
    assert config.eval.num_images == 500
    assert config.runtime.num_devices == tiny_config.runtime.num_devices


def test_what_is_given_of_eval_and_places_counts(tiny_config, flowers):
    tiny_config.eval.num_images, tiny_config.data.data_dir = 7, "/elsewhere"
    given = ["eval.num_images", "data.data_dir"]
    config = config_of_run(tiny_config, given, flowers)
    assert config.eval.num_images == 7
    assert config.data.data_dir == "/elsewhere"
    assert config.data.name == "flowers"


@pytest.mark.parametrize("given", [[], ["eval.num_images"]])
def test_a_run_of_another_family_has_its_fields_without_a_recipe(workdir, given):
    begun = base.get_config("stylegan")
    begun.data.name, begun.model.w_size = "flowers", 64
    open_workdir(begun, workdir, "data", 1)
    command = base.get_config()
    command.eval.num_images = 7
    config = config_of_run(command, given, workdir)
    assert (config.family, config.model.w_size) == ("stylegan", 64)
    assert config.eval.num_images == (7 if given else 0)
    assert "fake_labels" not in config.loss
    with pytest.raises(UserError, match=r"loss\.fake_labels = .* begun with None"):
        config_of_run(command, ["loss.fake_labels"], workdir)


def test_what_is_given_and_is_not_the_runs_is_named(tiny_config, flowers):
    with pytest.raises(UserError) as error:
        config_of_run(tiny_config, ["data.name"], flowers)
    assert str(error.value).startswith(
        f"config.data.name = 'digits', but the run in {flowers} was begun with "
        "'flowers'"
    )
    tiny_config.data.name = "flowers"
    assert config_of_run(tiny_config, ["data.name"], flowers).data.name == "flowers"


def test_fields_that_a_run_of_before_has_not_recorded_are_the_commands(
    tiny_config, flowers
):
    path = flowers / "config.json"
    record = json.loads(path.read_text())
    del record["config"]["eval"]["tap"], record["config"]["model"]["remat"]
    record["config"]["model"]["gone"] = 5
    rewrite(path, **record)
    config = config_of_run(tiny_config, [], flowers)
    assert config.eval.tap == tiny_config.eval.tap
    assert config.model.remat == "none"


DEEP = functools.reduce(lambda inner, _: [inner], range(900), [])
WRONG = (None, "", "\ud800", 0, -1, 1e400, 10**400, True, [], {}, DEEP)


@pytest.mark.parametrize("value", (KeyError, *WRONG), ids=range(1 + len(WRONG)))
def test_whatever_a_record_holds_its_readers_get_all_fields_or_one_line(
    tiny_config, workdir, value
):
    open_workdir(tiny_config, workdir, "data", 1)
    rewrite(workdir / "config.json")
    text = (workdir / "config.json").read_text()
    base_fields = list_fields(base.get_config())
    for *above, last in places(json.loads(text)):
        record = json.loads(text)
        inner = functools.reduce(operator.getitem, above, record)
        if value is KeyError:
            del inner[last]
        else:
            inner[last] = value
        (workdir / "config.json").write_text(json.dumps(record))
        try:
            fields = list_fields(read_config(workdir, "RUN"))
        except UserError as error:
            assert str(error).startswith(f"RUN={workdir}: its config.json cannot be ")
            assert "\n" not in str(error)
            continue
        for field, example in base_fields.items():
            kinds = (int, float) if isinstance(example, float) else (type(example),)
            assert type(fields[field]) in kinds, (field, value)
        with contextlib.suppress(UserError):  # It is of another run now.
            check_begun(tiny_config, workdir)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("data", "x", "it has config.data = 'x' and needs fields there"),
        ("data", KeyError, "it has no config.data)"),
        ("data.name", KeyError, "it has no config.data.name"),
        ("model.resolution", KeyError, "it has no config.model.resolution"),
        ("loss.kind", KeyError, "it has no config.loss.kind"),
        ("data.max_memory_mib", None, "= None and needs a whole number there"),
        ("train.checkpoint_ticks", 0, "must be at least 1; raise it"),
        ("model.resolution", "large", "= 'large' and needs a whole number there"),
        ("model.tanh", 1, "config.model.tanh = 1 and needs true or false there"),
        ("optim.beta2", "0.99", "= '0.99' and needs a number there"),
        ("schedule.fade_kimg", 600, "fade_kimg = 600 and needs text there"),
    ],
)
def test_a_recorded_field_that_cannot_be_is_named(
    tiny_config, workdir, field, value, reason
):
    open_workdir(tiny_config, workdir, "data", 1)
    record = json.loads((workdir / "config.json").read_text())
    *groups, name = field.split(".")
    inner = functools.reduce(operator.getitem, groups, record["config"])
    if value is KeyError:
        del inner[name]
    else:
        inner[name] = value
    rewrite(workdir / "config.json", **record)
    with pytest.raises(UserError, match=re.escape(reason)):
        config_of_run(tiny_config, [], workdir)
    with pytest.raises(UserError, match=re.escape(reason)):
        check_begun(tiny_config, workdir)


def test_a_run_of_before_has_the_free_fields_of_now(tiny_config, workdir):
    open_workdir(tiny_config, workdir, "data", 1)
    record = json.loads((workdir / "config.json").read_text())
    del record["config"]["data"]["resident_gib"], record["config"]["eval"]["tap"]
    rewrite(workdir / "config.json", **record)
    config = read_config(workdir, "RUN")
    assert config.data.resident_gib == base.get_config().data.resident_gib
    assert config.eval.tap == base.get_config().eval.tap
    tiny_config.eval.tap = "768"
    assert config_of_run(tiny_config, [], workdir).eval.tap == "768"


def test_evaluation_takes_the_runs_configuration_and_names_what_differs(flowers):
    def evaluate(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "progan_jax.main", "--mode=eval", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        return line

    recipe, run = "--config=configs/digits.py", f"--workdir={flowers}"
    other = "--config.optim.beta2=0.5"
    # All is well but that there is nothing to measure.
    assert "it holds no snapshot yet" in evaluate(recipe, run)
    assert "it holds no snapshot yet" in evaluate(run, "--config.eval.metrics=swd")
    assert "config.optim.beta2 = 0.5, but the run in" in evaluate(recipe, run, other)
    assert "there is no such folder" in evaluate("--workdir=nowhere")


def deleted(workdir):
    shutil.rmtree(workdir)


def moved(workdir):
    workdir.rename(workdir.with_name("moved"))


def replaced(workdir):
    moved(workdir)
    shutil.copytree(workdir.with_name("moved"), workdir)


def emptied(workdir):
    for path in workdir.glob("*"):
        path.unlink()


@pytest.mark.parametrize("loss", [deleted, moved, replaced, emptied])
def test_a_folder_that_is_gone_while_it_is_in_use_is_noticed(
    tiny_config, workdir, loss
):
    with exclusive(workdir) as folder:
        open_workdir(tiny_config, workdir, "data", 1)
        folder.check()
        loss(workdir)
        with pytest.raises(UserError, match="was deleted, moved or unmounted"):
            folder.check()


def test_what_a_save_left_in_an_emptied_folder_is_to_be_removed_as_the_line_says(
    tiny_config, workdir
):
    with exclusive(workdir) as folder:
        open_workdir(tiny_config, workdir, "data", 1)
        emptied(workdir)
        (workdir / "checkpoints" / "32.orbax-checkpoint-tmp").mkdir(parents=True)
        with pytest.raises(UserError) as error:
            folder.check()
    assert str(error.value).endswith("what is left of it to start from scratch")
    with pytest.raises(UserError, match="it is in use and holds no config"):
        open_workdir(tiny_config, workdir, "data", 1)
    shutil.rmtree(workdir / "checkpoints")
    open_workdir(tiny_config, workdir, "data", 1)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("no folder")
    with (
        pytest.raises(UserError, match=r"--workdir=.*run: cannot be written"),
        exclusive(tmp_path / "run"),
    ):
        raise AssertionError("entered")


def test_a_run_begun_without_classes_names_what_continues_without_them(
    tiny_config, tmp_path
):
    config = tiny_config.copy_and_resolve_references()
    config.model.num_classes = 10
    with pytest.raises(UserError) as caught:
        check_same_config(config, tmp_path, tiny_config)
    assert "config.model.num_classes = 10, but the run" in str(caught.value)
    assert str(caught.value).endswith("continue with --config.model.num_classes=0")
    config.model.num_classes = 0
    check_same_config(config, tmp_path, tiny_config)
