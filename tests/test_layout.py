"""The house rules of docs/map.md, checked on the source."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mindvideo import api, assembly
from mindvideo.cli import COMMANDS
from mindvideo.models.registry import FAMILIES

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "mindvideo"

# Rooms are the folders and files right below mindvideo/. docs/map.md is printed from the next two tables.
ROOMS = {
    "cli": "one file a command: `mindvideo train`, `eval`, `infer`, ...",
    "api": "`mindvideo.load`: a model in one line, and its results in the forms that other tools take",
    "assembly": "from a configuration to objects: data, network, step, tracker, evaluation",
    "config": "the schema of the YAML files: sections, keys, what may be set",
    "models": "one folder a family: network, training graph, inference, weight names, settings, card",
    "execution": "how networks run in bounded memory: portions, one graph for a stack of layers; "
    "compiled graphs kept for the next start",
    "modules": "building blocks without a family's name: layers, backbones, transformers, heads, matching, losses",
    "ops": "public operators, each with its pure-MindSpore twin",
    "training": "the step, optimisers, schedules, checkpoints and resuming, distribution",
    "inference": "frames in, instances out: trackers, scoring of tracks, written results",
    "evaluation": "AP of tracks, error kinds, results files, submissions",
    "report": "a run or a result as one HTML page",
    "serve": "the page of `mindvideo serve`: uploads, the queue, the worker process, the player",
    "analysis": "what an online model saw, drawn",
    "data": "labels, media, clips, transforms, feed, synthetic sets, label formats of other tools in and out",
    "masks": "run-length codes of masks: encode, decode, check, overlap, sample",
    "weights": "published files in and out, name tables, native checkpoints",
    "structures": "the NumPy types at the borders: frames, clip batches, instances of a video",
    "run_folder": "what a run leaves on disk and how a run is known again",
    "files": "files appear by atomic rename",
    "logs": "logging set up once",
    "native_build": "an installed package builds its native library when a model first runs",
    "native_library": "where the compiled functions are and which of them load",
    "resources": "where the files are that come with the package, in a checkout and in a wheel",
    "processes": "processes that the package starts, and their end",
    "compile_times": "how long graphs took to compile here, for the messages of the next run",
    "memory_watch": "says that memory runs out, before the system ends the process",
    "environment": "what must be set, and what the processor must have, before MindSpore is imported",
    "errors": "the one error type for mistakes of a user",
    "__init__": "the public interface",
    "__main__": "`python -m mindvideo`",
}
# room -> what of mindvideo it may import: a room, or only a part of it ("config.key"). None: everything.
FOUNDATIONS = {
    "compile_times",
    "errors",
    "environment",
    "files",
    "logs",
    "memory_watch",
    "native_build",
    "native_library",
    "processes",
    "resources",
}
MAY_IMPORT: dict[str, set[str] | None] = {
    "cli": None,
    "api": FOUNDATIONS | {"assembly", "config", "data", "inference", "masks", "structures", "weights"},
    "assembly": FOUNDATIONS
    | {"config", "models", "modules", "ops", "training", "inference", "evaluation", "data", "weights", "structures"}
    | {"execution", "masks", "run_folder"},
    "config": {"errors", "files", "resources"},
    "models": {"modules", "execution", "ops", "structures", "errors", "config.key", "config.reads"}
    | {"training.parameter_groups", "weights", "inference", "data.media.frame_size"},
    "execution": FOUNDATIONS | {"ops", "modules.values"},
    "modules": {"ops", "errors"},
    "ops": {"errors", "native_library"},
    "training": FOUNDATIONS | {"structures", "data", "weights", "ops", "run_folder"},
    "inference": FOUNDATIONS | {"structures", "data", "masks", "run_folder"},
    "evaluation": FOUNDATIONS | {"structures", "data", "masks"},
    "report": FOUNDATIONS | {"structures", "data", "evaluation", "inference.output", "run_folder", "masks"},
    "serve": FOUNDATIONS
    | {"structures", "data", "masks", "inference", "config", "run_folder"}
    | {"weights.published", "weights.find"},
    "analysis": FOUNDATIONS | {"structures", "data", "inference.output"},
    "data": FOUNDATIONS | {"structures", "masks"},
    "masks": FOUNDATIONS | {"structures"},
    "weights": FOUNDATIONS,
    "structures": {"errors", "files"},
    "run_folder": FOUNDATIONS,
    "files": {"errors"},
    "compile_times": {"errors", "files", "resources"},
    "logs": set(),
    "memory_watch": set(),
    "native_build": {"native_library", "resources"},
    "native_library": {"resources"},
    "resources": set(),
    "processes": set(),
    "environment": {"errors"},
    "errors": set(),
    "__init__": {"environment", "errors", "structures"}
    | {"api", "assembly", "inference.output"},  # loaded when they are first used
    "__main__": {"cli"},
}
# Imports that break the table and are about to go; nothing is added here.
ARROWS_UNDER_WORK: set[tuple[str, str]] = set()
CIRCLES_UNDER_WORK: set[str] = set()
NOT_REACHED_YET: set[str] = set()
# Files of `data`, `inference` and `analysis` that hold MindSpore code; the rest is NumPy and starts quickly.
MINDSPORE_FREE_ROOMS = {
    "structures",
    "masks",
    "evaluation",
    "data",
    "config",
    "errors",
    "files",
    "logs",
    "report",
    "serve",
    "analysis",
}
MINDSPORE_EXCEPTIONS = {"mindvideo/data/feed/loader.py"}
# Started by name in a process of their own.
RUN_AS_MODULES = ["mindvideo.data.feed.worker", "mindvideo.cli.serve_worker"]
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
LONG_FILES: dict[str, str] = {}  # path -> why it may be longer
LONG_FUNCTIONS: dict[str, str] = {}  # path:function -> why


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_type_checking_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imported_modules(path: Path) -> list[str]:
    """Every module a file imports at run time, wherever in the file; `from a import b` gives a.b when b is a module."""
    modules: list[str] = []
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if is_type_checking_block(node):
            continue
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}: relative import; write the whole name"
            for alias in node.names:
                candidate = PROJECT / Path(*node.module.split("."), alias.name)
                is_module = candidate.with_suffix(".py").exists() or (candidate / "__init__.py").exists()
                modules.append(f"{node.module}.{alias.name}" if is_module else node.module)
        pending.extend(ast.iter_child_nodes(node))
    return modules


IMPORTS = {path: imported_modules(path) for path in source_files()}


def may_import(room: str, module: str) -> bool:
    """Whether a file of that room may import that module; every room may import itself."""
    allowed = MAY_IMPORT[room]
    name = module.removeprefix("mindvideo.")
    if allowed is None or module == "mindvideo" or name.split(".")[0] == room:
        return True
    return any(name == part or name.startswith(part + ".") for part in allowed)


def test_arrows_go_one_way():
    """Also those that only type checkers see: they too say which room one has to understand first."""
    wrong = []
    for path in source_files():
        room = room_of(path)
        assert room in MAY_IMPORT, f"{relative(path)}: a new room; say in MAY_IMPORT what it may import"
        wrong += [
            f"{relative(path)} imports {module}"
            for module in imported_names(path)
            if not may_import(room, module) and (room, module) not in ARROWS_UNDER_WORK
        ]
    assert not wrong, "\n".join(wrong)


def test_a_part_of_a_room_is_not_the_room():
    assert may_import("models", "mindvideo.config.key") and not may_import("models", "mindvideo.config.keys")
    assert may_import("models", "mindvideo.inference.trackers.windows")
    assert not may_import("models", "mindvideo.config.load") and not may_import("ops", "mindvideo.modules")


def test_the_tables_name_the_rooms_that_there_are():
    rooms = {room_of(path) for path in source_files()}
    assert set(ROOMS) == set(MAY_IMPORT) == rooms
    parts = {part for allowed in MAY_IMPORT.values() for part in allowed or ()}
    missing = [part for part in parts if not list(PACKAGE.glob(part.replace(".", "/") + "*"))]
    assert not missing, f"MAY_IMPORT names what does not exist: {missing}"


def test_only_families_build_and_tools_see_the_config():
    readers = {relative(path) for path, modules in IMPORTS.items() if any("ml_collections" in m for m in modules)}
    readers.discard("mindvideo/config/load.py")
    outside = {
        path for path in readers if not path.startswith(("mindvideo/models/", "mindvideo/assembly/", "mindvideo/cli/"))
    }
    assert not outside
    takes_config = []
    for path in source_files():
        if room_of(path) in {"models", "assembly", "cli", "config"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                names = {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
                if names & {"cfg", "config", "args"}:
                    takes_config.append(f"{relative(path)}:{node.lineno} {node.name}")
    assert not takes_config, "\n".join(takes_config)


def test_one_family_never_imports_another():
    for path, modules in IMPORTS.items():
        place = relative(path).split("/")
        if place[1] == "models" and place[2] in FAMILIES:
            others = {f"mindvideo.models.{name}" for name in FAMILIES} - {f"mindvideo.models.{place[2]}"}
            wrong = [module for module in modules if ".".join(module.split(".")[:3]) in others]
            assert not wrong, f"{relative(path)} imports {wrong}"


def test_rooms_without_mindspore():
    offenders = [
        relative(path)
        for path, modules in IMPORTS.items()
        if room_of(path) in MINDSPORE_FREE_ROOMS
        and relative(path) not in MINDSPORE_EXCEPTIONS
        and any(module.split(".")[0] == "mindspore" for module in modules)
    ]
    assert not offenders


def test_torch_appears_nowhere_in_the_package():
    offenders = [
        relative(path)
        for path, modules in IMPORTS.items()
        if any(module.split(".")[0] in {"torch", "torchvision"} for module in modules)
    ]
    assert not offenders


def test_family_names_do_not_appear_in_shared_parts():
    pattern = re.compile(r"\b(vistr|defvistr|instanceformer|mssts|seqformer|gmpvis)\b", re.IGNORECASE)
    offenders = []
    for folder in ("modules/losses", "modules/matching", "modules/heads"):
        for path in (PACKAGE / folder).rglob("*.py"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                code = line.split("#", maxsplit=1)[0]
                if pattern.search(code):
                    offenders.append(f"{relative(path)}:{number}")
    assert not offenders, "\n".join(offenders)


def test_every_module_is_reachable_from_a_tool_or_a_family():
    reached: set[str] = set()
    pending = []
    for tool in (PROJECT / "tools").rglob("*.py"):
        pending += imported_modules(tool)
    pending += ["mindvideo.__main__", "mindvideo.assembly", *RUN_AS_MODULES]
    pending += [f"mindvideo.api.{home}" for home in set(api.HOMES.values())]  # loaded at first use
    pending += [f"mindvideo.assembly.{home}" for home in set(assembly.HOMES.values())]  # loaded at first use
    pending += [f"mindvideo.cli.{name}" for name in COMMANDS]
    pending += [f"{package}.{part}" for package in FAMILIES.values() for part in ("card", "settings")]
    pending += [f"mindvideo.config.sections.{path.stem}" for path in (PACKAGE / "config" / "sections").glob("*.py")]
    by_name = {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path for path in IMPORTS
    }
    while pending:
        name = pending.pop()
        parents = [".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 2)]
        for candidate in parents:
            if candidate in by_name and candidate not in reached:
                reached.add(candidate)
                pending += IMPORTS[by_name[candidate]]
    empty = {name for name, path in by_name.items() if path.name == "__init__.py"}
    unreached = sorted(set(by_name) - reached - empty - NOT_REACHED_YET)
    assert not unreached, "not reachable from any tool or family: " + ", ".join(unreached)


def test_files_and_functions_stay_short():
    problems = []
    for path in [*source_files(), *sorted((PROJECT / "tools").rglob("*.py"))]:
        text = path.read_text(encoding="utf-8")
        length = text.count("\n")
        if length > LONGEST_FILE and relative(path) not in LONG_FILES:
            problems.append(f"{relative(path)}: {length} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_FUNCTION and f"{relative(path)}:{node.name}" not in LONG_FUNCTIONS:
                    problems.append(f"{relative(path)}:{node.lineno} {node.name}: {lines} lines")
    assert not problems, "\n".join(problems)


def test_a_family_card_is_short():
    cards = {name: PACKAGE / "models" / name / "card.py" for name in FAMILIES}
    lengths = {name: path.read_text(encoding="utf-8").count("\n") for name, path in cards.items()}
    assert {name: length for name, length in lengths.items() if length > 150} == {}


def test_only_the_mask_room_codes_masks():
    users = {room_of(path) for path, modules in IMPORTS.items() if any(m.startswith("pycocotools") for m in modules)}
    assert users == {"masks", "structures"}  # the result type decodes its own masks


# room of mindvideo/data -> rooms of mindvideo/data it may import from
DATA_ROOMS_MAY_IMPORT = {
    "media": set(),
    "labels": {"media"},
    "transforms": {"media"},
    "clips": {"labels", "media", "transforms"},
    "feed": {"clips", "media", "transforms"},
    "synthetic": {"labels", "media"},
    "importers": {"labels", "media"},
    "exporters": {"labels", "media"},
}


def test_arrows_between_the_rooms_of_data_go_one_way():
    wrong = []
    for path in sorted((PACKAGE / "data").glob("*/*.py")):
        room = path.parent.name
        assert room in DATA_ROOMS_MAY_IMPORT, f"{relative(path)}: a new room; say what it may import"
        for module in imported_names(path):
            parts = module.split(".")
            if parts[:2] == ["mindvideo", "data"] and parts[2] != room and parts[2] not in DATA_ROOMS_MAY_IMPORT[room]:
                wrong.append(f"{relative(path)} imports {module}")
    assert not wrong, "\n".join(wrong)


def imported_names(path: Path) -> set[str]:
    """Every module of the package that a file names in an import, those for type checkers only included."""
    files = {module_name(path) for path in IMPORTS}
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {name if name in files else node.module for name in names}
    return modules & files


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """A way round for every import that leads back to its own module, each circle once."""
    found, finished = [], set()

    def visit(module: str, trail: list[str]) -> None:
        if module in trail:
            found.append([*trail[trail.index(module) :], module])
        elif module not in finished:
            for target in sorted(graph.get(module, ())):
                visit(target, [*trail, module])
            finished.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def test_no_import_leads_back_to_its_module():
    """Also none that only type checkers see: it says that two modules cannot be understood one after the other."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c", "a"]]
    graph = {module_name(path): imported_names(path) - {module_name(path)} for path in IMPORTS}
    found = [" -> ".join(circle) for circle in circles(graph) if not CIRCLES_UNDER_WORK & set(circle)]
    assert not found, "\n".join(found)
