"""Parts of InstanceFormer against plain numpy, and the mistakes that its configuration refuses."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops

from mindvideo import load_config
from mindvideo.errors import UserError
from mindvideo.models.instanceformer import card
from mindvideo.models.instanceformer.inference import reference_to_carry
from mindvideo.models.instanceformer.memory import remember_tokens
from mindvideo.models.instanceformer.network import REFERENCE_PROPAGATIONS, InstanceFormer
from mindvideo.models.instanceformer.training import identities, mix_clips
from mindvideo.modules.heads.dynamic_mask import HIDDEN, DynamicMasks, double_aligned, parameter_count
from mindvideo.modules.losses.contrastive import supervised_contrastive
from mindvideo.modules.values import Predictions, Targets


@pytest.fixture(autouse=True)
def step_by_step():
    """These are many small calls: compiling each would take longer than running it."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("stride", [8, 4])
def test_dynamic_masks_run_each_querys_own_network(stride):
    F, N, c, H, W = 2, 3, 2, 3, 5
    features, references = random(F, c, H, W), random(F, N, 2, seed=1) * 10
    parameters = random(F, N, parameter_count(c), seed=2)
    masks = DynamicMasks(feature_channels=c, stride=stride)(
        *map(ms.Tensor, (features, parameters, references))
    ).asnumpy()
    assert masks.shape == (F, N, 2 * H, 2 * W)
    f, n, i, j = 1, 2, 2, 3
    w1, w2, w3, b1, b2, b3 = np.split(
        parameters[f, n], np.cumsum([HIDDEN * (c + 2), HIDDEN**2, HIDDEN, HIDDEN, HIDDEN])
    )
    offset = references[f, n] - (stride * j + stride // 2, stride * i + stride // 2)
    x = np.concatenate([offset, features[f, :, i, j]])
    x = np.maximum(w1.reshape(HIDDEN, c + 2) @ x + b1, 0)
    x = np.maximum(w2.reshape(HIDDEN, HIDDEN) @ x + b2, 0)
    assert masks[f, n, 2 * i + 1, 2 * j + 1] == pytest.approx((w3 @ x + b3)[0], rel=1e-4)


def test_doubling_keeps_values_at_odd_places_and_means_between():
    x = random(1, 1, 3, 4)
    doubled = double_aligned(ms.Tensor(x)).asnumpy()[0, 0]
    np.testing.assert_array_equal(doubled[1::2, 1::2], x[0, 0])
    assert doubled[0, 0] == x[0, 0, 0, 0]
    assert doubled[2, 4] == pytest.approx(x[0, 0, :2, 1:3].mean(), rel=1e-5)


def test_memory_fills_up_and_then_forgets_the_oldest():
    stored = ms.Tensor(np.zeros((1, 2, 1, 1), np.float32))
    seen = []
    for frame in range(4):
        tokens = ms.Tensor(np.full((1, 1, 1), frame + 1, np.float32))
        stored = remember_tokens(stored, tokens, ms.Tensor(frame, ms.int32))
        seen.append(stored.asnumpy().reshape(-1).tolist())
    assert seen == [[1, 0], [1, 2], [2, 3], [3, 4]]


def test_fillers_share_one_identity():
    chosen, matched = ms.Tensor([[2, 5, 7]], ms.int32), ms.Tensor([[5, -1]], ms.int32)
    assert identities(chosen, matched).asnumpy().tolist() == [[-1, 5, -1]]


def test_mixed_clips_read_the_same_memory_in_another_order():
    tokens = np.arange(2 * 3, dtype=np.float32).reshape(2, 3, 1)
    assert mix_clips(ms.Tensor(tokens)).asnumpy()[:, :, 0].tolist() == [[0, 2, 4], [1, 3, 5]]


def test_an_identity_without_a_second_sample_adds_nothing_and_is_finite():
    features = random(1, 3, 4)
    paired = supervised_contrastive(ms.Tensor(features), ms.Tensor([[1, 2, 1]], ms.int32)).asnumpy()
    lonely = supervised_contrastive(ms.Tensor(features), ms.Tensor([[1, 2, 3]], ms.int32)).asnumpy()
    assert paired[0] > 1.0 and lonely[0] == 0


def test_clip_matching_looks_only_at_frames_with_the_instance():
    boxes = np.full((1, 1, 2, 2, 4), 0.2, np.float32)
    boxes[0, 0, 1] = 0.6  # query 1 sits where the instance is in frame 1; in frame 0 nobody asks
    predictions = Predictions(logits=ms.Tensor(np.zeros((1, 1, 2, 2, 3), np.float32)), boxes=ms.Tensor(boxes))
    target_boxes = np.full((1, 1, 2, 4), 0.2, np.float32)
    target_boxes[0, 0, 1] = 0.6
    matcher = card.build_matcher(load_config("instanceformer_toy", ["instanceformer.match_on=clip"]))
    for present, query in (([False, True], 1), ([True, False], 0)):
        shown = ms.Tensor(np.asarray([[present]]))
        targets = Targets(
            labels=ms.Tensor([[1]], ms.int32), boxes=ms.Tensor(target_boxes), present=shown, exists=ms.Tensor([[True]])
        )
        assert matcher(predictions, targets).asnumpy().tolist() == [[[query]]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["instanceformer.width=48"], "width is 48; it must be a multiple of 32"),
        (["instanceformer.memory_tokens=3"], "memory_frames must be 2 or more"),
        (["instanceformer.memory_tokens=301", "instanceformer.memory_frames=2"], "only 300 queries to remember"),
        (["instanceformer.contrastive_weight=1"], "set instanceformer.memory_tokens"),
        (["instanceformer.extra_levels=0", "instanceformer.backbone_levels=[2,3]"], "give 2 levels; the masks need 3"),
        (
            ["instanceformer.memory_tokens=3", "instanceformer.memory_frames=2", "instanceformer.match_on=clip"],
            "match_on=clip needs",
        ),
        (["data.buckets=[[320,580]]"], r"data.buckets has \[\[320, 580\]\]: the finest map has cells of 8 pixels"),
        (
            ["data.buckets=[[328,584]]", "instanceformer.backbone_levels=[2,3]"],
            r"data.buckets has \[\[328, 584\]\]: the finest map has cells of 16 pixels",
        ),
        (["instanceformer.inference_propagation=box"], "inference_propagation must be 'same'"),
    ],
)
def test_settings_that_contradict_each_other_are_named(overrides, message):
    with pytest.raises(UserError, match=message):
        card.check(load_config("instanceformer_ytvis2021_r50", overrides))


@pytest.mark.parametrize("propagation", REFERENCE_PROPAGATIONS)
def test_a_query_that_begins_anew_starts_from_its_own_reference(propagation):
    width = 4 if propagation == "box" else 2
    own = np.random.default_rng(0).normal(size=(5, width)).astype(np.float32)
    carried = ms.Tensor(reference_to_carry(own, propagation))
    reference = ops.sigmoid(ms.Tensor(own))
    started = InstanceFormer.propagate(None, carried, reference, propagation)
    np.testing.assert_allclose(started.asnumpy(), reference.asnumpy(), rtol=1e-5)
