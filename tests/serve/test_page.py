"""The page in a headless Chromium: a folder is sent, looked at, played, edited and downloaded; wide and on a phone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.inference.colored_videos import make_frame, true_masks, write_frame_folder
from tests.report.chromium import Page, find_chromium
from tests.serve.made_catalogue import published_models
from tests.serve.visitor import Visitor, served

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="no chromium, google-chrome or headless_shell found to show the page in"
)
SIZE, LENGTH = (240, 320), 12
STATES = "[...document.querySelectorAll('#jobs li')].map(item => item.className.split(' ')[0])"
PIXEL = "[...document.getElementById('canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data].slice(0, 3)"


def by_id(name: str) -> str:
    return f"document.getElementById('{name}')"


def press(page: Page, element: str) -> None:
    page.ask(f"{element}.click()")


def enter(page: Page, element: str, value: str) -> None:
    page.ask(f"(e => {{ e.value = {json.dumps(value)}; e.dispatchEvent(new Event('input')); }})({element})")


def put_files(page: Page, name: str, *files: Path) -> None:
    """As if somebody had chosen them in the browser's own window."""
    found = page.call("Runtime.evaluate", expression=by_id(name))["result"]["objectId"]
    page.call("DOM.setFileInputFiles", files=[str(file) for file in files], objectId=found)


def middle(page: Page, track: int, frame: int) -> list[int]:
    """The colour that the canvas has in the middle of a disc of the video."""
    rows, columns = true_masks(frame, SIZE)[track].nonzero()
    scale = page.ask(f"{by_id('canvas')}.width") / SIZE[1]
    return page.ask(PIXEL.format(x=int(columns.mean() * scale), y=int(rows.mean() * scale)))


def close_to(found: list[int], expected: tuple[float, ...], tolerance: float = 40) -> bool:
    return all(abs(ours - theirs) <= tolerance for ours, theirs in zip(found, expected))


def row(track: int) -> str:
    return f"document.querySelectorAll('#tracks li')[{track - 1}]"


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("page")
    with published_models(folder / "cache") as files, served(folder / "served") as visitor:
        files.pause = 0.06  # so that a download is seen on its way
        yield visitor


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(write_frame_folder(tmp_path_factory.mktemp("film") / "discs", LENGTH, SIZE).iterdir())


def show(page: Page, name: str) -> None:
    """Keep a picture where somebody wants to look at it: PICTURES=DIR."""
    if os.environ.get("PICTURES"):
        page.picture(Path(os.environ["PICTURES"]) / f"{name}.png", full=True)


def kept_file(page: Page, folder: Path) -> Path:
    """The download, when the browser has all of it."""
    for _ in range(200):
        if found := [path for path in folder.iterdir() if path.suffix == ".json"]:
            return found[0]
        page.ask("new Promise(resolve => setTimeout(resolve, 50))")
    raise TimeoutError("no file was kept")


def complaints(page: Page) -> list[str]:
    """Of the browser, but for the one about this test, which reads the canvas often."""
    return [problem for problem in page.problems if "willReadFrequently" not in problem]


def send(page: Page, frames: list[Path], weights: str) -> None:
    page.wait_for(f"{by_id('weights')}.options.length > 0")
    before = page.ask(f"{STATES}.length")
    page.ask(f"{by_id('weights')}.value = '{weights}'; {by_id('configuration')}.value = 'vistr_toy'")
    put_files(page, "pick-file", *frames)
    page.wait_for(f"!{by_id('start')}.disabled")
    press(page, by_id("start"))
    page.wait_for(f"{STATES}.length > {before}")


def test_from_the_file_to_the_download(visitor: Visitor, frames: list[Path], tmp_path: Path) -> None:
    with Page(f"http://localhost:{visitor.port}/", width=1280, height=900) as page:
        page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        show(page, "wide-empty")
        send(page, frames, "discs.ckpt")
        page.wait_for(f"{STATES}[0] === 'done'", 40)
        press(page, "document.querySelector('#jobs li button')")
        page.wait_for(f"!{by_id('viewer')}.hidden && document.querySelectorAll('#tracks li').length === 3")
        # Class names are markup in the stub's weights, and stay words.
        assert page.ask(f"{row(1)}.querySelector('small').textContent").startswith("#1 <img src=x")
        assert page.ask("document.querySelectorAll('main img').length") == 1  # the thumbnail

        page.wait_for(f"{PIXEL.format(x=5, y=5)}[0] > 0")
        page.wait_for(f"{by_id('frame-number')}.textContent === 'frame 1 / {LENGTH}'")
        page.ask(f"{by_id('show-names')}.click(); {by_id('show-boxes')}.click()")
        enter(page, f"{row(3)}.querySelector('input[type=color]')", "#ffff00")
        assert close_to(middle(page, 3, 0), (0.55 * 40 + 0.45 * 255, 0.55 * 60 + 0.45 * 255, 0.55 * 230))
        press(page, f"{row(2)}.querySelector('input[type=checkbox]')")
        assert close_to(middle(page, 2, 0), (30, 200, 40))
        enter(page, f"{row(1)}.querySelector('input[type=text]')", "runner <b>")
        page.ask("document.activeElement.blur()")
        for _ in range(3):
            page.press("ArrowRight")
        page.wait_for(f"{by_id('frame-number')}.textContent === 'frame 4 / {LENGTH}'")
        page.wait_for(f"{PIXEL.format(x=5, y=5)}[0] > 0")
        page.press(" ")
        page.wait_for(f"{by_id('play')}.textContent === 'Pause'")
        page.wait_for(f"{by_id('play')}.textContent === 'Play'")  # it has come to the end
        page.wait_for(f"{by_id('frame-number')}.textContent === 'frame {LENGTH} / {LENGTH}'")
        assert close_to(page.ask(PIXEL.format(x=5, y=5)), tuple(make_frame(0)[0, 0]))
        page.ask(f"{by_id('show-names')}.click(); {by_id('show-boxes')}.click()")
        show(page, "wide-player")

        press(page, "document.querySelector('[data-kind=json]')")
        page.wait_for(f"{by_id('viewer-status')}.textContent.startsWith('ready')")
        records = json.loads(kept_file(page, tmp_path).read_text())
        assert [(record["track_id"], record["name"]) for record in records] == [(1, "runner <b>"), (3, "blue")]
        assert records[1]["color"] == "#ffff00"
        assert complaints(page) == []
        assert all(
            address.startswith((f"http://localhost:{visitor.port}/", "data:", "blob:")) for address in page.requests
        )


def test_a_published_model_is_downloaded_and_chosen(visitor: Visitor) -> None:
    """With a bar while it comes; where a person has to click, the page is linked and the file's name is said."""
    entry = "document.querySelectorAll('#published li')[{}]"
    with Page(f"http://localhost:{visitor.port}/", width=390, height=844) as page:
        page.wait_for(f"{by_id('weights')}.options.length > 0")
        press(page, "document.querySelector('#published-models summary')")
        page.wait_for("document.querySelectorAll('#published li').length === 3")
        shown = "[...{}.querySelectorAll('button, a')].filter(e => !e.hidden).map(e => e.textContent)"
        assert page.ask(shown.format(entry.format(0))) == ["Download"]
        assert page.ask(shown.format(entry.format(2))) == ["Open its page"]
        assert page.ask(f"{entry.format(2)}.querySelector('a').href") == "https://example.org/models"
        assert "clicked.pth" in page.ask(f"{entry.format(2)}.textContent")
        assert "<b>second</b>" in page.ask(f"{entry.format(2)}.textContent")
        press(page, f"{entry.format(0)}.querySelectorAll('button')[0]")
        page.wait_for(f"{entry.format(0)}.querySelector('progress').value > 0")
        show(page, "phone-download")
        page.wait_for(f"{by_id('weights')}.value === 'discs' && {by_id('configuration')}.value === 'vistr_toy'", 40)
        assert page.ask(shown.format(entry.format(0))) == ["Use"]
        press(page, f"{entry.format(1)}.querySelectorAll('button')[0]")  # not what its check sum says
        page.wait_for(
            f"{entry.format(1)}.className === 'failed' && {entry.format(1)}.textContent.includes('SHA-256')", 40
        )
        assert page.ask("document.documentElement.scrollWidth") <= 390
        show(page, "phone-published")
        assert complaints(page) == []


def test_what_is_dropped(visitor: Visitor) -> None:
    """One file is named, several are counted, hidden ones are nobody's frames, and too much is said at once."""
    drop = (
        "(names => {{ const data = new DataTransfer(); for (const name of names) data.items.add(new File(['x'], name));"
        " document.dispatchEvent(new DragEvent('drop', {{dataTransfer: data, cancelable: true}})); }})({})"
    )
    with Page(f"http://localhost:{visitor.port}/") as page:
        page.wait_for(f"{by_id('weights')}.options.length > 0")
        chosen = f"{by_id('chosen')}.textContent"
        for names, words in [
            (["<i>a.mp4"], "<i>a.mp4 (1 kB)"),
            (["1.png", "2.png", ".DS_Store"], "2 files (1 kB)"),
            ([".hidden"], "There is no file in it"),
        ]:
            page.ask(drop.format(json.dumps(names)))
            page.wait_for(f"{chosen} === {json.dumps(words)}")
        assert page.ask(f"{by_id('start')}.disabled")
        assert complaints(page) == []


def test_on_a_phone(visitor: Visitor, frames: list[Path]) -> None:
    """Nothing is wider than the screen, every control has a name, and a running video is seen while it runs."""
    with Page(f"http://localhost:{visitor.port}/", width=390, height=844, dark=True) as page:
        send(page, frames, "broken.ckpt")
        send(page, frames, "slow.ckpt")
        page.wait_for(f"{STATES}.includes('failed')", 40)
        page.wait_for("document.querySelector('#jobs li.running img')?.naturalWidth > 0", 40)
        done = "[...document.querySelectorAll('#jobs li.done button')][0]"
        if not page.ask(f"Boolean({done})"):
            press(page, "[...document.querySelectorAll('#jobs li.running button')].find(b => b.textContent === 'Stop')")
            send(page, frames, "discs.ckpt")
            page.wait_for(f"Boolean({done})", 60)
        press(page, done)
        page.wait_for("document.querySelectorAll('#tracks li').length === 3")
        page.wait_for(f"{PIXEL.format(x=5, y=5)}[0] > 0")
        show(page, "phone")
        assert page.ask("document.documentElement.scrollWidth") <= 390
        nameless = (
            "[...document.querySelectorAll('button, select, input, canvas, progress')].filter(e => "
            "!(e.textContent.trim() || e.getAttribute('aria-label') || e.closest('label')?.textContent.trim())).length"
        )
        assert page.ask(nameless) == 0
        assert complaints(page) == []
