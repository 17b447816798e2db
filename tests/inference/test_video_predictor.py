"""From a configuration and a weight file to instances, with a small real network; and the documents' own examples."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import yaml

from mindvideo import UserError, VideoPredictor, VideoResult, build_model, load_config
from mindvideo.assembly import predictor
from mindvideo.assembly.predictor import class_names
from mindvideo.config.load import CONFIG_FOLDER_VARIABLE, config_folder, read_with_bases
from mindvideo.structures import VideoInstances
from mindvideo.training.checkpoint import save_weights
from mindvideo.weights.loading import weights_of
from tests.inference.colored_videos import write_frame_folder, write_video

PROJECT = Path(__file__).resolve().parents[2]
CONFIG_FOLDER = config_folder()
SMALL = {"encoder_layers": 1, "decoder_layers": 1, "num_queries": 4, "width": 48, "hidden": 32}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a small configuration called vistr, weights of the name that the README gives, and a video."""
    folder = tmp_path_factory.mktemp("workshop")
    content = read_with_bases(CONFIG_FOLDER / "vistr" / "vistr_toy.yaml")
    content["vistr"].update(SMALL, query_anchors=[2, 2], mask_widths=[16], mask_channels=8, token_levels=2)
    content["data"]["num_frames"] = 3
    (folder / "config" / "vistr").mkdir(parents=True)
    (folder / "config" / "vistr" / "vistr.yaml").write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG_FOLDER_VARIABLE, str(folder / "config"))
        ms.save_checkpoint(build_model("vistr"), str(folder / "weights.ckpt"))
        (folder / "weights.ckpt").rename(folder / "vistr_r50.pth")
        write_video(folder / "holiday.mp4", 7, size=(64, 96))
        yield folder


@pytest.fixture(scope="module")
def trackers() -> list:
    return []


@pytest.fixture(scope="module")
def predictors(workshop: Path, trackers: list) -> list[VideoPredictor]:
    """Two, by name and by configuration; their graphs are the only ones that these tests compile."""
    build = predictor.build_tracker

    def build_and_keep(*given, **options):
        trackers.append(build(*given, **options))
        return trackers[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor, "build_tracker", build_and_keep)
        models = ("vistr", load_config("vistr"))
        return [VideoPredictor.from_config(model, weights=workshop / "vistr_r50.pth") for model in models]


def test_two_predictors_on_two_threads(workshop: Path, predictors: list[VideoPredictor]) -> None:
    """The first test, so that the second one compiles on its thread."""
    list(predictors[0].track(workshop / "holiday.mp4"))
    expected = predictors[0].result.to_results()
    results: dict[int, list] = {}

    def run(place: int) -> None:
        list(predictors[place].track(workshop / "holiday.mp4"))
        results[place] = predictors[place].result.to_results()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: expected, 1: expected}


def test_frames_and_whole_result(workshop: Path, predictors: list[VideoPredictor]) -> None:
    one, again = predictors
    first = [list(one.track(workshop / "holiday.mp4")), one.result]
    assert [frame.num_frames for frame in first[0]] == [1] * 7
    assert first[1].num_frames == 7 and first[1].size == (64, 96)
    list(again.track(workshop / "holiday.mp4"))
    assert again.result.to_results() == first[1].to_results()
    # A clip that fits one window: the prediction of the network itself.
    folder = write_frame_folder(workshop / "short", 2, (64, 96))
    assert len(list(one.track(folder))) == 2


def test_weights_that_do_not_fit_are_refused(workshop: Path, tmp_path: Path) -> None:
    other = ms.Parameter(ms.Tensor(np.zeros(3, np.float32)), name="something.else")
    ms.save_checkpoint([{"name": "something.else", "data": other}], str(tmp_path / "other.ckpt"))
    with pytest.raises(UserError, match=r"other\.ckpt"):
        VideoPredictor.from_config("vistr", weights=tmp_path / "other.ckpt")


def stored_weights(workshop: Path) -> dict[str, np.ndarray]:
    network = build_model("vistr", weights=workshop / "vistr_r50.pth")
    return {name: value.asnumpy().copy() for name, value in weights_of(network).items()}


def test_weights_of_nan_are_refused_by_name(workshop: Path, tmp_path: Path) -> None:
    values = stored_weights(workshop)
    name = next(name for name in values if name.startswith("encoder") and name.endswith("weight"))
    values[name].flat[0] = np.nan
    save_weights(tmp_path / "nan.ckpt", values)
    with pytest.raises(UserError, match=rf"{name} holds NaN or infinity.*earlier checkpoint") as caught:
        VideoPredictor.from_config("vistr", weights=tmp_path / "nan.ckpt")
    assert "\n" not in str(caught.value)


def test_class_names_travel_with_the_weights(workshop: Path, tmp_path: Path) -> None:
    trained = {1: "cell", 2: "nucleus", 3: "debris", 4: "bubble"}
    save_weights(tmp_path / "named.ckpt", stored_weights(workshop), class_names=trained)
    named = VideoPredictor.from_config("vistr", weights=tmp_path / "named.ckpt")
    assert named.class_names == trained
    others = ["inference.class_names=[a,b,c,d]"]
    given = VideoPredictor.from_config("vistr", others, weights=tmp_path / "named.ckpt")
    assert given.class_names == {1: "a", 2: "b", 3: "c", 4: "d"}
    with pytest.raises(UserError, match=r"class_names has 2 names, .* with 4 classes: cell, nucleus"):
        VideoPredictor.from_config("vistr", ["inference.class_names=[a,b]"], weights=tmp_path / "named.ckpt")


@pytest.mark.parametrize("document", ["README.md", "docs/inference.md"])
@pytest.mark.usefixtures("predictors")
def test_the_examples_of_the_documents_run(
    workshop: Path, trackers: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, document: str
) -> None:
    monkeypatch.chdir(workshop)
    monkeypatch.setattr(predictor, "build_tracker", lambda *_, **__: trackers[0])  # whose graphs are compiled
    monkeypatch.setenv("MINDVIDEO_CACHE", str(workshop / "cache"))
    (workshop / "cache" / "weights").mkdir(parents=True, exist_ok=True)
    shutil.copy(workshop / "vistr_r50.pth", workshop / "cache" / "weights")
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    examples = [block for block in blocks if "VideoPredictor.from_config" in block or "mindvideo.load(" in block]
    assert examples, f"{document} shows no example"
    for example in examples:
        names: dict = {}
        exec(compile(example.replace("camera:0", "holiday.mp4"), document, "exec"), names)
        assert isinstance(names["result"], (VideoInstances, VideoResult))
        assert names["result"].num_frames == 7
    assert len(capsys.readouterr().out.splitlines()) >= 7


def test_class_names() -> None:
    def names(*overrides: str) -> dict[int, str]:
        return class_names(load_config(CONFIG_FOLDER / "vistr" / "vistr_toy.yaml", overrides))

    assert names() == {1: "disc", 2: "square", 3: "triangle", 4: "cross"}
    assert names("inference.class_names=[ball, box]") == {1: "ball", 2: "box"}
    assert names("data.valid=ytvis19/valid")[3] == "lizard"
    assert names("data.valid=none.json@nowhere") == {}
