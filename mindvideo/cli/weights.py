"""Published weights: what there is, what is in the cache folder, and how to get the rest.

  mindvideo weights                          the table; --family NAME and --complete make it shorter
  mindvideo weights show vistr_r50           everything that is known of one
  mindvideo weights get videomt_ytvis2019_s  download it, or say which page to open and where to put the file
  mindvideo weights where                    the cache folder and what is in it

Every --weights takes such a name, and hf:owner/repository or hf:owner/repository/file.pth where huggingface_hub is
installed. MINDVIDEO_CACHE names another cache folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence

from mindvideo.cli.arguments import EXIT_OK, OneLineParser
from mindvideo.config.check import nearest_name
from mindvideo.errors import UserError, printable
from mindvideo.models.registry import FAMILIES
from mindvideo.weights.find import HUB, find_weights
from mindvideo.weights.published import PublishedWeights, read_catalogue, weights_folder

ACTIONS = ("list", "show", "get", "where")
UNKNOWN = "not stated"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", default="list", choices=ACTIONS)
    parser.add_argument("name", nargs="?", metavar="NAME", help="published weights, for show and get")
    parser.add_argument("--family", choices=sorted(FAMILIES), help="only what this family loads")
    parser.add_argument("--complete", action="store_true", help="only whole models, without what starts a training")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    if given.action in ("show", "get") and given.name is None:
        raise UserError(f"{given.action} needs a name; mindvideo weights lists them")
    return given


def main() -> int:
    arguments = parse_arguments()
    if arguments.action == "where":
        print(where())
    elif arguments.action == "get":
        known = arguments.name in read_catalogue() or arguments.name.startswith(HUB)
        print(find_weights(arguments.name) if known else entry(arguments.name).place)
    elif arguments.action == "show":
        shown = facts(entry(arguments.name))
        print(json.dumps(shown, indent=2) if arguments.json else in_lines(shown))
    else:
        chosen = [
            each
            for each in read_catalogue().values()
            if (arguments.family is None or arguments.family in each.families)
            and (each.configuration is not None or not arguments.complete)
        ]
        print(json.dumps([facts(each) for each in chosen], indent=2) if arguments.json else table(chosen))
    return EXIT_OK


def entry(name: str) -> PublishedWeights:
    catalogue = read_catalogue()
    if name not in catalogue:
        raise UserError(f"no published weights '{printable(name)}' ({nearest_name(name, catalogue)})")
    return catalogue[name]


def facts(each: PublishedWeights) -> dict[str, object]:
    """Everything that is known, and where the file is if it is here."""
    return {**dataclasses.asdict(each), "in_cache": str(each.place) if each.place.is_file() else None}


def in_lines(shown: dict[str, object]) -> str:
    lines = []
    for name, value in shown.items():
        if isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        absent = "no" if name == "in_cache" else "a person's click is needed" if name == "url" else UNKNOWN
        if name != "note" or value:
            lines.append(f"{name:<14} {absent if value is None else value}")
    return "\n".join(lines)


def table(entries: Sequence[PublishedWeights]) -> str:
    rows = [("name", "configuration", "data", "AP", "how", "here")]
    for each in entries:
        ap = "-" if each.ap is None else f"{each.ap:.1f}"
        use = each.configuration or f"a start for {', '.join(each.families)}"
        how = "download" if each.url else "by hand"
        rows.append((each.name, use, each.dataset, ap, how, "yes" if each.place.is_file() else "no"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join([*lines, "", "AP as its publisher states it. mindvideo weights show NAME tells the rest."])


def where() -> str:
    folder = weights_folder()
    files = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    listed = "\n".join(f"  {path.stat().st_size / 1e6:9.1f} MB  {path.name}" for path in files)
    return f"{folder}: {f'{len(files)} files' if files else 'nothing yet'}" + (f"\n{listed}" if listed else "")
