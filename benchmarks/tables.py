"""The tables of docs/performance.md: which runs make them, and which of the figures they show."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Table:
    """``quick``, ``full``: the options of each run of ``script``. ``columns``: heading -> name in the script's rows."""

    name: str
    script: str  # a module of benchmarks/
    quick: Sequence[str]
    full: Sequence[str]
    columns: Mapping[str, str]


_OPS = {
    "operator": "op", "case": "case", "direction": "direction", "native ms": "native_ms", "twin ms": "twin_ms",
    "ratio": "speedup", "GB/s": "gb_per_s", "of ceiling": "share_of_ceiling",
}  # fmt: skip
_MEMORY = {
    "configuration": "config", "settings": "settings", "frames": "frames", "size": "size", "network GB": "network_gb",
    "optimiser GB": "optimiser_gb", "compiled GB": "compile_gb", "first step GB": "first_step_gb", "peak GB": "peak_gb",
    "a step s": "step_s",
}  # fmt: skip
_DATA = {
    "clips": "case", "plain, barest, frames/s": "plain_frames_per_second",
    "plain, into arrays": "plain_array_frames_per_second", "pipeline": "pipeline_frames_per_second",
    "share of the barest": "share", "share of the usual": "share_of_arrays",
}  # fmt: skip
_CLIP = {
    "configuration": "config", "frames": "frames", "s": "seconds", "frames/s": "frames_per_second",
    "model TFLOP": "model_tflops", "share of the matrix rate": "share_of_matmul", "executed TFLOP": "executed_tflops",
    "its share": "share_of_matmul_executed", "matrix GFLOP/s": "matmul_gflops_per_second", "peak GB": "peak_gigabytes",
}  # fmt: skip
_ENCODERS = {
    "grid": "grid", "frames": "frames", "tokens": "tokens", "VisTR s": "vistr_seconds",
    "Deformable VisTR s": "defvistr_seconds", "times faster": "times_faster", "VisTR MB": "vistr_megabytes",
    "Deformable VisTR MB": "defvistr_megabytes", "a dense map MB": "dense_map_megabytes",
}  # fmt: skip
_SEQUENCE = {
    "configuration": "config", "size": "size", "frames": "frames", "encoding s a frame": "encoding_seconds_a_frame",
    "deciding s a frame": "deciding_seconds_a_frame", "peak GB": "peak_gb",
}  # fmt: skip
_ONLINE = {
    "configuration": "config", "size": "size", "s a frame": "seconds_a_frame", "first frame s": "first_seconds",
    "GFLOP a frame": "gflops_a_frame", "matrix GFLOP/s": "matrix_gflops", "share of the matrix rate": "share",
    "peak GB": "peak_gb",
}  # fmt: skip
_HALF = {
    "configuration": "config", "size": "size", "frames": "frames", "fp32 s a frame": "fp32_seconds_a_frame",
    "bf16 s a frame": "bf16_seconds_a_frame", "times faster": "times", "instructions": "instructions",
}  # fmt: skip
_VIDEOMT = {
    "configuration": "config", "size": "size", "s a frame": "seconds_a_frame",
    "G multiply-adds a frame": "giga_multiply_adds_a_frame", "a second": "giga_multiply_adds_a_second",
    "of a plain product": "of_a_plain_product", "share": "share", "peak GB": "peak_gb",
}  # fmt: skip
_LENGTH = {
    "configuration": "config", "frames": "frames", "tracks begun": "births", "peak MB": "peak_mb",
    "ms a frame, first hundred": "clock_first_ms", "last hundred": "clock_last_ms",
    "processor ms, first": "processor_first_ms", "last": "processor_last_ms",
}  # fmt: skip
_TWO_STEPS = {
    "first": "first", "second": "second", "options": "overrides", "size": "size", "first, processor s": "first_s",
    "second, processor s": "second_s", "ratio": "ratio", "second's peak GB": "second_peak_gb",
}  # fmt: skip
_STEPS = {
    "configuration": "config", "first step s": "first_step_s", "a step s": "step_s", "data s": "data_s",
    "other s": "other_s", "outside the step %": "outside_percent",
}  # fmt: skip

_TOYS = ("vistr_toy", "defvistr_toy", "instanceformer_toy", "seqformer_toy", "mssts_toy", "gmpvis_toy", "videomt_toy")
_INSTANCEFORMER_STEP = "-c instanceformer_ytvis2019_r50 --size 240 426"
_GRAPHS = "vistr gmpvis_ytvis2019_r50 --both data.num_frames=6 --size 300 540"
_PARTS = "seqformer_ytvis2019_r50 mssts_ytvis2019_r50"
_WAITING = {
    "waiting": "waiting",
    "cores": "cores",
    "by itself, frames/s": "alone",
    "beside a neighbour": "beside",
    "times slower": "cost",
}
_FIRST = {
    "configuration": "config", "frames": "frames", "size": "size", "tree": "tree", "start": "start",
    "imports s": "imports", "its YAML s": "configuration", "network s": "network", "opening s": "opening",
    "answering s": "answering", "first result s": "first result", "processor s": "processor",
    "compiling s": "compiling", "a frame s": "a frame", "whole video s": "whole video",
}  # fmt: skip

_FIRST_RUNS = ["", "-c instanceformer_ytvis2019_r50 --size 360 640 --frames 6"]
_FIRST_RUNS += [
    f"-c {name} --frames 12{override}"
    for name in ("vistr_toy", "seqformer_toy")
    for override in ("", " runtime.compile_after=0")
]

_ALL = (
    Table(
        "first_result",
        "first_result",
        [f"{each} --runs 1" for each in _FIRST_RUNS],
        _FIRST_RUNS,
        _FIRST,
    ),
    Table("ops", "ops", ["--budget 0.2"], ["--budget 1"], _OPS),
    Table(
        "training_memory",
        "training_memory",
        ["--frames 2 --steps 2", f"{_INSTANCEFORMER_STEP} --frames 2 --steps 2"],
        [
            "--frames 6 12",
            "train.recompute=true --frames 6 12",
            f"{_INSTANCEFORMER_STEP} --frames 3 5",
            f"train.recompute=true {_INSTANCEFORMER_STEP} --frames 5",
        ],
        _MEMORY,
    ),
    Table("data", "data", ["--rounds 1"], ["--rounds 7"], _DATA),
    Table("clip", "model", ["--frames 36 --runs 1"], ["--frames 36 --runs 3"], _CLIP),
    Table(
        "backbones",
        "backbone_speed",
        [""],
        [""],
        {"backbone": "backbone", "forward s": "forward_s", "with gradients s": "forward_and_backward_s"},
    ),
    Table(
        "under_load",
        "under_load",
        ["--seconds 5", "--cores 1 --seconds 5"],
        ["--seconds 15", "--seconds 15", "--cores 1 --seconds 15"],
        _WAITING,
    ),
    Table("encoders", "encoders", ["--frames 12 36 --runs 1"], ["--plot docs/encoders.png"], _ENCODERS),
    Table(
        "graph_matching",
        "graph_matching",
        [""],
        [""],
        {"solver": "solver", "training step ms": "training_ms", "window at inference ms": "window_ms"},
    ),
    Table(
        "two_steps",
        "two_steps",
        [f"{_PARTS} --size 160 256 --steps 2"],
        [f"{_PARTS} --size 360 640", _GRAPHS],
        _TWO_STEPS,
    ),
    Table(
        "sequences",
        "sequence_model",
        ["--frames 8 --rounds 1", "-c mssts_ytvis2019_r50 --frames 8 --rounds 1"],
        ["", "-c mssts_ytvis2019_r50"],
        _SEQUENCE,
    ),
    Table("online", "online_model", ["--frames 4"], ["--frames 16"], _ONLINE),
    Table(
        "half_precision",
        "half_precision",
        [
            "--frames 4 --rounds 2",
            "-c seqformer_ytvis2019_r50 --frames 8 --rounds 2",
            "-c videomt_ytvis2019_s --size 640 640 --frames 2 --rounds 2",
        ],
        [
            "",
            "-c seqformer_ytvis2019_r50 --frames 16",
            "-c vistr --size 300 540 --frames 36",
            "-c videomt_ytvis2019_s --size 640 640 --frames 4",
        ],
        _HALF,
    ),
    Table("videomt", "videomt", ["--rounds 2"], ["--rounds 5"], _VIDEOMT),
    Table(
        "length",
        "online_length",
        ["--frames 210 410", "--any-length --frames 210 410"],
        ["", "--any-length", "-c videomt_toy --any-length"],
        _LENGTH,
    ),
    Table(
        "steps",
        "train_step",
        [f"-c {name} --steps 10" for name in _TOYS],
        [f"-c {name}" for name in _TOYS],
        _STEPS,
    ),
    Table(
        "drawing",
        "inference",
        ["cost --config instanceformer_toy --repeats 1"],
        ["cost --config instanceformer_toy"],
        {"what": "what", "configuration": "configuration", "size": "size", "value": "value", "unit": "unit"},
    ),
)
TABLES = {table.name: table for table in _ALL}
