"""Completion of commands, options and configuration names in a shell.

  mindvideo completion bash    a script for the end of ~/.bashrc
  mindvideo completion zsh     for the end of ~/.zshrc
  mindvideo completion fish    for ~/.config/fish/completions/mindvideo.fish

The script knows the options itself and starts no Python while you type; names of configurations and of published
weights are those of this installation. Write it again after an update.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
from collections.abc import Sequence

from mindvideo.cli.arguments import EXIT_OK, OneLineParser
from mindvideo.config import known_configs
from mindvideo.errors import UserError
from mindvideo.weights.published import read_catalogue

SHELLS = ("bash", "zsh", "fish")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][\w-]*")

BASH = """\
_mindvideo() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
  if [ "$COMP_CWORD" = 1 ]; then words="{commands}"
  else
    case "$before" in
      -c|--config|--model|--base) words="{configs}" ;;
      --weights) words="{weights}" ;;
    esac
    if [ -z "$words" ] && [[ "$word" = -* ]]; then
      case "${{COMP_WORDS[1]}}" in
{cases}
      esac
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if [ -z "$words" ] || [ "$before" = --weights ]; then COMPREPLY+=($(compgen -f -- "$word")); fi
}}
complete -o filenames -F _mindvideo mindvideo
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shell", choices=SHELLS)
    return parser.parse_args(arguments)


def main() -> int:
    from mindvideo.cli import COMMANDS

    options = {name: options_of(name) for name in COMMANDS}
    print(script(parse_arguments().shell, options, COMMANDS), end="")
    return EXIT_OK


def options_of(command: str) -> list[str]:
    """The options that the command's help names."""
    said = io.StringIO()
    try:
        module = importlib.import_module(f"mindvideo.cli.{command}")
        with contextlib.redirect_stdout(said):
            module.parse_arguments(["--help"])
    except (SystemExit, UserError, ModuleNotFoundError):
        pass  # help ends the parser; an extra that is not installed has no options to complete
    listed = [line for line in said.getvalue().splitlines() if line.lstrip().startswith("-")]
    return sorted({option for line in listed for option in _OPTION.findall(line.split("   ")[0])})


def script(shell: str, options: dict[str, list[str]], purposes: dict[str, str]) -> str:
    configs, weights = sorted(known_configs()), sorted(read_catalogue())
    if shell == "fish":
        return _fish(options, purposes, configs, weights)
    cases = "\n".join(f'        {name}) words="{" ".join(known)}" ;;' for name, known in options.items())
    bash = BASH.format(commands=" ".join(options), configs=" ".join(configs), weights=" ".join(weights), cases=cases)
    return bash if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{bash}"


def _fish(options: dict[str, list[str]], purposes: dict[str, str], configs: list[str], weights: list[str]) -> str:
    lines = []
    for name, known in options.items():
        purpose = purposes[name].replace("'", "\\'")
        lines.append(f"complete -c mindvideo -f -n __fish_use_subcommand -a {name} -d '{purpose}'")
        for option in known:
            kind = "l" if option.startswith("--") else "s"
            given = {"--config": configs, "-c": configs, "--model": configs, "--weights": weights}.get(option)
            values = f" -x -a '{' '.join(given)}'" if given else ""
            here = f"-n '__fish_seen_subcommand_from {name}'"
            lines.append(f"complete -c mindvideo {here} -{kind} {option.lstrip('-')}{values}")
    return "\n".join(lines) + "\n"
