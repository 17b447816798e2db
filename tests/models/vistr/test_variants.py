"""VisTR with another mask head and another backbone: a training step, a clip in portions, and a checkpoint's names.

No published configuration has them, so nothing is compiled: both run operator by operator.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindvideo import load_config
from mindvideo.models.vistr import card
from mindvideo.weights.rules import plan_loading

T, Q, K, N, H, W = 3, 5, 7, 4, 72, 40
SMALL = [
    f"data.num_frames={T}", f"data.num_classes={K}", f"data.max_instances={N}", f"vistr.num_queries={Q}",
    "vistr.query_anchors=[]", "vistr.width=24", "vistr.hidden=20", "vistr.encoder_layers=1", "vistr.decoder_layers=2",
    "vistr.mask_channels=8",
]  # fmt: skip
NO_ATTENTION = ["vistr.mask_head=dot_product", "vistr.mask_widths=null", "vistr.unit_maps=null"]
VARIANTS = {
    "dot_product": ["backbone.widths=[8, 16, 16, 24]", *NO_ATTENTION],
    "convnext": ["backbone.name=convnext_t", "backbone.norm=null", "backbone.trainable_stages=null"],
}


def batch() -> list[ms.Tensor]:
    rng = np.random.default_rng(0)
    exists = np.array([[1, 1, 1, 0]], bool)
    present = np.broadcast_to(exists[..., None], (1, N, T)).copy()
    present[0, 0, 1] = False
    masks = (rng.random((1, N, T, H, W)) < 0.2) & present[..., None, None]
    columns = [
        rng.integers(0, 256, (1, T, H, W, 3)).astype(np.uint8),
        np.array([[H, W - 8]], np.int32),
        rng.integers(1, K - 1, (1, N)).astype(np.int32) * exists,
        rng.uniform(0.2, 0.4, (1, N, T, 4)).astype(np.float32),
        masks.astype(np.uint8),
        present,
        exists,
    ]
    return [ms.Tensor(column) for column in columns]


@pytest.mark.usefixtures("operator_by_operator")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_step_reaches_every_parameter_and_portions_equal_the_whole(variant: str):
    ms.set_seed(2)
    cfg = load_config("vistr_toy", [*SMALL, *VARIANTS[variant]])
    network = card.build_network(cfg)
    training = card.build_training(cfg, network, nn.Identity())
    training.set_train(True)
    parameters = network.trainable_params()
    function = ms.value_and_grad(training, None, ms.ParameterTuple(parameters), has_aux=True)
    (total, terms), gradients = function(*batch())
    assert np.isfinite(total.asnumpy()) and np.isfinite(terms.asnumpy()).all()
    assert [p.name for p, g in zip(parameters, gradients) if not np.abs(g.asnumpy()).max() > 0] == []

    frames = ms.Tensor(np.random.default_rng(1).standard_normal((1, T, 3, H, W)).astype(np.float32))
    with cfg.unlocked():
        cfg.vistr.maps_per_portion = Q  # one frame at a time
    in_portions = card.portioned(cfg, network)(frames)
    whole = network(frames)
    assert whole[2].shape == (1, Q, T, -(-H // network.backbone.strides[0]), -(-W // network.backbone.strides[0]))
    for name, a, b in zip(("logits", "boxes", "masks"), whole, in_portions, strict=True):
        a, b = a.asnumpy(), b.asnumpy()
        np.testing.assert_allclose(b, a, rtol=0, atol=2e-4 * np.abs(a).max(), err_msg=name)


def test_the_image_models_file_starts_a_network_with_another_mask_head():
    cfg = load_config("vistr_toy", [*SMALL, *VARIANTS["dot_product"]])
    network = card.build_network(cfg)
    names = [name for name, _ in network.parameters_and_names()]
    tables = {table.name: table for table in card.weight_rules(cfg)}
    given = {
        "detr.class_embed.weight",
        "detr.query_embed.weight",
        "bbox_attention.q_linear.weight",
        "mask_head.lay1.weight",
    }
    plan = plan_loading(tables["coco_detr"], sorted(given), names)
    assert not plan.links, "nothing of the other mask head is put into this one"
    assert not any(name.startswith("mask_branch.") for name in plan.missing)
