"""Which configuration and which weights are meant, where only one of them is given, or neither."""

from __future__ import annotations

from pathlib import Path

from mindvideo.config import known_configs
from mindvideo.errors import UserError
from mindvideo.run_folder import KEPT_WEIGHTS, RESOLVED_CONFIG
from mindvideo.weights.checkpoint_file import open_checkpoint
from mindvideo.weights.find import find_weights, published_file
from mindvideo.weights.published import PublishedWeights, published_for, read_catalogue

# The smallest published model that can be downloaded without a person's click.
DEFAULT_MODEL = "videomt_ytvis2019_s"


def choose_model(name: str, weights: str | None, *, needs_weights: bool = True) -> tuple[str, Path | None]:
    """(configuration, file of weights).

    ``name`` is a configuration, a YAML file or published weights. Without weights the published ones of the
    configuration are taken, where ``needs_weights``.
    """
    entry = None if is_configuration(name) else read_catalogue().get(name)
    if entry is not None and entry.configuration is None:
        raise UserError(f"{name}: these weights only start a training; give a configuration and --weights {name}")
    configuration = entry.configuration if entry is not None and entry.configuration else name
    if weights is not None:
        return configuration, find_weights(weights)
    if not needs_weights:
        return configuration, None
    return configuration, published_file(entry or only_published(configuration))


def configuration_for(weights: str | None) -> str:
    """The configuration where only the weights are given, or not even those."""
    if weights is None:
        return DEFAULT_MODEL
    entry = entry_of(weights)
    return entry.configuration if entry and entry.configuration else configuration_of(find_weights(weights))


def is_configuration(name: str) -> bool:
    return Path(name).is_file() or name in known_configs()


def entry_of(weights: str) -> PublishedWeights | None:
    """The catalogue's entry of that name or file."""
    catalogue = read_catalogue()
    return catalogue.get(weights) or next((e for e in catalogue.values() if e.file == Path(weights).name), None)


def only_published(configuration: str) -> PublishedWeights:
    """The published weights of a configuration."""
    found = published_for(Path(configuration).stem if Path(configuration).is_file() else configuration)
    if not found and not is_configuration(configuration):
        raise UserError(
            f"'{configuration}' is neither a configuration ('mindvideo config --list') nor published weights "
            "('mindvideo weights')"
        )
    if not found:
        raise UserError(
            f"no weights are published for {configuration}: give those of a training with --weights RUN/last.ckpt"
        )
    return found[0]


def configuration_of(weights: Path) -> str:
    """The configuration that a file of weights is for: its run's, the one it was converted for, or the one it fits."""
    for folder in (weights.parent, weights.parent.parent):
        if (folder / RESOLVED_CONFIG).is_file() and (folder == weights.parent or weights.parent.name == KEPT_WEIGHTS):
            return str(folder / RESOLVED_CONFIG)
    file = open_checkpoint(weights)
    named = file.provenance.get("configuration")
    if isinstance(named, str) and named in known_configs():
        return named
    from mindvideo.assembly.checkpoints import configs_that_fit  # loads MindSpore

    found = configs_that_fit(file)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"weights {weights}: they fit no configuration of ours; say with -c which one they are for")
    raise UserError(f"weights {weights}: they fit {', '.join(found)}; choose one with -c")
