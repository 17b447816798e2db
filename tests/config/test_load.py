"""Reading configurations: bases, overrides, names from anywhere, and every mistake reported at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ml_collections
import pytest

from mindvideo import load_config
from mindvideo.config import dump_config, find_config, known_configs
from mindvideo.config.load import CONFIG_FOLDER_VARIABLE, read_with_bases
from mindvideo.errors import UserError

PROJECT = Path(__file__).resolve().parents[2]
MINIMAL = "family: vistr\nname: test\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_complete_and_the_result_is_locked(tmp_path):
    config = load_config(write(tmp_path, "a.yaml", MINIMAL + "runtime: {seed: 7}\n"))
    assert isinstance(config, ml_collections.ConfigDict)
    assert config.runtime.seed == 7
    assert config.runtime.device == "CPU"
    with pytest.raises(AttributeError):
        config.runtime.sede = 3


def test_later_bases_win_and_the_file_wins_over_its_bases(tmp_path):
    write(tmp_path, "one.yaml", "runtime: {seed: 1, mode: pynative, device_id: 1}\n")
    write(tmp_path, "two.yaml", "runtime: {seed: 2, device_id: 2}\n")
    path = write(tmp_path, "a.yaml", "_base_: [one.yaml, two.yaml]\n" + MINIMAL + "runtime: {device_id: 3}\n")
    runtime = load_config(path).runtime
    assert (runtime.seed, runtime.mode, runtime.device_id) == (2, "pynative", 3)


def test_overrides_win_over_the_file(tmp_path):
    path = write(tmp_path, "a.yaml", MINIMAL + "runtime: {seed: 1}\n")
    config = load_config(path, ["runtime.seed=9", "name=other"])
    assert (config.runtime.seed, config.name) == (9, "other")


def test_three_mistakes_give_three_messages_with_the_nearest_names(tmp_path):
    path = write(tmp_path, "a.yaml", MINIMAL + "runtime: {seeds: 1, device: CPU2, mode: 3}\n")
    with pytest.raises(UserError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "3 problems" in message
    assert "runtime.seeds: unknown key (did you mean 'seed'?)" in message
    assert "runtime.device: 'CPU2' is not one of CPU, GPU, Ascend (did you mean 'CPU'?)" in message
    assert "runtime.mode: expected string, got int 3" in message


def test_impossible_values_are_named(tmp_path):
    path = write(tmp_path, "a.yaml", MINIMAL)
    with pytest.raises(UserError, match=r"runtime\.seed: -1 is below the minimum 0"):
        load_config(path, ["runtime.seed=-1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("family: vistr\nname: [\n", "not valid YAML"),
        ("- a\n- b\n", "expected sections with keys, got list"),
        (MINIMAL + "runtime: {seed: 1, seed: 2}\n", "key 'seed' stands twice"),
        (MINIMAL + "_base_: [missing.yaml]\n", "_base_ names missing.yaml"),
        (MINIMAL + "_base_: [a.yaml]\n", "goes in a circle"),
        (MINIMAL + "runtimes: {seed: 1}\n", "runtimes: unknown section (did you mean 'runtime'?)"),
        (MINIMAL + "runtime: 3\n", "runtime: expected a section with keys, got int"),
        ("name: x\n", "family: missing"),
        ("family: vister\nname: x\n", "family: unknown 'vister' (did you mean 'vistr'?)"),
    ],
)
def test_bad_files_get_one_clear_message(tmp_path, text, message):
    path = write(tmp_path, "a.yaml", text)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("runtime.seed", "expected section.key=value"),
        ("runtime..seed=1", "expected section.key=value"),
        ("runtime.seed=[", "is not a YAML value"),
        ("runtime.sed=1", "did you mean 'seed'?"),
    ],
)
def test_bad_overrides_get_one_clear_message(tmp_path, override, message):
    path = write(tmp_path, "a.yaml", MINIMAL)
    with pytest.raises(UserError) as caught:
        load_config(path, [override])
    assert message in str(caught.value)


def test_a_bare_name_is_found_from_any_folder(tmp_path, monkeypatch):
    write(tmp_path, "configs/vistr/mine.yaml", MINIMAL)
    monkeypatch.setenv(CONFIG_FOLDER_VARIABLE, str(tmp_path / "configs"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for name in ("mine", "mine.yaml", "vistr/mine.yaml", tmp_path / "configs" / "vistr" / "mine.yaml"):
        assert find_config(name) == tmp_path / "configs" / "vistr" / "mine.yaml"
    with pytest.raises(UserError, match="did you mean 'mine'"):
        find_config("mime.yaml")


def test_the_dump_of_a_configuration_reads_back_equal(tmp_path):
    config = load_config(write(tmp_path, "a.yaml", MINIMAL + "runtime: {seed: 5}\n"))
    again = load_config(write(tmp_path, "b.yaml", dump_config(config)))
    assert again == config


@pytest.mark.parametrize("name", sorted(known_configs()))
def test_every_shipped_file_loads_and_is_named_uniquely(name):
    path = known_configs()[name]
    assert load_config(path).family == path.parent.name
    assert read_with_bases(path)


def test_a_tool_with_three_mistakes_exits_with_2_and_no_traceback(tmp_path):
    path = write(tmp_path, "a.yaml", MINIMAL + "runtime: {seeds: 1, device: CPU2, mode: 3}\n")
    for tool, needed in (("train.py", []), ("eval.py", ["--weights", "w.ckpt"]), ("infer.py", ["--input", "."])):
        command = [sys.executable, str(PROJECT / "tools" / "segmentation" / tool), "-c", str(path), *needed]
        finished = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True)
        assert finished.returncode == 2, finished.stderr
        assert "Traceback" not in finished.stderr
        assert finished.stderr.count("runtime.") == 3


def test_a_key_with_a_new_name_is_told_in_one_line(tmp_path):
    path = write(tmp_path, "a.yaml", MINIMAL + "data: {least_instances: 2}\n")
    with pytest.raises(UserError, match=r"1 problem .*\n  data\.least_instances is now called data\.min_instances$"):
        load_config(path)
    with pytest.raises(UserError, match=r"inference\.most_overlap is now called inference\.max_overlap"):
        load_config("vistr_toy", ["inference.most_overlap=0.5"])


def problems(*arguments) -> str:
    with pytest.raises(UserError) as caught:
        load_config(*arguments)
    return str(caught.value)


def test_a_key_that_the_family_does_not_read_is_refused_with_the_reason(tmp_path):
    write(tmp_path, "base.yaml", "loss: {mask_stride: 4}\n")
    path = write(tmp_path, "a.yaml", "_base_: base.yaml\nfamily: seqformer\nname: x\n")
    message = problems(path)
    assert "loss.mask_stride: seqformer does not read it (of this section it reads class_weight" in message
    assert f"set in {tmp_path / 'base.yaml'}; loss.mask_stride=null takes it back" in message
    assert "mask_stride" not in load_config(path, ["loss.mask_stride=null"]).loss


def test_the_section_of_another_family_is_refused(tmp_path):
    path = write(tmp_path, "a.yaml", MINIMAL + "seqformer: {absent_boxes: true}\n")
    assert "seqformer: the section of another family; this configuration is of vistr" in problems(path)


def test_a_key_of_another_kind_of_backbone_is_refused():
    swin = "backbone.name=swin_t_p4w7"
    message = problems("vistr_toy", [swin])
    assert "backbone.norm: it is for a ResNet, and backbone.name is swin_t_p4w7" in message
    config = load_config("vistr_toy", [swin, "backbone.norm=null", "backbone.trainable_stages=null"])
    assert set(config.backbone) == {"name", "drop_path"}
    assert "backbone.drop_path: it is for a Swin" in problems("vistr_toy", ["backbone.drop_path=0.2"])


def test_null_takes_back_only_what_is_not_read(tmp_path):
    assert "runtime.seed: expected int, got NoneType None" in problems("vistr_toy", ["runtime.seed=null"])


def test_an_empty_section_keeps_what_its_base_sets(tmp_path):
    path = write(tmp_path, "a.yaml", "_base_: vistr_toy\ndata:\n")
    assert load_config(path).data.num_classes == load_config("vistr_toy").data.num_classes == 5


@pytest.mark.parametrize("base", ["vistr_toy", "vistr_toy.yaml", "vistr/vistr_toy.yaml"])
def test_an_own_file_builds_on_a_bare_name(tmp_path, base):
    path = write(tmp_path, "mine/a.yaml", f"_base_: {base}\nname: mine\nruntime: {{seed: 7}}\n")
    config = load_config(path)
    assert (config.family, config.name, config.runtime.seed, config.data.num_classes) == ("vistr", "mine", 7, 5)
    path = write(tmp_path, "mine/b.yaml", "_base_: [toy]\n" + MINIMAL)
    assert load_config(path).data.buckets == [[64, 96]]
    write(tmp_path, "mine/c.yaml", "_base_: vister_toy\n" + MINIMAL)
    assert "did you mean 'vistr_toy'?" in problems(tmp_path / "mine/c.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.recompute=['encoder']", "train.recompute: expected true or false"),
        ("optimizer.no_weight_decay=['[']", "optimizer.no_weight_decay: '[' is no regular expression"),
        ("data.buckets=[[64]]", "data.buckets: [64] has 1 entries; each has 2"),
        ("data.crop_range=[384]", "data.crop_range: [384] has 1 entries; give 2"),
        ("data.workers=100000", "data.workers: 100000 is above the maximum 256"),
        (f"runtime.seed={2**70}", "is above the maximum 4294967295"),
        ("optimizer.learning_rate=.inf", "optimizer.learning_rate: inf is not a finite number"),
        (f"optimizer.learning_rate={'9' * 400}", "optimizer.learning_rate: expected number"),
        ("data.buckets=" + "[" * 1500, "is not a YAML value"),
        ("name={a: " * 400, "is not a YAML value"),
        ("data.short_sides=" + "[1]" * 2, "is not a YAML value"),
    ],
)
def test_hostile_values_are_told_in_one_short_line(override, message):
    told = problems("vistr_toy", [override])
    assert message in told
    assert len(told) < 1000


def test_a_list_that_may_not_be_empty(tmp_path):
    assert "instanceformer.backbone_levels: [] has 0 entries; give 1 to 4" in problems(
        "instanceformer_toy", ["instanceformer.backbone_levels=[]"]
    )


def aliases() -> bytes:
    """A few lines that mean a list of millions."""
    levels = [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefg", "bcdefgh")]
    return "\n".join(["a: &a [x]", *levels]).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"family: vistr\nname: na\xe9\n", "not a text file in UTF-8"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
        (b"a: \x00\n", "not valid YAML"),
        (b"? [a, b]\n: 1\n", "a key must be a string"),
        (aliases(), "unknown section"),
    ],
    ids=["latin-1", "deep", "zero-byte", "list-as-key", "aliases"],
)
def test_hostile_files_are_told_in_one_line_each(tmp_path, content, message):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    assert message in problems(path)


def test_paths_that_no_file_can_have_are_told():
    assert "not a file, nor a name in" in problems("x" * 5000)
    assert "not a file, nor a name in" in problems("vistr\0")


def test_reading_a_configuration_loads_no_mindspore():
    script = "import sys, mindvideo; mindvideo.load_config('vistr_toy'); sys.exit('mindspore' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 0
