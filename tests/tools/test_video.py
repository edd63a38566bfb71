"""The tool's flags, and one film of each kind."""

import imageio_ffmpeg
import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

import progan_jax
from progan_jax.errors import UserError
from progan_jax.inference.sampling import generator_from_snapshot
from progan_jax.inference.snapshot import write_snapshot
from progan_jax.models.common import init_generator
from tests.styled import write_styled
from tests.untrained import untrained


@pytest.fixture
def run(tmp_path, tiny_config):
    info = {
        "stage": {"resolution": 4, "alpha": 1.0, "nimg": 1000},
        "options": tiny_config.model.to_dict(),
    }
    params = untrained(init_generator, generator_from_snapshot(info))
    folder = tmp_path / "run"
    write_snapshot(folder / "snapshots" / "000001_r004", jax.device_get(params), info)
    (folder / "grids").mkdir()
    Image.new("RGB", (64, 32)).save(folder / "grids" / "fakes_000000_r004.png")
    return folder


@pytest.fixture
def make(run, import_tool, monkeypatch):
    """Returns a function that makes a film of the run by the tool."""
    video = import_tool("video")
    monkeypatch.setattr(video, "keep_compiled", lambda: None)

    def make_by_flags(model=run, **flags):
        with flagsaver.flagsaver(**flags):
            video.main(str(model))

    return make_by_flags


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        ({"seconds": 1.0, "grid": "2x1"}, (512, 256)),
        ({"seconds": 1.0, "seeds": "1,5"}, (512, 512)),
        ({"timelapse": True, "seconds": 1.0}, (64, 72)),
    ],
)
def test_films_have_their_length_and_size(make, tmp_path, capsys, flags, size):
    out = tmp_path / "film.gif"
    make(out=str(out), fps=4, **flags)
    assert capsys.readouterr().out.startswith(f"{out}: 1.0 s, ")
    with Image.open(out) as film:
        assert film.size == size


@pytest.mark.parametrize(
    "flags", [{"grid": "2x1"}, {"seeds": "1,5", "space": "z"}, {"seeds": "1,5"}]
)
def test_films_of_a_stylegan_begin_with_the_images_of_their_styles(
    make, tmp_path, flags
):
    model, out = write_styled(tmp_path / "it", "plain"), tmp_path / "film.gif"
    make(model, out=str(out), fps=4, seconds=1.0, truncation_psi=0.5, **flags)
    with Image.open(out) as film:
        assert film.n_frames == 4
        first = np.asarray(film.convert("RGB"), int)
    if "seeds" in flags:
        style = {"truncation_psi": 0.5, "noise": "fixed"}
        drawn = progan_jax.load(model).sample(1, 1, **style)
        image = progan_jax.to_uint8(drawn)[0].repeat(16, 0).repeat(16, 1)
        assert np.abs(first - image).mean() < 12  # GIF has 256 colours.
    else:
        assert first.shape == (256, 512, 3)


def test_a_film_of_classes_passes_the_image_of_each(make, tmp_path):
    names = ("cat", "dog", "fish", "hen", "ox")
    model = write_styled(tmp_path / "it", "fused", names)
    out = tmp_path / "film.gif"
    make(model, out=str(out), classes="ox,1,fish", fps=6, seconds=1.0, seed=2)
    g = progan_jax.load(model)
    with Image.open(out) as film:
        assert film.n_frames == 6
        for frame, label in ((0, 4), (2, 1), (4, 2)):
            film.seek(frame)
            shown = np.asarray(film.convert("RGB"), int)
            image = progan_jax.to_uint8(g.sample(1, 2, label, noise="fixed"))[0]
            large = image.repeat(32, 0).repeat(32, 1)
            assert np.abs(shown - large).mean() < 12  # GIF has 256 colours.


def test_classes_go_through_w_alone(make, tmp_path):
    model, out = write_styled(tmp_path / "it", "fused"), str(tmp_path / "film.gif")
    for flags, message in (
        ({"classes": "1"}, "--classes=1 must be two or more classes"),
        ({"classes": "1,9"}, "--classes=9 must be from 0 to 4"),
        ({"classes": "1,2", "space": "z"}, "--space=z: --classes goes through w"),
        ({"classes": "1,2", "class": "1"}, "--class and --classes exclude each"),
        ({"classes": "1,2", "seeds": "1,2"}, "--classes and --seeds exclude each"),
    ):
        with pytest.raises(UserError) as refused:
            make(model, out=out, **flags)
        assert str(refused.value).startswith(message)


@pytest.mark.slow
# imageio-ffmpeg leaves its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_minute_of_the_network_that_ships_plays_for_a_minute(make, tmp_path, capsys):
    out = tmp_path / "minute.mp4"
    make(model="cifar10", out=str(out))
    assert capsys.readouterr().out.startswith(f"{out}: 60.0 s, ")
    metadata = next(imageio_ffmpeg.read_frames(out))
    assert (metadata["size"], metadata["fps"], metadata["codec"]) == (
        (512, 512),
        30,
        "h264",
    )
    assert imageio_ffmpeg.count_frames_and_secs(out) == (1800, pytest.approx(60))


def test_growth_is_a_png_among_the_runs_videos(run, make, capsys):
    make(growth=True, seed=3)
    out = run / "videos" / "growth_seed3.png"
    assert capsys.readouterr().out == f"{out}: 1 stages\n"
    with Image.open(out) as picture:
        assert picture.size == (512, 64 + 40)


def test_classes_are_chosen_by_name_for_films_and_growth(
    run, make, tiny_config, capsys
):
    tiny_config.model.num_classes = 2
    info = {
        "stage": {"resolution": 4, "alpha": 1.0, "nimg": 1000},
        "options": tiny_config.model.to_dict(),
        "dataset": {"class_names": ["cat", "dog"]},
    }
    params = untrained(init_generator, generator_from_snapshot(info))
    folder = run / "snapshots" / "000001_r004"
    write_snapshot(folder, jax.device_get(params), info)
    for label in ("dog", "1"):
        make(growth=True, **{"class": label})
    pictures = [path.name for path in (run / "videos").iterdir()]
    assert pictures == ["growth_seed0_class1.png"]
    make(seconds=0.5, fps=4, out=str(run / "film.gif"), **{"class": "dog"})
    with pytest.raises(UserError, match="--class=cow: there is no such class; choose"):
        make(seconds=0.5, fps=4, out=str(run / "film.gif"), **{"class": "cow"})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "/nowhere"}, "MODEL=/nowhere: there is no such file or folder"),
        ({"model": "s3://x", "growth": True}, "RUN=s3://x: only mounted folders can"),
        ({"seeds": "1,b"}, "--seeds=1,b must be two or more whole numbers"),
        ({"seeds": "7"}, "--seeds=7 must be two or more whole numbers"),
        ({"seeds": ""}, "--seeds= must be two or more whole numbers"),
        ({"seeds": "1,4294967296"}, "must be two or more whole numbers in [0, 2**32)"),
        ({"seeds": "1,2", "grid": "2x2"}, "--grid=2x2: --seeds shows one image"),
        ({"grid": "big"}, "--grid=big must be COLUMNSxROWS"),
        ({"class": 1}, "--class=1: this generator has no classes"),
        ({"snapshot": "000009_r004"}, "--snapshot=000009_r004: "),
        (
            {"timelapse": True, "growth": True},
            "--timelapse and --growth exclude each other",
        ),
        ({"growth": True}, "with --growth the name must end in .png"),
        (
            {"space": "w"},
            "--space=w is for style-based generators, and this one",
        ),
        ({"classes": "1,2"}, "--classes=1,2 is for style-based generators, and"),
        ({"noise": "none"}, "--noise=none is for style-based generators, and this"),
        (
            {"out": "film.avi"},
            "--out=film.avi: the name must end in a dot and one of mp4",
        ),
    ],
)
def test_mistakes_are_one_line(make, tmp_path, flags, message):
    with pytest.raises(UserError) as refused:
        make(**{"out": str(tmp_path / "film.gif"), **flags})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_without_grids_has_no_timelapse(run, make, tmp_path):
    (run / "grids" / "fakes_000000_r004.png").unlink()
    with pytest.raises(UserError, match=r"it has no grids/fakes_\*.png"):
        make(timelapse=True, out=str(tmp_path / "film.gif"))
