"""The page as HTML that a parser reads, without a browser."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from progan_jax.display import page
from progan_jax.display.page import try_to_write_report, write_report
from progan_jax.inference.snapshot import write_snapshot
from tests.display.test_charts import luminance

VOID = {"img", "input", "link", "meta"}


class Reader(HTMLParser):
    """Elements with their attributes and the text in them, in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop()["tag"] == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, *tags):
        return [element for element in self.elements if element["tag"] in tags]


@pytest.fixture
def text(run):
    write_report(run, run / "report.html")
    return (run / "report.html").read_text()


@pytest.fixture
def read(text):
    reader = Reader(text)
    assert not reader.open, "each element is closed"
    return reader


def tables(read):
    """The cells of each table, by the caption that stands above it."""
    found, caption = {}, None
    for element in read.elements:
        if element["tag"] == "figcaption":
            caption = element["text"]
        elif element["tag"] == "table":
            found[caption] = []
        elif element["tag"] == "tr":
            found[caption].append([])
        elif element["tag"] in ("th", "td"):
            found[caption][-1].append(element["text"])
    return found


def test_every_picture_has_a_text_and_lies_in_the_page(read):
    images = [i for i in read.all("img") if "webp" in i["src"]]
    assert len(images) == 5
    assert [i["alt"] for i in images][:2] == [
        "Fakes after 0 kimg, 4x4",
        "Fakes after 4 kimg, 4x4",
    ]
    charts = [i for i in read.all("img") if i not in images]
    assert all(i["src"].startswith("data:image/svg+xml;base64,") for i in charts)
    assert "Losses against kimg, 1 to 12. D: from 10 to 0.8333" in charts[1]["alt"]


def test_the_page_loads_nothing_from_any_server(read, text):
    assert "http://" not in text
    assert "https://" not in text
    for element in read.elements:
        for name in ("src", "href", "action", "data"):
            assert element.get(name, "#").startswith(("data:", "#"))
    assert "url(" not in text


def test_the_policy_lets_the_browser_run_this_script_alone(read):
    (policy,) = (
        meta["content"]
        for meta in read.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for element in read.all("script", "style"):
        digest = hashlib.sha256(element["text"].encode()).digest()
        assert f"'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert len(read.all("script")) == len(read.all("style")) == 1


def test_headings_descend_by_one_level(read):
    levels = [int(h["tag"][1]) for h in read.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_names_of_elements_are_unique_and_what_they_name_is_there(read):
    ids = [element["id"] for element in read.elements if "id" in element]
    assert len(ids) == len(set(ids))
    for element in read.elements:
        named = element.get("aria-labelledby", "").split()
        named += [element["for"]] if "for" in element else []
        href = element.get("href", "")
        named += [href[1:]] if href.startswith("#") else []
        assert set(named) <= set(ids)


def test_inputs_have_labels_and_buttons_have_texts(read):
    labelled = {label["for"] for label in read.all("label") if label["text"]}
    assert {i["id"] for i in read.all("input")} == labelled == {"moment"}
    assert all(button["text"] for button in read.all("button"))


def test_the_ticks_numbers_stand_in_a_table(read, run):
    rows = [json.loads(r) for r in (run / "stats.jsonl").read_text().splitlines()]
    header, *cells = tables(read)["Losses: numbers"]
    assert header == ["kimg", "D", "G"]
    assert len(cells) == len(rows)
    for row, (kimg, d_loss, g_loss) in zip(rows, cells, strict=True):
        assert float(kimg) == row["Progress/kimg"]
        assert math.isclose(float(g_loss), row["Loss/g_loss"], rel_tol=1e-4)
        if row["Loss/d_loss"] is None:
            assert d_loss == ""
        else:
            assert math.isclose(float(d_loss), row["Loss/d_loss"], rel_tol=1e-4)


def test_the_stages_show_plan_and_throughput(read):
    stages = tables(read)["The stages of the schedule, and their throughput"]
    assert [row[0] for row in stages[1:]] == ["4x4", "8x8", "16x16"]
    # Four ticks of 1000 images in 2 seconds each, a second of maintenance after each.
    assert stages[1][-3:] == ["4", "500.0", "12s"]
    assert stages[2][-3:] == ["8", "250.0", "24s"]
    assert stages[3][-3:] == ["", "", ""]


def test_resolutions_are_drawn_as_trained_and_as_planned(text):
    chart = text.split("<h3>Resolution and its fades</h3>")[1].split("</figure>")[0]
    assert [name in chart for name in (">trained<", ">planned<")] == [True, True]


def test_snapshots_are_compared_with_real_images_and_the_best_is_named(read):
    rows = tables(read)["Metrics of the snapshots, each under its newest settings"]
    assert rows == [
        ["kimg", "resolution", "SWD 16", "SWD average"],
        ["real images", "", "2.5", "2.5"],
        ["4", "4", "80", "80"],
        ["12", "8", "40 (best)", "40 (best)"],
    ]


def test_what_the_user_wrote_is_text_and_no_markup(read, text):
    assert "alert('&')" not in text
    changed = tables(read)[
        "Fields that differ from configs/base.py, the paper's recipe"
    ]
    listed = {row[0]: row[1:] for row in changed}
    assert listed["data.data_dir"][0] == repr("</script><script>alert('&')</script>")
    assert listed["schedule.fade_kimg"] == ["'2'", "'600'"]
    assert "optim.beta1" not in listed
    assert any(row[2] == "8 x H100 <80GB>" for row in tables(read)["Starts of the run"])


def test_a_run_without_grids_and_metrics_has_its_page_too(run):
    (run / "metrics.jsonl").unlink()
    for path in (run / "grids").iterdir():
        path.unlink()
    write_report(run, run / "report.html")
    read = Reader((run / "report.html").read_text())
    paragraphs = [paragraph["text"] for paragraph in read.all("p")]
    assert "No grid is drawn yet." in paragraphs
    assert "Nothing is measured yet; --mode=eval measures every snapshot." in paragraphs
    assert all("svg" in i["src"] for i in read.all("img"))


def test_values_that_the_ticks_alone_have_are_shown(run):
    (run / "metrics.jsonl").unlink()
    lines = (run / "stats.jsonl").read_text().splitlines()
    # As earlier runs call the distance of a stage's end, and as later ones do.
    lines[3] = json.dumps(json.loads(lines[3]) | {"Metrics/swd_average": 61.25})
    levels = {"Metrics/stage_swd_16": 30.5, "Metrics/stage_swd_average": 40.75}
    lines[7] = json.dumps(json.loads(lines[7]) | levels)
    (run / "stats.jsonl").write_text("\n".join(lines))
    write_report(run, run / "report.html")
    text = (run / "report.html").read_text()
    assert "61.25 (best)" in text
    assert "40.75 (best)" in text
    assert "<h3>Sliced Wasserstein distance x 1e3, at the end of stages</h3>" in text


def test_a_run_that_does_not_grow_has_no_chart_of_its_growth(run):
    record = json.loads((run / "config.json").read_text())
    record["config"]["schedule"]["start_resolution"] = 16
    (run / "config.json").write_text(json.dumps(record))
    rows = (run / "stats.jsonl").read_text()
    rows = re.sub(r'"Progress/resolution": \d+', '"Progress/resolution": 16', rows)
    (run / "stats.jsonl").write_text(rows)
    write_report(run, run / "report.html")
    text = (run / "report.html").read_text()
    assert "Resolution and its fades" not in text
    assert "Numbers above the charts are the resolutions" not in text
    assert "The stages of the schedule, and their throughput" in text


def test_no_failure_of_the_report_ends_a_run(run, monkeypatch, capsys):
    def fail(*_):
        raise ZeroDivisionError("of\nsome kind")

    monkeypatch.setattr(page, "render", fail)
    try_to_write_report(run)
    printed = capsys.readouterr().err
    assert printed == (
        f"warning: {run / 'report.html'} is not written: ZeroDivisionError: of some "
        "kind\n"
    )
    assert not (run / "report.html").exists()


def test_texts_stand_out_from_both_grounds_in_light_and_dark():
    style = Path(page.__file__).with_name("page.css").read_text()
    for scheme in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", scheme))
        for name in ("ink", "soft", "accent"):
            for ground in ("page", "card"):
                both = luminance(colours[name]), luminance(colours[ground])
                ratio = (max(both) + 0.05) / (min(both) + 0.05)
                assert ratio >= 4.5, (name, ground)


def test_rows_of_one_class_each_are_named(run):
    config = json.loads((run / "config.json").read_text())
    config["config"]["train"]["grid_by_class"] = True
    (run / "config.json").write_text(json.dumps(config))
    folder, params = run / "snapshots" / "000012_r008", {"a": np.zeros(1, np.float32)}
    names = ["cat", "<b>dog</b>", "no third row"]
    for dataset, shown in [
        ({"class_names": names}, "cat, &lt;b&gt;dog&lt;/b&gt;"),
        ({"class_names": names[:1]}, "cat, cat"),
        ({"num_classes": 5}, "0, 1"),
        ({}, ""),
    ]:
        write_snapshot(folder, params, {"dataset": dataset})
        write_report(run, run / "report.html")
        text = (run / "report.html").read_text()
        assert not shown or f"Rows show one class each, from the top: {shown}." in text
        assert ("Rows show" in text) == bool(shown)
    (folder / "snapshot.json").write_text("{")
    write_report(run, run / "report.html")  # It is written all the same.
    config["config"]["train"]["grid_by_class"] = False
    (run / "config.json").write_text(json.dumps(config))
    write_snapshot(folder, params, {"dataset": {"class_names": names}})
    write_report(run, run / "report.html")
    assert "Rows show" not in (run / "report.html").read_text()


def test_truncations_have_charts_and_columns_of_their_own(run):
    (run / "metrics.jsonl").unlink()
    lines = (run / "stats.jsonl").read_text().splitlines()
    values = {"swd_16": 5.0, "swd_16_psi0.5": 6.0, "kid_mean": 1.5}
    values |= {"kid_psi0.5_mean": 2.5, "kid_psi0.5_std": 0.25, "ppl_wend": 190.0}
    named = {f"Metrics/{name}": value for name, value in values.items()}
    lines[3] = json.dumps(json.loads(lines[3]) | named)
    (run / "stats.jsonl").write_text("\n".join(lines))
    write_report(run, run / "report.html")
    text = (run / "report.html").read_text()
    rows = tables(Reader(text))[
        "Metrics of the snapshots, each under its newest settings"
    ]
    titles = [
        "SWD 16",
        "SWD 16, psi 0.5",
        "KID",
        "KID, psi 0.5",
        "Path length in W, end",
    ]
    assert set(rows[0]) == {"kimg", "resolution", *titles}
    charts = re.findall("<h3>(.*)</h3>", text)
    for title in ("Sliced Wasserstein distance x 1e3", "KID"):
        assert title in charts and f"{title}, psi 0.5" in charts
