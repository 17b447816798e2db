"""The names of GMP-VIS's released code, and of the models that its training starts from."""

from __future__ import annotations

from mindvideo.weights.backbone_rules import imagenet_table
from mindvideo.weights.dense_clip_rules import CLASS_HEAD, coco_table, image_rules, video_rules
from mindvideo.weights.rules import Rule, RuleTable

PREFIX = "vistr."
# Parameters that VisTR lacks.
MATCHING = (r"node_embedding\..*", r"graph_matcher\..*", r"second_classes\..*")
QUERIES = r"queries\..*"


def gmpvis_tables(*, second_classes: bool) -> list[RuleTable]:
    """The released code's layout, VisTR's checkpoints as the paper's start, the image model's, an ImageNet backbone."""
    published = RuleTable(
        "published",
        (
            *image_rules(PREFIX),
            *video_rules(PREFIX),
            Rule(r"gmm\.(cross_graph\..*)", r"graph_matcher.\1"),
            Rule(r"proposal2matching\.(.*)", r"node_embedding.\1"),
            # The release has the second classifier in every file, trained or not.
            Rule(r"fc\.(.*)", r"second_classes.classify.\1") if second_classes else Rule(r"fc\..*", None),
        ),
        describes="a checkpoint of GMP-VIS's released code",
        class_heads=(CLASS_HEAD, r"second_classes\..*"),
    )
    # PARITY(gmpvis): the released training drops classes and queries of VisTR's file: its queries are of 36 frames.
    replaced = (Rule(r"vistr\.(?:class_embed\..*|query_embed\.weight)", None),)
    kept = tuple(rule for rule in video_rules(PREFIX) if rule.replacement and "embed" not in rule.pattern)
    vistr = RuleTable(
        "vistr",
        (*replaced, *image_rules(PREFIX), *kept),
        describes="VisTR's published checkpoint",
        fresh=(CLASS_HEAD, QUERIES, *MATCHING),
    )
    coco = [coco_table(prefix, own_masks=False, fresh=MATCHING) for prefix in ("detr.", "vistr.")]
    return [published, vistr, *coco, imagenet_table("backbone.")]
