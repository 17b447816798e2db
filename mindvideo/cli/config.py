"""``mindvideo config``: list configurations, explain keys, show a resolved file, write config/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mindvideo.assembly.configuration import load_config, schema
from mindvideo.cli.arguments import OneLineParser
from mindvideo.config.check import nearest_name
from mindvideo.config.headers import config_readme, read_header
from mindvideo.config.load import config_folder, dump_config, known_configs
from mindvideo.config.readers import find_readers
from mindvideo.config.schema import OPTIONAL_KEYS, TOP_LEVEL_KEYS, KeySpec
from mindvideo.errors import UserError
from mindvideo.files import write_text


def explain(name: str) -> str:
    """The meaning of a key, or of every key of a section."""
    if name in TOP_LEVEL_KEYS:
        return f"{name} (string, required): {TOP_LEVEL_KEYS[name]}"
    if name in OPTIONAL_KEYS:
        return f"{name} (string, default ''): {OPTIONAL_KEYS[name]}"
    sections = schema().sections
    section, _, key = name.partition(".")
    if section not in sections:
        raise UserError(
            f"no section or key '{name}' ({nearest_name(section, [*sections, *TOP_LEVEL_KEYS, *OPTIONAL_KEYS])})"
        )
    if not key:
        return "\n".join(_one_line(spec) for spec in sections[section].values())
    if key not in sections[section]:
        raise UserError(f"no key '{name}' ({nearest_name(key, sections[section])})")
    return _in_full(sections[section][key])


def _one_line(spec: KeySpec) -> str:
    return f"{spec.path} ({spec.type_name}, default {spec.default!r}): {spec.meaning}"


def _in_full(spec: KeySpec) -> str:
    lines = [
        spec.path,
        f"  meaning  {spec.meaning}",
        f"  type     {spec.type_name}",
        f"  default  {spec.default!r}",
    ]
    rules = spec.rules
    if rules.choices is not None:
        lines.append(f"  choices  {', '.join(str(choice) for choice in rules.choices)}")
    if rules.minimum is not None or rules.maximum is not None:
        low = "any" if rules.minimum is None else rules.minimum
        high = "any" if rules.maximum is None else rules.maximum
        lines.append(f"  range    {low} to {high}")
    families = [name for name in schema().families if schema().read_by(spec, name)]
    only = f", where {spec.section}.{rules.when.key} is {rules.when.words}" if rules.when else ""
    lines.append(f"  families {', '.join(families)}{only}")
    lines.append(f"  read by  {', '.join(find_readers(schema()).get(spec.path, ['nothing']))}")
    return "\n".join(lines)


def list_configs() -> str:
    return "\n".join(f"{name:28} {read_header(path)['What']}" for name, path in known_configs().items())


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="every configuration, one line each")
    action.add_argument("--explain", metavar="SECTION[.KEY]", help="meaning, type, default, range and readers")
    action.add_argument("--show", metavar="NAME", help="a configuration with bases, defaults and overrides applied")
    action.add_argument("--write-readme", action="store_true", help="make config/README.md from the files' headers")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE", help="for --show")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    if arguments.list:
        text = list_configs()
    elif arguments.explain:
        text = explain(arguments.explain)
    elif arguments.show:
        text = dump_config(load_config(arguments.show, arguments.overrides)).rstrip()
    else:
        write_text(config_folder() / "README.md", config_readme())
        text = f"wrote {config_folder() / 'README.md'}"
    sys.stdout.write(text + "\n")
    return 0
