"""Keys that had another name or place in an earlier version; a configuration with an old one gets the new name."""

from __future__ import annotations

# Old path -> new path. The old one must be gone from its section and the new one must exist; a test holds both.
RENAMED_KEYS: dict[str, str] = {
    "data.least_instances": "data.min_instances",
    "instanceformer.num_classes": "data.num_classes",
    "instanceformer.channels": "instanceformer.width",
    "instanceformer.feedforward": "instanceformer.hidden",
    "seqformer.num_classes": "data.num_classes",
    "seqformer.channels": "seqformer.width",
    "seqformer.feedforward": "seqformer.hidden",
    "vistr.num_frames": "data.num_frames",
    "vistr.num_classes": "data.num_classes",
    "vistr.num_slots": "vistr.num_queries",
    "vistr.ffn_width": "vistr.hidden",
    "vistr.slot_anchors": "vistr.query_anchors",
    "vistr.positions_in_tokens": "vistr.position_in_tokens",
    "defvistr.num_frames": "data.num_frames",
    "defvistr.num_classes": "data.num_classes",
    "defvistr.num_slots": "defvistr.num_queries",
    "defvistr.tokens_per_slot": "defvistr.tokens_per_query",
    "defvistr.encoder_ffn_width": "defvistr.encoder_hidden",
    "defvistr.decoder_ffn_width": "defvistr.decoder_hidden",
    "defvistr.slot_anchors": "defvistr.query_anchors",
    "inference.most_overlap": "inference.max_overlap",
}


def renaming(path: str) -> str | None:
    """The line about a key that is called otherwise now; None for any other."""
    return f"{path} is now called {RENAMED_KEYS[path]}" if path in RENAMED_KEYS else None
