"""Deformable DETR, trained on COCO, as a start for the video models that are built on it."""

from __future__ import annotations

from collections.abc import Sequence

from mindvideo.weights.deformable_rules import deformable_rules
from mindvideo.weights.rules import Rule, RuleTable, Shapes

DECODER_LAYER = r"transformer\.decoder\.layers\.(\d+)\."
TWO_STAGE = "transformer.enc_output.weight"  # an entry that only a two-stage detector has


def deformable_detr_table(decoder_rules: Sequence[Rule], *, fresh: Sequence[str]) -> RuleTable:
    """Everything of the detector but its classes and queries, which are of another list and number.

    With or without box refinement; a two-stage detector has queries of another kind and does not fit.
    ``decoder_rules``: where the family puts the entries of DECODER_LAYER; ``fresh``: what else it has.
    """
    return RuleTable(
        "coco_deformable_detr",
        (*deformable_rules(""), *decoder_rules, Rule(r"(?:class_embed\..*|query_embed\.weight)", None)),
        describes="Deformable DETR trained on COCO",
        fresh=(r"(?:class_embed|controller|mask_features)\..*", "query_embed", *fresh),
        diagnose=_two_stage,
    )


def _two_stage(shapes: Shapes) -> str | None:
    if TWO_STAGE not in shapes:
        return None
    return (
        "it is a two-stage Deformable DETR, whose queries come from its encoder, while these models have queries of "
        "their own: take the file of a Deformable DETR of one stage, with or without box refinement"
    )
