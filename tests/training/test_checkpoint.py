"""State files are whole or refused; folders keep the newest and fall back past a damaged one."""

from __future__ import annotations

import logging

import mindspore as ms
import numpy as np
import pytest

from mindvideo.errors import UserError
from mindvideo.training.checkpoint import CheckpointFolder, collect_state, network_weights, restore_state, save_weights
from mindvideo.training.ema import WeightAverage
from mindvideo.training.state_file import DamagedStateError, read_state, write_state
from tests.training.tiny_run import TinyNetwork, parameter_values, tiny_step

ARRAYS = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "count": np.array(7, np.int32),
    "nothing": np.zeros((0, 2), np.float16),
    "flags": np.array([True, False]),
}
FACTS = {"iteration": 7, "best": {"metric": "AP", "value": 0.25, "step": 5}, "name": "größe"}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.state"
    write_state(path, ARRAYS, FACTS)
    arrays, facts = read_state(path)
    assert facts == FACTS
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
        assert arrays[name].tobytes() == array.tobytes()
    arrays["weight"] += 1  # its own memory, and not the file's bytes
    assert [item.name for item in tmp_path.iterdir()] == ["a.state"]


def test_any_changed_byte_and_any_missing_end_is_noticed(tmp_path):
    path = tmp_path / "a.state"
    write_state(path, ARRAYS, FACTS)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        with pytest.raises(DamagedStateError, match=r"a\.state"):
            read_state(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedStateError, match=r"a\.state"):
            read_state(path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.state"
    write_state(path, ARRAYS, FACTS)

    class Unwritable:
        dtype, shape, size = np.dtype(np.float32), (1,), 1

        def __array__(self, *_args, **_kwargs):
            raise MemoryError

    with pytest.raises(MemoryError):
        write_state(path, {"weight": ARRAYS["weight"] + 1, "broken": Unwritable()}, FACTS)
    assert read_state(path)[0]["weight"].tobytes() == ARRAYS["weight"].tobytes()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_keeps_the_newest(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for iteration in (1, 2, 10, 9):
        folder.save(iteration, ARRAYS, {"iteration": iteration})
    assert [path.name for path in folder.states()] == ["step_00000010.state", "step_00000009.state"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, caplog):
    logging.getLogger("mindvideo").propagate = True
    folder = CheckpointFolder(tmp_path, keep=3)
    for iteration in (5, 6, 7):
        folder.save(iteration, ARRAYS, {"iteration": iteration})
    newest = folder.state_path(7)
    content = bytearray(newest.read_bytes())
    content[-40] ^= 1
    newest.write_bytes(content)
    path, _, facts = folder.newest_good()
    assert (path.name, facts["iteration"]) == ("step_00000006.state", 6)
    assert "step_00000007.state" in caplog.text
    assert "damaged" in caplog.text
    folder.discard_after(6)
    assert [state.name for state in folder.states()] == ["step_00000006.state", "step_00000005.state"]
    for state in folder.states():
        state.write_bytes(b"")
    with pytest.raises(UserError, match="every checkpoint in .* is damaged"):
        folder.newest_good()
    assert CheckpointFolder(tmp_path / "none").newest_good() is None


def test_a_state_goes_back_where_it_came_from_or_says_what_differs(tmp_path):
    ms.set_context(mode=ms.GRAPH_MODE)
    step = tiny_step(accumulate=2)
    state = {name: array.copy() for name, array in collect_state(step).items()}
    assert {"head.weight", "adamw.first_moment.head.weight", "accumulated.head.weight", "iteration"} <= set(state)
    assert "stop_request" not in state
    other = tiny_step(network=TinyNetwork(seed=9), accumulate=2)
    restore_state(other, state, source=tmp_path / "x.state")
    for name, value in parameter_values(other).items():
        if name in state:
            assert value.tobytes() == state[name].tobytes()
    with pytest.raises(UserError, match="another model.*sgd.velocity.backbone.weight is not in the file"):
        restore_state(tiny_step(kind="sgd", accumulate=2), state, source=tmp_path / "x.state")
    state["head.bias"] = np.zeros(3, np.float32)
    with pytest.raises(UserError, match=r"head.bias is \(3,\) in the file and \(24,\) in this run"):
        restore_state(other, state, source=tmp_path / "x.state")


def test_exported_weights_are_the_networks_own_names(tmp_path):
    network = TinyNetwork()
    step = tiny_step(network=network, average=WeightAverage(network.trainable_params(), decay=0.9))
    ms.ops.assign(step.average.averages[0], step.average.averages[0] + 1)
    followed = step.average.parameters[0].name
    averages = {p.name: a for p, a in zip(step.average.parameters, step.average.averages)}
    path = tmp_path / "last.ckpt"
    save_weights(path, network_weights(network, averages=averages))
    loaded = {name: entry for name, entry in ms.load_checkpoint(str(path)).items() if not isinstance(entry, str)}
    assert set(loaded) == {place for place, _ in TinyNetwork().parameters_and_names()}
    own = dict(network.parameters_and_names())
    np.testing.assert_array_equal(loaded[followed].asnumpy(), own[followed].asnumpy() + 1)
    np.testing.assert_array_equal(loaded["unused"].asnumpy(), own["unused"].asnumpy())
    assert [item.name for item in tmp_path.iterdir()] == ["last.ckpt"]
