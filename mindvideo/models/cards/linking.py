"""How the tracks of clip networks go on from window to window, by the key ``inference.linking``."""

from __future__ import annotations

from ml_collections import ConfigDict

from mindvideo.errors import UserError
from mindvideo.inference.match_record import MatchRecorder
from mindvideo.inference.trackers.linking import Linking, OverlapLinking
from mindvideo.inference.trackers.track_bank import Associate, TrackBank, associate_by_cosine


def linking_of(cfg: ConfigDict, *, graph: Associate | None = None) -> dict[str, Linking | MatchRecorder | None]:
    """The ``linking`` of a WindowTracker and its ``observer``; ``graph``: the association of a network that has one."""
    inference = cfg.inference
    if inference.linking == "overlap":
        return {"linking": OverlapLinking(min_similarity=inference.link_similarity), "observer": None}
    if inference.linking == "graph" and graph is None:
        raise UserError(
            f"inference.linking is graph, but family {cfg.family} matches no graphs; choose overlap or features, or "
            "family gmpvis"
        )
    recorder = MatchRecorder(inference.analysis_folder) if inference.analysis_folder else None
    bank = TrackBank(
        associate=graph if inference.linking == "graph" else associate_by_cosine,
        max_tracks=inference.bank_tracks,
        memory=inference.bank_memory,
        min_affinity=inference.min_affinity,
        observe=None if recorder is None else recorder.observe,
    )
    return {"linking": bank, "observer": recorder}
