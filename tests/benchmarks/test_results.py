"""Records as tables; the arithmetic of the projection by hand."""

import pytest

from benchmarks.results import main, projection
from progan_jax.errors import UserError
from progan_jax.training.schedule import Schedule, constant


@pytest.fixture
def schedule():
    # 1,010 images at 4x4, to the first pair after 1,000; 2,990 at 8x8.
    whole = dict.fromkeys((4, 8), 10)
    lengths = {"stabilise_kimg": constant(1.0), "fade_kimg": constant(1.0)}
    rates = {name: constant(0.001) for name in ("g_learning_rate", "d_learning_rate")}
    return Schedule(
        resolution=8,
        total_kimg=4,
        batch_size=whole,
        microbatch=whole,
        tick_kimg=constant(1.0),
        quantum_pairs=1,
        **lengths,
        **rates,
    )


def row(resolution, hours_of_kimg):
    return {"resolution": resolution, "images": 10, "ms": 36_000 * hours_of_kimg}


def test_the_projection_sums_the_images_of_the_stages_by_their_speeds(schedule):
    line = projection(schedule, [row(4, 1), row(8, 4)])
    # 1.01 x 1 h + 2.99 x 4 h, against 4 x 4 h; eight devices share them.
    assert line.startswith("The schedule's 4 kimg, ")
    assert "12.97 hours on one, 1.62 on eight. As" in line
    assert "8x8 alone: 16.00 and 2.00 hours, 1.2 times" in line


def test_without_all_resolutions_there_is_no_projection(schedule):
    line = projection(schedule, [row(4, 1)])
    assert line == "No projection: 8 not measured."


@pytest.mark.parametrize("content", [None, "no JSON", "[]", '{"peaks": {}}'])
def test_a_file_that_is_no_record_is_one_clear_line(tmp_path, content):
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    fault = r"not a record of benchmarks\.train_step.*--json"
    with pytest.raises(UserError, match=fault):
        main(str(path))
