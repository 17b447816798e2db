"""How the tracks of clip networks go on from window to window, by the key ``inference.linking``."""

from __future__ import annotations

from typing import TypedDict

from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.inference.match_record import MatchRecorder
from mindvideo.inference.trackers.linking import Linking, OverlapLinking
from mindvideo.inference.trackers.track_bank import Associate, TrackBank, associate_by_cosine


class LinkingParts(TypedDict):
    """A WindowTracker takes these besides."""

    linking: Linking
    observer: MatchRecorder | None


def linking_of(cfg: ConfigDict, *, graph: Associate | None = None) -> LinkingParts:
    """How tracks go on, and who watches; ``graph``: the association of a network that has one."""
    inference = cfg.inference
    if inference.linking == "overlap":
        return {"linking": OverlapLinking(min_similarity=inference.link_similarity), "observer": None}
    associate = graph if inference.linking == "graph" else associate_by_cosine
    if associate is None:
        raise UserError(
            f"inference.linking is graph, but family {cfg.family} matches no graphs; choose overlap or features, or "
            "family gmpvis"
        )
    recorder = MatchRecorder(inference.analysis_folder) if inference.analysis_folder else None
    bank = TrackBank(
        associate=associate,
        max_tracks=inference.bank_tracks,
        memory=inference.bank_memory,
        min_affinity=inference.min_affinity,
        observe=None if recorder is None else recorder.observe,
    )
    return {"linking": bank, "observer": recorder}
