"""Every command that is printed anywhere is taken by its program, with configurations and keys that exist.

Most are only parsed, in one process: by the command's own parser, and by the configuration that it names. Each kind of
command is run by another test, which ``RUN_BY`` names.
"""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from mindvideo import load_config
from mindvideo.cli import COMMANDS
from mindvideo.cli.arguments import EXIT_OK
from mindvideo.errors import UserError
from tests import printed_commands
from tests.printed_commands import TOOL, Printed, command_lines, printed
from tests.test_layout import PROJECT

# Kind of command -> a test that runs it, at a small size.
RUN_BY = {
    "demo": "tests/test_install.py",
    "prepare": "tests/data/test_own_config.py",
    "train": "tests/training/test_start.py",
    "launch": "tests/training/test_launch.py",
    "eval": "tests/evaluation/test_eval_model.py",
    "infer": "tests/inference/test_infer.py",
    "report": "tests/report/test_comparison.py",
    "serve": "tests/serve/test_command.py",
    "submit": "tests/evaluation/test_submission.py",
    "analyze": "tests/models/instanceformer/test_analysis.py",
    "weights": "tests/weights/test_find.py",
    "convert": "tests/weights/test_convert_tool.py",
    "export": "tests/inference/test_export.py",
    "config": "tests/config/test_schema.py",
    "ops": "tests/test_install.py",
    "benchmark": "tests/api/test_benchmark.py",
    "completion": "tests/api/test_completion.py",
}
# Words that stand for what the reader has; a parser that wants a number or one of a few names gets one.
STANDS_FOR = {"PROCESSES": "2", "{...}": "2", "<run>": "run", "section.key": "data.root", "SECTION.KEY": "data.root"}
STANDS_FOR |= {"KEY": "data.root", "...": "", "[--to-torch]": "--to-torch"}
# Configurations that a page makes on its way.
MADE_BY_A_PAGE = {
    "mine.yaml": "instanceformer_toy", "first.yaml": "instanceformer_toy",
    "large.yaml": "instanceformer_ytvis2021_r50", "2": "vistr_toy",
}  # fmt: skip
MADE_BY_A_PAGE |= {"dotvis_toy": "vistr_toy", "dotvis": "vistr_toy", "2.yaml": "vistr_toy"}
# Programs of others, which are not ours to check, and why they are not run.
NOT_OURS = {"ffmpeg": "needs FFmpeg's program", "pip": "would install", "python3.11": "would make an environment"}


def test_the_collection_sees_what_is_printed():
    block = (
        "P=tools/x.py\npython $P check \\\n   a.json  # words\nresult 3\nffmpeg -i a - | mindvideo infer - -c vistr\n"
    )
    assert list(command_lines(block)) == [
        "python tools/x.py check a.json", "ffmpeg -i a -", "mindvideo infer - -c vistr",
    ]  # fmt: skip
    places = {each.place.split()[0] for each in printed()}
    assert {"README.md", "docs/training.md", "docs/own_data.md", "header", "help", "message"} <= places
    assert len(printed()) > 150


@pytest.mark.parametrize("place", sorted({each.place for each in printed()}))
def test_commands_are_taken_by_their_programs(place, monkeypatch):
    monkeypatch.chdir(PROJECT)
    for each in printed():
        if each.place == place:
            try:
                check(each)
            except (UserError, AssertionError) as error:
                pytest.fail(f"{place}: {each.line}\n  {error}")


def check(command: Printed) -> None:
    line = command.line
    for words, value in STANDS_FOR.items():
        line = line.replace(words, value)
    program, *words = shlex.split(line)
    if [program, *words] == ["mindvideo"]:
        return
    if program == "mindvideo" or TOOL.fullmatch(program):
        name, *arguments = words if program == "mindvideo" else [Path(program).stem, *words]
        check_command(name, arguments)
    elif program == "make":
        check_make(words)
    elif program == "pytest" or words[:2] == ["-m", "pytest"]:
        check_paths(words)
    elif program == "msrun":
        script = next(place for place, word in enumerate(words) if word.endswith(".py"))
        check_command(Path(words[script]).stem, words[script + 1 :])
    elif program.endswith(("python", "python3")):
        check_python(words)
    else:
        assert program in NOT_OURS, f"what is {program}?"


def check_python(words: list[str]) -> None:
    if words[0] == "-m":
        if words[1] == "mindvideo":
            check_command(words[2], words[3:]) if len(words) > 2 else None
            return
        found = importlib.util.find_spec(words[1])
        assert found, f"no module {words[1]}"
        if words[1].startswith("benchmarks."):
            check_options(Path(str(found.origin)), words[2:])
        return
    script = words[0]
    if (PROJECT / "tools/segmentation" / script).is_file():  # after `cd tools/segmentation`
        script = f"tools/segmentation/{script}"
    assert (PROJECT / script).is_file(), f"no {script}"
    assert not script.startswith("benchmarks/"), f"{script} finds its neighbours as a module: python -m benchmarks.NAME"
    if script.startswith("tools/segmentation/"):
        check_command(Path(script).stem, words[1:])
        return
    check_options(PROJECT / script, words[1:])


def check_options(script: Path, words: list[str]) -> None:
    source = script.read_text(encoding="utf-8")
    for name in re.findall(
        r"^from benchmarks\.(\w+) import .*\barguments\b", source, re.MULTILINE
    ):  # a parser of several
        source += (PROJECT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
    unknown = [word for word in words if word.startswith("--") and f'"{word.partition("=")[0]}"' not in source]
    assert not unknown, f"{script.name} has no {unknown}"


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            assert name in ("ARGS", "BENCH", "WORKERS", "PYTHON")
            check_paths(shlex.split(value))
        else:
            assert word in targets, f"no target {word}"


def check_paths(words: list[str]) -> None:
    missing = [word for word in words if word.startswith("tests/") and not (PROJECT / word).exists()]
    assert not missing, f"{missing} are not there"


def check_command(name: str, arguments: list[str]) -> None:
    assert name in COMMANDS, f"no command {name}"
    if not arguments or arguments == ["--help"]:
        return
    module = importlib.import_module(f"mindvideo.cli.{name}")
    if name == "prepare" and len(arguments) == 1:  # "mindvideo prepare split" in a sentence
        assert arguments[0] in subcommands_of_prepare(), f"prepare has no {arguments[0]}"
        return
    given = module.parse_arguments(arguments)
    if name == "launch":
        name, arguments = module.split_command(given[1])
        given = importlib.import_module(f"mindvideo.cli.{name}").parse_arguments(arguments)
    if name == "config" and given.explain:
        module.explain(given.explain)
    config = next((value for key in ("config", "model", "show", "base") if (value := getattr(given, key, None))), None)
    if config is not None:
        load_config(MADE_BY_A_PAGE.get(config, config), getattr(given, "overrides", ()))


def subcommands_of_prepare() -> str:
    files = (PROJECT / "mindvideo/cli").glob("prepare*.py")
    return "".join(file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_kind_of_command_is_run_by_a_test(name):
    source = (PROJECT / RUN_BY[name]).read_text(encoding="utf-8")
    forms = (f"{name}.py", f"{name}.sh", f'"{name}"', f"mindvideo {name}", f"cli import {name}", f"cli.{name} ")
    assert any(form in source for form in forms), f"{RUN_BY[name]} does not run {name}"


def test_a_wrong_command_is_noticed():
    for line in (
        "mindvideo trian -c vistr",
        "mindvideo train -c vistrr",
        "mindvideo train -c vistr data.rooot=x",
        "mindvideo infer clip.mp4 -c vistr --wieghts x",
        "python tools/segmentation/prepare.py splitt a.json",
        "python -m benchmarks.model --no-such-option",
        "python -m benchmarks.nothing",
        "python benchmarks/model.py",
        "make tests",
        "mindvideo config --explain data.rooot",
        "pytest tests/no_such_file.py",
    ):
        with pytest.raises((UserError, AssertionError)):
            check(Printed("here", line))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [f"mindvideo {name}", "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"mindvideo.cli.{name}").main()
    assert ended.value.code == EXIT_OK and "usage: mindvideo" in capsys.readouterr().out


def test_pages_are_all_there():
    assert len(printed_commands.pages()) > 10
