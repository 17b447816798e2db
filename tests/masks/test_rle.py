"""Run-length codes against pycocotools, and hostile codes against a reader written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mindvideo.masks import native
from mindvideo.masks.overlap import BrokenMaskError, _overlap_compiled, _overlap_reference
from mindvideo.masks.rle import (
    decode_mask,
    empty_mask,
    encode_mask,
    has_pixels,
    mask_area,
    mask_box,
    mask_overlaps,
    pixel_box,
    unite_masks,
)
from mindvideo.masks.runs import decode_runs, first_broken, runs_fault, string_fault
from mindvideo.masks.sampling import sample_mask

HEIGHT, WIDTH = 5, 7
PIXELS = HEIGHT * WIDTH
needs_library = pytest.mark.skipif(native.native_sampling() is None, reason="the compiled library is not built")
READERS = [pytest.param("compiled", marks=needs_library), "reference"]
masks = st.builds(
    lambda seed, height, width, share: np.random.default_rng(seed).random((height, width)) < share,
    st.integers(0, 10_000),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]),
)
# Codes that a file may hold: any characters, those of codes only, and sound codes with one character changed.
hostile_codes = st.one_of(
    st.binary(max_size=12),
    st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=16).map(str.encode),
    st.builds(
        lambda seed, place, character: spoilt(seed, place, character),
        st.integers(0, 10_000),
        st.integers(0, 30),
        st.integers(0, 255),
    ),
)


def spoilt(seed: int, place: int, character: int) -> bytes:
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.5
    code = bytearray(encode_mask(mask)["counts"].encode())
    code[place % len(code)] = character
    return bytes(code)


def runs_by_hand(code: bytes) -> list[int] | None:
    """The runs of a code, one character after the other; None where a character or the end is wrong."""
    runs: list[int] = []
    place = 0
    while place < len(code):
        value = shift = 0
        while True:
            if place == len(code) or shift == 60 or not 48 <= code[place] < 112:
                return None
            bits = code[place] - 48
            place += 1
            value |= (bits & 31) << shift
            shift += 5
            if not bits & 32:
                break
        value -= (bits & 16 and 1) << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


def is_sound(code: bytes) -> bool:
    runs = runs_by_hand(code)
    return bool(runs) and min(runs) >= 0 and sum(runs) == PIXELS


@settings(max_examples=150, deadline=None)
@given(mask=masks)
def test_a_mask_and_back(mask: np.ndarray) -> None:
    rle = encode_mask(mask)
    assert rle == encode_mask(mask.astype(np.uint8)) == encode_mask(np.asfortranarray(mask))
    assert rle["counts"].encode() == coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
    np.testing.assert_array_equal(decode_mask(rle), mask)
    assert mask_area(rle) == mask.sum()
    assert has_pixels(rle) == mask.any()
    assert mask_box(rle) == pixel_box(mask)
    if mask.any():
        assert mask_box(rle) == coco_mask.toBbox(rle).tolist()


def test_an_empty_mask() -> None:
    rle = empty_mask((4, 6))
    assert rle["size"] == [4, 6]
    assert not decode_mask(rle).any()
    assert mask_box(rle) is None and not has_pixels(rle)


def test_runs_of_no_pixels_do_not_widen_the_box() -> None:
    """A run of length 0 may stand anywhere in a file's code; pycocotools counts a pixel for it."""
    rle = coco_mask.frPyObjects({"size": [4, 6], "counts": [3, 0, 6, 2, 13]}, 4, 6)
    assert mask_box(rle) == pixel_box(decode_mask(rle)) == [2.0, 1.0, 1.0, 2.0]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_united_and_compared(seed: int) -> None:
    pixels = np.random.default_rng(seed).random((3, HEIGHT, WIDTH)) < 0.4
    rles = [encode_mask(mask) for mask in pixels]
    np.testing.assert_array_equal(decode_mask(unite_masks(rles)), pixels.any(axis=0))
    common, united = (pixels[:, None] & pixels).sum((2, 3)), (pixels[:, None] | pixels).sum((2, 3))
    expected = np.divide(common, united, out=np.zeros((3, 3)), where=united > 0)
    np.testing.assert_allclose(mask_overlaps(rles), expected, atol=1e-12)


@pytest.mark.parametrize("reader_name", READERS)
@settings(max_examples=400, deadline=None)
@given(code=hostile_codes)
def test_hostile_codes_are_found_or_read_as_pycocotools_reads_them(reader_name: str, code: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if reader_name == "reference":
            for place in ("sampling.native_sampling", "runs.native_sampling", "overlap.native_overlap"):
                patch.setattr(f"mindvideo.masks.{place}", lambda: None)
        check_code(reader_name, code)


def check_code(reader_name: str, code: bytes) -> None:
    sound = is_sound(code)
    assert (string_fault(code, HEIGHT, WIDTH) is None) == sound
    assert first_broken([b"", code], PIXELS) == (None if sound or not code else 1)
    overlap = _overlap_compiled if reader_name == "compiled" else _overlap_reference
    other = encode_mask(np.indices((HEIGHT, WIDTH)).sum(0) % 3 == 0)
    arguments = ([[code]], [[other["counts"].encode()]], PIXELS, np.ones((1, 1), bool))
    if code and not sound:
        with pytest.raises(BrokenMaskError):
            overlap(*arguments)
    if not sound:
        return
    rle = {"size": [HEIGHT, WIDTH], "counts": code}
    expected = decode_mask(rle)
    sampled = np.zeros((HEIGHT, WIDTH), np.uint8)
    sample_mask(rle, np.arange(HEIGHT), np.arange(WIDTH), sampled)
    np.testing.assert_array_equal(sampled, expected)
    assert decode_runs(code).tolist() == runs_by_hand(code)
    assert runs_fault(runs_by_hand(code), HEIGHT, WIDTH) is None
    measured = overlap(*arguments)
    assert measured.detection_areas.item() == expected.sum()
    assert measured.intersections.item() == (expected & decode_mask(other)).sum()


@needs_library
@settings(max_examples=200, deadline=None)
@given(code=hostile_codes)
def test_no_reader_samples_a_damaged_code(code: bytes) -> None:
    if not is_sound(code):
        with pytest.raises(ValueError, match="do not cover its 5 x 7 pixels"):
            sample_mask(
                {"size": [HEIGHT, WIDTH], "counts": code},
                np.arange(HEIGHT),
                np.arange(WIDTH),
                np.zeros((HEIGHT, WIDTH), np.uint8),
            )


def test_enough_sound_codes_are_among_the_hostile_ones() -> None:
    """Else the comparison above would say nothing about the decoded pixels."""
    rng = np.random.default_rng(0)
    codes = [spoilt(int(rng.integers(10_000)), int(rng.integers(30)), int(rng.integers(48, 112))) for _ in range(3000)]
    assert sum(map(is_sound, codes)) > 30
