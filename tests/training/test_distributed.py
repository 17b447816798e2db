"""Two processes come to what one process with twice the batch comes to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from mindvideo.training.distributed import MeanOverRanks, Ranks, current_ranks
from mindvideo.training.trainer import TrainerOptions
from tests.training.tiny_run import TinyNetwork, TinySource, tiny_step, tiny_trainer

PROCESSES = 2


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    msrun = Path(sys.executable).with_name("msrun")
    command = [
        str(msrun), f"--worker_num={PROCESSES}", f"--local_worker_num={PROCESSES}", f"--master_port={free_port()}",
        f"--log_dir={folder / 'logs'}", "--join=True", "--cluster_time_out=120",
        str(Path(__file__).with_name("rank_main.py")), str(folder),
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MS_")}
    environment["PATH"] = f"{msrun.parent}{os.pathsep}{environment['PATH']}"  # msrun starts `python`
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    logs = "\n".join(path.read_text()[-2000:] for path in sorted((folder / "logs").glob("worker_*.log")))
    assert run.returncode == 0, f"{run.stdout[-1000:]}\n{run.stderr[-1000:]}\n{logs}"
    return folder


def test_parameters_are_those_of_one_process_with_twice_the_batch(two_processes, tmp_path):
    ranks = [np.load(two_processes / f"rank{rank}.npz") for rank in range(PROCESSES)]
    steps = int(ranks[0]["steps"])
    ms.set_context(mode=ms.GRAPH_MODE)
    network = TinyNetwork(dropout=0.0)
    step = tiny_step(network=network, adversarial=True, clip_norm=1.0, reduce_count=MeanOverRanks())
    options = TrainerOptions(epochs=4, max_steps=steps, log_every=1)
    tiny_trainer(tmp_path, source=TinySource(batches=5, B=4), step=step, network=network, options=options).run()
    for parameter in step.get_parameters():
        if parameter.name == "stop_request":
            continue
        for values in ranks:
            np.testing.assert_allclose(values[parameter.name], parameter.asnumpy(), rtol=1e-5, atol=1e-5)
    trained = parameter_change(ranks[0], TinyNetwork(dropout=0.0))
    assert trained > 0.01, "the run moved nothing, so equality says nothing"
    losses = [
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (two_processes, tmp_path)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def parameter_change(values, network) -> float:
    return float(np.abs(values["head.weight"] - network.head.weight.asnumpy()).max())


def test_a_signal_to_one_process_stops_all_after_the_same_step(two_processes):
    steps = {int(np.load(two_processes / f"rank{rank}.npz")["steps"]) for rank in range(PROCESSES)}
    assert len(steps) == 1
    assert steps.pop() < 20
    assert (two_processes / "checkpoints").is_dir()


def test_all_take_what_the_first_one_has(two_processes):
    for rank in range(PROCESSES):
        assert np.load(two_processes / f"rank{rank}.npz")["own"].tolist() == np.float32([0.1, 3.0]).tolist()


def test_alone_there_is_one_rank():
    assert current_ranks() == Ranks(rank=0, world_size=1)
    assert MeanOverRanks()(ms.Tensor(3.0)).asnumpy() == 3.0
