"""Records of a run, written by hand."""

import json
import math

from progan_jax.metrics.scoreboard import latest_settings, read_progress


def write(folder, records, ticks=()):
    lines = [
        {"snapshot": name, "nimg": nimg, "metric": metric, "settings": s, "values": v}
        for name, nimg, metric, s, v in records
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = [
        {
            "Progress/nimg": 1000 * kimg,
            "Progress/kimg": kimg,
            "Timing/total_hours": hours,
        }
        for hours, kimg in ticks
    ]
    (folder / "stats.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_a_snapshots_metrics_are_one_point_with_its_resolution_and_hours(tmp_path):
    write(
        tmp_path,
        [
            ("000002_r016", 2000, "is", {}, {"inception_score_mean": 3.0}),
            ("000002_r016", 2000, "swd", {}, {"swd_average": 7.0}),
            ("000001_r008", 1000, "swd", {}, {"swd_average": 8.0}),
            ("reals", 0, "swd", {}, {"swd_average": 1.0}),
        ],
        ticks=[(0.5, 1.5), (1.5, 2)],
    )
    progress = read_progress(tmp_path, "a", lambda record: True)
    first, second = progress.points
    assert (first.kimg, first.resolution, second.kimg) == (1, 8, 2)
    assert math.isnan(first.hours)
    assert second.hours == 1.5
    assert second.values == {"inception_score_mean": 3.0, "swd_average": 7.0}
    assert progress.floor == {"swd_average": 1.0}
    assert progress.shown == [(0.5, 1.5), (1.5, 2)]
    assert set(progress.names()) == {"inception_score_mean", "swd_average"}


def test_of_each_metric_the_newest_settings_count(tmp_path):
    old, new = {"num_images": 512}, {"num_images": 1024}
    write(
        tmp_path,
        [
            ("000001_r008", 1000, "swd", old, {"swd_average": 8.0}),
            ("000001_r008", 1000, "fid", old, {"fid": 90.0}),
            ("000001_r008", 1000, "swd", new, {"swd_average": 7.0}),
        ],
    )
    (point,) = read_progress(tmp_path, "a", latest_settings(tmp_path)).points
    assert point.values == {"swd_average": 7.0, "fid": 90.0}


def test_real_images_count_although_their_settings_have_an_offset(tmp_path):
    new = {"num_images": 1024}
    write(
        tmp_path,
        [
            ("reals", 0, "swd", {"num_images": 512, "floor_skip": 9}, {"swd_16": 3.0}),
            ("reals", 0, "swd", new | {"floor_skip": 9}, {"swd_16": 2.0}),
            ("000001_r008", 1000, "swd", new, {"swd_16": 7.0}),
        ],
    )
    progress = read_progress(tmp_path, "a", latest_settings(tmp_path))
    assert progress.floor == {"swd_16": 2.0}
    assert progress.points[0].values == {"swd_16": 7.0}


def test_each_truncation_has_its_newest_settings_and_earlier_records_have_none(
    tmp_path,
):
    old, new = {"num_images": 512}, {"num_images": 1024}
    truncated = new | {"truncation_psi": 0.5}
    write(
        tmp_path,
        [
            ("000001_r008", 1000, "fid", old | {"truncation_psi": 0.5}, {"fid": 1.0}),
            ("000001_r008", 1000, "fid", new, {"fid": 8.0}),
            ("000001_r008", 1000, "fid", truncated, {"fid_psi0.5": 9.0}),
        ],
    )
    (point,) = read_progress(tmp_path, "a", latest_settings(tmp_path)).points
    assert point.values == {"fid": 8.0, "fid_psi0.5": 9.0}
