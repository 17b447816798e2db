"""The report in a headless Chromium: it steps, plays, filters, and its console stays silent."""

from __future__ import annotations

import json

import pytest

from mindvideo.report.run_report import ReportOptions, write_report
from tests.report import made_up_run
from tests.report.chromium import Page, find_chromium

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="no chromium, google-chrome or headless_shell found to show the report in"
)
VISIBLE = "[...document.querySelectorAll('#video-list li')].filter(item => !item.hidden).length"
CURRENT = "[...document.querySelectorAll('#video-list li')].findIndex(item => item.classList.contains('current'))"


def choose(page: Page, name: str, value: str) -> None:
    element = f"document.getElementById('filter-{name}')"
    page.ask(f"{element}.value = {json.dumps(value)}; {element}.dispatchEvent(new Event('change'))")


def frame_number(page: Page) -> str:
    return page.ask("document.getElementById('frame-number').textContent")


def picture(page: Page, pane: str) -> str:
    return page.ask(f"document.getElementById('{pane}').src")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    annotations, frames = made_up_run.write_set(folder)
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in made_up_run.training_records()))
    evaluation, results = made_up_run.evaluate_set(annotations)
    return write_report(folder, evaluation, results, frames=frames, options=ReportOptions(title="made up"))


@pytest.fixture
def page(report):
    with Page(report.as_uri()) as page:
        page.ask("document.getElementById('viewer').scrollIntoView()")
        yield page
        assert page.problems == []
        fetched = [url for url in page.requests if not url.startswith(("file:", "data:"))]
        assert fetched == []


def test_keys_step_through_frames_and_videos(page):
    first = picture(page, "prediction"), picture(page, "truth")
    assert first[0].startswith("data:image/jpeg") and first[0] != first[1]
    assert frame_number(page) == "frame 1 / 8"
    page.press("ArrowRight")
    assert frame_number(page) == "frame 2 / 8"
    assert picture(page, "prediction") != first[0] and picture(page, "truth") != first[1]
    page.press("ArrowLeft")
    assert (picture(page, "prediction"), picture(page, "truth")) == first
    page.press("ArrowLeft")
    assert frame_number(page) == "frame 8 / 8"  # round the end
    page.press("ArrowDown")
    assert page.ask(CURRENT) == 1 and frame_number(page) == "frame 1 / 8"
    page.press("ArrowUp")
    page.press("ArrowUp")
    assert page.ask(CURRENT) == 0


def test_pictures_are_really_shown(page):
    assert page.ask("document.getElementById('prediction').decode().then(() => true)")
    sizes = page.ask(
        "(({naturalWidth, naturalHeight}) => [naturalWidth, naturalHeight])(document.getElementById('truth'))"
    )
    assert sizes == [448, 299]


def test_it_plays_and_stops(page):
    page.press(" ")
    assert page.ask("document.getElementById('play').textContent") == "Pause"
    page.wait_for("document.getElementById('frame-number').textContent === 'frame 4 / 8'", seconds=20)
    page.press(" ")
    stopped = frame_number(page)
    assert page.ask("new Promise(done => setTimeout(() => done(true), 500))")
    assert frame_number(page) == stopped


def test_filters_by_error_and_by_class(page):
    assert page.ask(VISIBLE) == 8
    choose(page, "kind", "wrong class")
    assert page.ask(VISIBLE) == 1
    assert page.ask("document.getElementById('filter-count').textContent") == "1 of 8"
    assert page.ask("document.getElementById('video-name').textContent") == "00002"
    assert "wrong class: it is" in page.ask("document.getElementById('tracks').textContent")
    choose(page, "kind", "")
    everything = page.ask("JSON.parse(document.getElementById('video-data').textContent)")
    wanted = everything[0]["classes"][0]
    choose(page, "class", wanted)
    assert page.ask(VISIBLE) == sum(wanted in video["classes"] for video in everything)


def test_filters_that_nothing_fits(page):
    everything = page.ask("JSON.parse(document.getElementById('video-data').textContent)")
    (video,) = [video for video in everything if "false" in video["kinds"]]
    other = min({name for each in everything for name in each["classes"]} - set(video["classes"]))
    choose(page, "kind", "false")
    choose(page, "class", other)
    assert page.ask(VISIBLE) == 0
    assert not page.ask("document.getElementById('nothing').hidden")
    page.press("ArrowRight")  # nothing to step through, and no complaint
    choose(page, "class", "")
    assert page.ask(VISIBLE) == 1 and not page.ask("document.getElementById('stage').hidden")


def test_nothing_is_wider_than_the_page(page):
    for width in (1280, 700, 400):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        assert page.ask("document.documentElement.scrollWidth") <= width


def test_light_and_dark(report):
    background = "getComputedStyle(document.body).backgroundColor"
    with Page(report.as_uri(), dark=False) as light, Page(report.as_uri(), dark=True) as dark:
        colors = light.ask(background), dark.ask(background)
        assert colors[0] != colors[1]
        dark.press("t")
        assert dark.ask(background) == colors[0]
        assert light.problems == dark.problems == []
