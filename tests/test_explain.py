import re

import pytest

from progan_jax.configs import (
    base,
    celeba_hq,
    cifar10,
    digits,
    folder,
    lsun_bedroom,
    stylegan_xl,
)
from progan_jax.errors import UserError
from progan_jax.explain import explain
from progan_jax.prepare.readers import DigitsReader
from progan_jax.prepare.writing import Settings, finish, write_pyramid
from tests.run_folder import run

__all__ = ["run"]


def table(config, **options):
    config.runtime.num_devices = 1
    return read_table(explain(config, **options))


def read_table(text):
    lines = text.split("\n")
    rows = [re.split(r" {2,}", line.strip()) for line in lines]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2 : rows.index([""])]]


def test_every_stage_has_its_kimg_batch_rates_and_parameters():
    rows = table(cifar10.get_config())
    assert [r["stage"] for r in rows] == ["4x4", "8x8", "16x16", "32x32"]
    assert [r["from"] for r in rows] == ["0", "400", "1,200", "2,000"]
    assert [r["fade to"] for r in rows] == ["no fade", "800", "1,600", "2,400"]
    assert [r["until"] for r in rows] == ["400", "1,200", "2,000", "20,000"]
    assert {r["batch"] for r in rows} == {"16"}
    assert rows[-1]["G params"] == "1,296,908"
    assert rows[-1]["D params"] == "1,298,689"
    assert rows[0]["memory"].endswith("MiB")


def test_tables_by_resolution_show_in_their_rows():
    config = base.get_config()
    config.data.name = "any"
    config.schedule.batch_size = "64, 16:32, 32:16"
    config.schedule.d_learning_rate = "0.001, 32:0.0015"
    rows = table(config)
    assert [r["batch"] for r in rows] == ["64", "64", "32", "16"]
    rates = ["0.001", "0.001", "0.001", "0.001, 0.0015"]
    assert [r["G, D rate"] for r in rows] == rates


@pytest.mark.parametrize("recipe", [digits, cifar10, celeba_hq, lsun_bedroom])
def test_lines_fit_into_100_columns(recipe):
    config = recipe.get_config()
    config.runtime.num_devices = 1
    lines = explain(config).split("\n")
    assert 80 < max(map(len, lines)) <= 100


def test_it_needs_no_data_and_refuses_what_training_refuses():
    config = base.get_config()
    config.data.name = "not prepared"
    config.runtime.num_devices = 1
    assert "32x32" in explain(config)
    config.schedule.total_kimg = 100.0
    with pytest.raises(UserError, match="the run ends before 32x32"):
        explain(config)


def test_a_prepared_set_is_described_and_what_contradicts_it_is_refused(
    tmp_path, monkeypatch
):
    reader, settings = DigitsReader(8), Settings(8, channels=1)
    shards = write_pyramid(reader, tmp_path / "x", settings, {}, 1, lambda shard: None)
    finish(tmp_path / "x", reader, settings, {}, shards)
    config = folder.get_config(str(tmp_path / "x"))
    config.runtime.num_devices = 1
    lines = explain(config).split("\n")
    assert lines[0] == (
        "x: 1,797 images of 8x8, 1 channel, 10 classes (0, 1, 2, 3, 4 and 5 more), "
        "trained by class"
    )
    assert lines[2].split()[:2] == ["stage", "from"]
    config.model.num_classes = 0
    assert "left out by" in explain(config).split("\n")[0]
    monkeypatch.setattr("progan_jax.explain._row", None)  # Nothing is computed.
    config.model.channels = 3
    with pytest.raises(UserError) as caught:
        explain(config)
    assert str(caught.value) == (
        "config.model.channels = 3: the images of x have 1; set "
        "--config.model.channels=1"
    )


def test_devices_that_make_groups_smaller_are_reported(capsys):
    config = cifar10.get_config()
    config.model.mbstd_group_size = 4
    config.runtime.num_devices = 8
    explain(config)
    assert (
        "smaller than config.model.mbstd_group_size = 4: 2 at 4x4"
        in capsys.readouterr().err
    )


def test_without_a_run_stages_show_their_share_of_the_operations(tiny_config, tmp_path):
    tiny_config.schedule.update(stabilise_kimg="4", fade_kimg="2", total_kimg=20.0)
    text = " ".join(explain(tiny_config, workdir=tmp_path / "none").split())
    shares = re.findall(r"(\d+)x\1 ([\d.]+)%", text.partition("Operations of each")[2])
    assert [side for side, _ in shares] == ["4", "8", "16"]
    assert sum(float(share) for _, share in shares) == pytest.approx(100, abs=0.2)
    assert float(shares[-1][1]) > 50


def test_ticks_of_a_run_give_the_time_of_its_stages(run, tiny_config):
    """500 images a second at 4x4, 250 at 8x8, and none at 16x16 yet."""
    text = " ".join(explain(tiny_config, workdir=run).split())
    assert f"by 12 tick(s) in {run}, last on 8 x H100 <80GB>:" in text
    assert "4x4 8s, 8x8 24s, 16x16" in text and text.count("(estimate)") == 1
    tiny_config.optim.d_beta2 = 0.5  # Another run's.
    text = explain(tiny_config, workdir=run)
    assert "Time of" not in text and "Operations of each stage" in text


def mebibytes(row):
    return float(row["memory"].removesuffix(" MiB").replace(",", ""))


def test_memory_of_compiled_steps_grows_with_the_batch(tiny_config, capsys):
    tiny_config.model.resolution = tiny_config.schedule.start_resolution = 8
    (small,) = table(tiny_config, compile_steps=True)
    assert capsys.readouterr().err == "compiling 8x8\n"
    tiny_config.schedule.batch_size = "512"
    (large,) = table(tiny_config, compile_steps=True)
    # The level of 30,000 grey images lies on the device.
    assert mebibytes(small) > 30_000 * 8 * 8 / 2**20
    assert mebibytes(large) > mebibytes(small) + 1


def test_memory_is_estimated_on_cpus_unless_it_is_asked_for(tiny_config, capsys):
    assert "rough estimate" in explain(tiny_config)
    assert not capsys.readouterr().err


def test_stages_of_stylegan_xl_show_what_they_train_and_frozen_networks():
    config = stylegan_xl.get_config("imagenet,16-32-128")
    config.runtime.num_devices = 1
    config.eval.update(best="fid", every_kimg=200.0)
    config.schedule.plateau_evaluations = 5
    lines = explain(config)
    text = " ".join(lines.split())
    rows = read_table(lines)
    assert [r["stage"] for r in rows] == ["16x16", "32x32", "128x128"]
    assert [r["batch"] for r in rows] == ["2048", "2048", "256"]
    # As counted of the authors' networks: head, and Fourier input.
    assert f"{70_273_027 + 1024**2 + 2052:,} at 32x32" in text
    assert "Each stage begins with a new D" in text
    assert "ends after 5 evaluations without a better fid" in text
    assert "The run shows at most 75,000.1 kimg" in text
    assert "fade" not in text and "alpha" not in text
    assert "Operations of each stage at most" in text
    assert "deit_base (85.8 M, Apache-2.0), lite0 (3.0 M, Apache-2.0)" in text
    assert max(map(len, lines.split("\n"))) <= 110


def test_where_only_the_run_will_know_when_a_stage_begins_there_are_question_marks():
    config = stylegan_xl.get_config("ffhq,tiny,16-32")
    config.runtime.num_devices = 1
    config.eval.update(best="fid", every_kimg=10.0)
    config.schedule.plateau_evaluations = 5
    config.schedule.stabilise_kimg = "0"
    lines = explain(config)
    ends = [(r["from"], r["until"]) for r in read_table(lines)]
    assert ends == [("0", "plateau"), ("?", "200")]
    assert "Operations of 100 kimg of each stage" in " ".join(lines.split())


def test_a_stem_alone_has_nothing_of_stages():
    config = stylegan_xl.get_config("ffhq,tiny")
    config.runtime.num_devices = 1
    alone = explain(config)
    assert "Each stage" not in alone and "are trained" not in alone
