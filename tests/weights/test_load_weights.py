"""Loading is strict: everything fits, or one line says what does not and nothing was changed."""

from __future__ import annotations

import logging
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo.errors import UserError
from mindvideo.weights.checkpoint_file import open_checkpoint, tensors_checksum
from mindvideo.weights.conversion import write_native_file
from mindvideo.weights.formats.torch_writer import write_torch
from mindvideo.weights.loading import load_weights, weights_of
from mindvideo.weights.rules import Rule, RuleTable, identity
from mindvideo.weights.stored_tensor import StoredTensor, from_numpy

PUBLISHED = RuleTable(
    "published",
    (
        Rule(r"net\.(body|head)\.(weight|bias)", r"\1.\2"),
        Rule(r"net\.copy\.bias", r"body.bias", derived=identity),
        Rule(r"net\.table", "table", transform=np.transpose, inverse=np.transpose),
        Rule(r"net\.steps", None),
    ),
    class_heads=(r"head\..*",),
)
START = RuleTable("detector", (Rule(r"body\.(weight|bias)", r"body.\1"),), "a detector", fresh=(r"(?:head|table).*",))
TABLES = [PUBLISHED, START]


class Network(nn.Cell):
    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.body = nn.Dense(3, 4)
        self.head = nn.Dense(4, classes)
        self.table = ms.Parameter(ms.Tensor(np.zeros((2, 3), np.float32)), name="table")


def published_values(classes: int = 5) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    shapes = {"body.weight": (4, 3), "body.bias": (4,), "head.weight": (classes, 4), "head.bias": (classes,)}
    values = {f"net.{name}": draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    values["net.copy.bias"] = values["net.body.bias"]
    values["net.table"] = draw.standard_normal((3, 2)).astype(np.float32)
    values["net.steps"] = np.int64(9).reshape(())
    return values


def write(path: Path, values: dict[str, np.ndarray | StoredTensor]) -> Path:
    tensors = {n: v if isinstance(v, StoredTensor) else from_numpy(v) for n, v in values.items()}
    write_torch(path, tensors, others={})
    return path


def snapshot(network: nn.Cell) -> dict[str, np.ndarray]:
    return {name: parameter.asnumpy().copy() for name, parameter in weights_of(network).items()}


def assert_refused(network: nn.Cell, path: Path, *messages: str, **options) -> None:
    before = snapshot(network)
    with pytest.raises(UserError) as caught:
        load_weights(network, path, rules=TABLES, **options)
    for message in (*messages, str(path)):
        assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    for name, value in snapshot(network).items():
        np.testing.assert_array_equal(value, before[name])


def test_published_file_fills_every_parameter(tmp_path: Path):
    network, values = Network(), published_values()
    loaded = load_weights(network, write(tmp_path / "w.pth", values), rules=TABLES)
    assert (loaded.source, loaded.loaded, loaded.fresh) == ("published", 5, ())
    for name in ("body.weight", "body.bias", "head.weight", "head.bias"):
        np.testing.assert_array_equal(snapshot(network)[name], values[f"net.{name}"])
    np.testing.assert_array_equal(snapshot(network)["table"], values["net.table"].T)


def test_other_float_types_become_the_network_s(tmp_path: Path):
    values = published_values()
    values["net.body.weight"] = StoredTensor("bfloat16", np.full((4, 3), 0x3FC0, np.uint16))
    values["net.head.weight"] = values["net.head.weight"].astype(np.float64)
    values["net.head.bias"] = values["net.head.bias"].astype(np.float16)
    network = Network()
    load_weights(network, write(tmp_path / "w.pth", values), rules=TABLES)
    found = snapshot(network)
    np.testing.assert_array_equal(found["body.weight"], np.full((4, 3), 1.5, np.float32))
    np.testing.assert_array_equal(found["head.weight"], values["net.head.weight"].astype(np.float32))
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


def test_file_of_another_family(tmp_path: Path):
    path = write(tmp_path / "w.pth", {"other.conv.weight": np.zeros((2, 2), np.float32)})
    assert_refused(Network(), path, "no entry of the file belongs to this network", "other.conv.weight", "body.weight")
    assert_refused(Network(), path, "They fit tiny, toy (give it with -c)", suggest=lambda file: ["tiny", "toy"])
    assert_refused(Network(), path, "No configuration of this project fits", suggest=lambda file: [])


@pytest.mark.parametrize("absent", ["net.body.bias", "net.table"])
def test_missing_entry(tmp_path: Path, absent: str):
    values = published_values()
    del values[absent]
    assert_refused(Network(), write(tmp_path / "w.pth", values), "only in the network (1)", absent.removeprefix("net."))


def test_entry_too_many(tmp_path: Path):
    values = {**published_values(), "net.second_head.weight": np.zeros(3, np.float32)}
    assert_refused(Network(), write(tmp_path / "w.pth", values), "only in the file (1): net.second_head.weight")


def test_other_class_list_is_refused_but_can_start_a_training(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path, network = write(tmp_path / "w.pth", published_values(classes=7)), Network(classes=5)
    message = "head.weight is [7, 4] in the file and [5, 4] in the network"
    assert_refused(network, path, message, "another class list")
    before = snapshot(network)
    with caplog.at_level(logging.INFO, "mindvideo.weights"):
        loaded = load_weights(network, path, rules=TABLES, start_of_training=True)
    assert loaded.fresh == ("head.weight", "head.bias") and loaded.loaded == 3
    assert "re-initialised for the new class list: head.weight, head.bias" in caplog.text
    np.testing.assert_array_equal(snapshot(network)["head.weight"], before["head.weight"])
    np.testing.assert_array_equal(snapshot(network)["body.bias"], published_values(7)["net.body.bias"])


def test_other_shape_elsewhere_is_refused_even_at_the_start(tmp_path: Path):
    values = published_values()
    values["net.body.weight"] = np.zeros((4, 2), np.float32)
    path = write(tmp_path / "w.pth", values)
    assert_refused(Network(), path, "body.weight is [4, 2] in the file and [4, 3]", start_of_training=True)


def test_partial_file_only_starts_a_training(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = write(tmp_path / "w.pth", {"body.weight": np.ones((4, 3), np.float32), "body.bias": np.ones(4, np.float32)})
    network = Network()
    assert_refused(network, path, "enough to start a training from (a detector)", "head.weight")
    with caplog.at_level(logging.INFO, "mindvideo.weights"):
        loaded = load_weights(network, path, rules=TABLES, start_of_training=True)
    assert loaded.source == "detector" and set(loaded.fresh) == {"head.weight", "head.bias", "table"}
    assert "freshly initialised (3): table, head.weight, head.bias" in caplog.text
    np.testing.assert_array_equal(snapshot(network)["body.weight"], np.ones((4, 3)))


def test_copy_that_differs_is_refused(tmp_path: Path):
    values = published_values()
    values["net.copy.bias"] = values["net.copy.bias"] + 1
    assert_refused(Network(), write(tmp_path / "w.pth", values), "copies that differ", "net.copy.bias")


def test_whole_numbers_are_no_weights(tmp_path: Path):
    values = {**published_values(), "net.body.bias": np.arange(4)}
    values["net.copy.bias"] = values["net.body.bias"]
    path = write(tmp_path / "w.pth", values)
    with pytest.raises(UserError, match="'body.bias'.*int64"):
        load_weights(Network(), path, rules=TABLES)


def native(path: Path, network: nn.Cell, **provenance) -> Path:
    tensors = {name: from_numpy(value) for name, value in snapshot(network).items()}
    write_native_file(path, tensors, {"tensors_sha256": tensors_checksum(tensors), **provenance})
    return path


def test_native_file(tmp_path: Path):
    source, network = Network(), Network()
    loaded = load_weights(network, native(tmp_path / "w.ckpt", source), rules=TABLES)
    assert loaded.source == "native" and loaded.loaded == 5
    for name, value in snapshot(source).items():
        np.testing.assert_array_equal(snapshot(network)[name], value)


def test_native_file_saved_by_mindspore(tmp_path: Path):
    source, network = Network(), Network()
    ms.save_checkpoint(source, str(tmp_path / "w.ckpt"))
    load_weights(network, tmp_path / "w.ckpt", rules=TABLES)
    np.testing.assert_array_equal(network.head.weight.asnumpy(), source.head.weight.asnumpy())


def test_native_file_of_another_class_list(tmp_path: Path):
    path = native(tmp_path / "w.ckpt", Network(classes=7))
    assert_refused(Network(), path, "head.weight is [7, 4] in the file and [5, 4] in the network")
    assert load_weights(Network(), path, rules=TABLES, start_of_training=True).fresh == ("head.weight", "head.bias")


def test_heads_of_as_many_classes_with_other_names_begin_afresh(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source, before = Network(), {1: "giant_panda", 2: "lizard"}
    tensors = {name: from_numpy(value) for name, value in snapshot(source).items()}
    write_native_file(tmp_path / "w.ckpt", tensors, {}, class_names=before)
    for now in ({1: "Giant panda", 2: "lizard", 3: "parrot"}, {}, None):  # the same names, or none to compare with
        loaded = load_weights(Network(), tmp_path / "w.ckpt", rules=TABLES, start_of_training=True, class_names=now)
        assert loaded.fresh == () and loaded.loaded == 5
    network = Network()
    kept = snapshot(network)["head.weight"]
    with caplog.at_level(logging.INFO, "mindvideo.weights"):
        loaded = load_weights(
            network, tmp_path / "w.ckpt", rules=TABLES, start_of_training=True, class_names={1: "airplane", 2: "lizard"}
        )
    assert loaded.fresh == ("head.weight", "head.bias") and loaded.loaded == 3
    assert f"class 1 is 'giant_panda' in {tmp_path / 'w.ckpt'} and 'airplane' in this training" in caplog.text
    np.testing.assert_array_equal(snapshot(network)["head.weight"], kept)
    np.testing.assert_array_equal(network.body.weight.asnumpy(), source.body.weight.asnumpy())
    evaluated = load_weights(Network(), tmp_path / "w.ckpt", rules=TABLES, class_names={1: "airplane"})
    assert evaluated.fresh == ()  # only a training begins anew


def test_a_part_of_what_a_later_stage_adds_is_no_stage_before_it(tmp_path: Path):
    stages = [RuleTable("published", PUBLISHED.rules, fresh=(r"head\..*",)), START]
    tensors = {name: from_numpy(value) for name, value in snapshot(Network()).items() if not name.startswith("head.")}
    write_native_file(tmp_path / "before.ckpt", tensors, {})
    loaded = load_weights(Network(), tmp_path / "before.ckpt", rules=stages, start_of_training=True)
    assert set(loaded.fresh) == {"head.weight", "head.bias"}
    with pytest.raises(UserError, match="enough to start a training from"):
        load_weights(Network(), tmp_path / "before.ckpt", rules=stages)
    write_native_file(tmp_path / "part.ckpt", {**tensors, "head.bias": from_numpy(np.zeros(5, np.float32))}, {})
    with pytest.raises(UserError, match=r"only in the network \(1\): head.weight"):
        load_weights(Network(), tmp_path / "part.ckpt", rules=stages, start_of_training=True)


def test_native_file_remembers_what_its_source_lacked(tmp_path: Path):
    tensors = {"body.weight": from_numpy(np.ones((4, 3), np.float32)), "body.bias": from_numpy(np.ones(4, np.float32))}
    write_native_file(tmp_path / "w.ckpt", tensors, {"fresh_patterns": list(START.fresh)})
    assert_refused(Network(), tmp_path / "w.ckpt", "enough to start a training")
    loaded = load_weights(Network(), tmp_path / "w.ckpt", rules=TABLES, start_of_training=True)
    assert set(loaded.fresh) == {"head.weight", "head.bias", "table"}


def test_damaged_native_file(tmp_path: Path):
    network = Network()
    path = native(tmp_path / "w.ckpt", network)
    content, weight = path.read_bytes(), network.body.weight.asnumpy().tobytes()
    path.write_bytes(content.replace(weight, weight[::-1]))
    assert_refused(network, path, "check sum")


def test_names_follow_the_place_and_not_a_training_step(tmp_path: Path):
    source = Network()
    path = native(tmp_path / "w.ckpt", source)
    inside = nn.CellList([Network()])[0]  # its parameters are now called 0.body.weight ...
    assert load_weights(inside, path, rules=TABLES).loaded == 5
    np.testing.assert_array_equal(inside.body.weight.asnumpy(), source.body.weight.asnumpy())


def test_source_by_name(tmp_path: Path):
    path = write(tmp_path / "w.pth", {"body.weight": np.ones((4, 3), np.float32), "body.bias": np.ones(4, np.float32)})
    assert_refused(Network(), path, "no entry of the file", source="published")
    assert len(open_checkpoint(path).tensors) == 2
