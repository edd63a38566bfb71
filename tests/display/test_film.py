"""Films as files."""

import importlib

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from progan_jax.display.film import check_encoder, write_film
from progan_jax.errors import UserError


def frames(count):
    """Grey pictures, each lighter than the one before."""
    for number in range(count):
        yield np.full((16, 24, 3), 40 + 20 * number, np.uint8)


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_an_animation_has_its_frames_in_order_and_its_speed(tmp_path, suffix):
    path = tmp_path / "new" / f"film{suffix}"
    assert write_film(path, frames(5), fps=20) == 5
    with Image.open(path) as film:
        assert film.size == (24, 16)
        assert film.n_frames == 5
        greys = []
        for number in range(5):
            film.seek(number)
            film.load()
            assert film.info["duration"] == 50
            greys.append(np.asarray(film.convert("L")).mean())
    np.testing.assert_allclose(greys, [40, 60, 80, 100, 120], atol=3)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("suffix", "fps"), [(".GIF", 30), (".webp", 30), (".gif", 7)])
def test_an_animation_keeps_its_length_where_frames_take_fractions_of_a_unit(
    tmp_path, suffix, fps
):
    path = tmp_path / f"film{suffix}"
    write_film(path, frames(10), fps=fps)
    total = 0
    with Image.open(path) as film:
        for number in range(film.n_frames):
            film.seek(number)
            film.load()
            total += film.info["duration"]
    assert total == pytest.approx(10_000 / fps, abs=5.1)


# imageio-ffmpeg leaves its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_an_mp4_plays_with_its_size_speed_and_length(tmp_path):
    path = tmp_path / "film.mp4"
    assert write_film(path, frames(10), fps=5) == 10
    reader = imageio_ffmpeg.read_frames(path)
    metadata = next(reader)
    assert (metadata["size"], metadata["fps"]) == ((24, 16), 5)
    assert metadata["duration"] == pytest.approx(2)
    greys = [np.frombuffer(frame, np.uint8).mean() for frame in reader]
    np.testing.assert_allclose(greys, 40 + 20 * np.arange(10), atol=5)
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_a_film_that_fails_midway_leaves_the_old_one(tmp_path):
    path = tmp_path / "film.gif"
    path.write_bytes(b"old")

    def broken():
        yield from frames(2)
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        write_film(path, broken(), fps=5)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]


def test_mistakes_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"one of mp4, webp, gif, as in film\.mp4"):
        check_encoder(tmp_path / "film.avi")
    with pytest.raises(UserError, match="there are no frames to write"):
        write_film(tmp_path / "film.gif", iter(()), fps=5)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another file") as refused:
        write_film(tmp_path / "file" / "film.gif", frames(1), fps=5)
    assert "\n" not in str(refused.value)

    def without_ffmpeg(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", without_ffmpeg)
    with pytest.raises(UserError, match=r"pip install imageio-ffmpeg, or"):
        check_encoder(tmp_path / "film.mp4")


@pytest.mark.parametrize("program", ["missing", "no program"])
def test_an_ffmpeg_that_does_not_run_is_one_line(tmp_path, monkeypatch, program):
    (tmp_path / "no program").touch()
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / program))
    with pytest.raises(UserError, match=r"--out=.*film.mp4: .*Errno") as error:
        write_film(tmp_path / "film.mp4", frames(1), fps=5)
    assert "\n" not in str(error.value)


def test_without_any_ffmpeg_one_line_says_so(tmp_path, monkeypatch):
    def find_none():
        raise RuntimeError("No ffmpeg exe could be found. Install ffmpeg")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", find_none)
    with pytest.raises(UserError, match="imageio-ffmpeg: No ffmpeg exe could be found"):
        check_encoder(tmp_path / "film.mp4")
