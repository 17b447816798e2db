"""The names of GMP-VIS's release, and VisTR's checkpoint as its start; no network is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from mindvideo.models.gmpvis.weights import gmpvis_tables
from mindvideo.weights.rules import best_plan, plan_leaving, plan_loading
from tests.weights.manifests import read_manifest

FRESH = {"head.class_embed", "queries", "node_embedding", "graph_matcher.cross_graph", "second_classes.classify"}


def names(golden: Path, manifest: str) -> list[str]:
    return [name for name, *_ in read_manifest(golden / manifest)[0]]


def parameters(golden: Path) -> list[str]:
    """Of the full network with its second classifier: what the release's file leads to."""
    published = gmpvis_tables(second_classes=True)[0]
    sources = names(golden, "gmpvis/r50_full.manifest.json")
    return [next(rule.target(source) for rule in published.rules if rule.target(source)) for source in sources]


def test_the_release_there_and_back(golden: Path) -> None:
    published, sources = gmpvis_tables(second_classes=True)[0], names(golden, "gmpvis/r50_full.manifest.json")
    found = parameters(golden)
    assert plan_loading(published, sources, found).is_complete
    links, nameless = plan_leaving(published, found)
    assert not nameless and {link.source for link in links} == set(sources)


def test_the_release_without_its_second_classifier(golden: Path) -> None:
    found = [name for name in parameters(golden) if not name.startswith("second_classes.")]
    plan = plan_loading(gmpvis_tables(second_classes=False)[0], names(golden, "gmpvis/r50_full.manifest.json"), found)
    assert plan.is_complete and plan.dropped == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("second_classes", [True, False])
def test_a_checkpoint_of_vistr_starts_all_but_the_matching(golden: Path, second_classes: bool) -> None:
    found = [name for name in parameters(golden) if second_classes or not name.startswith("second_classes.")]
    plan = best_plan(gmpvis_tables(second_classes=second_classes), names(golden, "vistr/r50_full.manifest.json"), found)
    assert plan.is_complete and plan.table.name == "vistr"
    expected = FRESH if second_classes else FRESH - {"second_classes.classify"}
    assert {name.rpartition(".")[0] for name in plan.fresh} == expected
    assert sorted(plan.dropped) == ["vistr.class_embed.bias", "vistr.class_embed.weight", "vistr.query_embed.weight"]
