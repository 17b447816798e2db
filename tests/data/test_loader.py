"""The clips that reach training: the same for any number of workers, parted by ranks, resumable, and padded."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from mindvideo.data.clips.assemble import ClipSettings, training_clips
from mindvideo.data.clips.training import JointClips, TrainingClips
from mindvideo.data.feed.batch import Canvas, Collate, Layout
from mindvideo.data.feed.epoch_order import EpochOrder
from mindvideo.data.feed.loader import BatchSource, load_loader
from mindvideo.data.feed.maker import BatchMaker
from mindvideo.data.feed.shared_columns import SharedColumns, open_shared_memory
from mindvideo.data.feed.worker_pool import WorkerError, WorkerPool, max_workers
from mindvideo.data.labels.catalogue import Catalogue
from mindvideo.data.transforms.pipelines import AugmentationSettings
from mindvideo.errors import UserError
from mindvideo.structures.clip import ClipBatch

AUGMENTATION = AugmentationSettings(
    name="resize_or_crop", short_sides=(48, 56, 64), max_long_side=96, crop_short_sides=(64, 80), crop_range=(40, 60)
)
COLLATE = Collate(canvas=Canvas(buckets=[(96, 96)]), max_instances=4, box_minimum=1e-6)
Batch = tuple[np.ndarray, ...]


def settings(**changes: object) -> ClipSettings:
    chosen = {"num_frames": 3, "clip_rule": "reference_frames", "augmentation": AUGMENTATION, **changes}
    return ClipSettings(**chosen)


@pytest.fixture(scope="module")
def clips(shapes_set: Path) -> TrainingClips | JointClips:
    return training_clips(["synthetic_easy/train"], catalogue=Catalogue(root=shapes_set.parent), settings=settings())


@pytest.fixture(scope="module")
def every_clip(shapes_set: Path) -> TrainingClips | JointClips:
    """Nothing is cropped, so no clip is replaced by another."""
    chosen = settings(augmentation=AugmentationSettings(name="toy"), min_instances=0)
    return training_clips(["synthetic_easy/train"], catalogue=Catalogue(root=shapes_set.parent), settings=chosen)


def source(clips: TrainingClips, *, workers: int = 0, batch_size: int = 3, **changes: object) -> BatchSource:
    order = EpochOrder(num_samples=len(clips), batch_size=batch_size, seed=5, **changes)
    maker = BatchMaker(clips=clips, collate=COLLATE, seed=5)
    return BatchSource(order=order, maker=maker, num_workers=workers, start=(0, 0))


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for given, expected in zip(first, second):
        for a, b in zip(given, expected):
            np.testing.assert_array_equal(a, b)


def test_any_number_of_workers_gives_the_same_epochs(clips: TrainingClips) -> None:
    here, one, four = (source(clips, workers=workers) for workers in (0, 1, 4))
    for _ in range(2):  # two epochs: the processes stay, the clips differ
        expected = list(here)
        assert len(expected) == 12 * 6 // 3
        assert_same(list(one), expected)
        assert_same(list(four), expected)
    one.pool.close()
    four.pool.close()


def test_mindspore_hands_the_same_batches_on(clips: TrainingClips) -> None:
    dataset = load_loader(clips, collate=COLLATE, batch_size=3, seed=5, num_workers=1)
    assert dataset.get_dataset_size() == 24
    for _ in range(2):
        given = list(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))
        source_epoch = dataset.batch_source.epoch - 1
        expected = source(clips)
        expected.seek(source_epoch)
        assert_same(given, list(expected))
    dataset.batch_source.pool.close()


def test_epochs_differ_in_order_and_draws(every_clip: TrainingClips) -> None:
    made = source(every_clip)
    first, second = list(made), list(made)
    names = [np.concatenate([batch[7] for batch in epoch]) for epoch in (first, second)]
    assert not np.array_equal(*names)
    assert np.array_equal(*(np.unique(n, axis=0) for n in names))


def test_a_resumed_run_sees_what_it_would_have_seen(clips: TrainingClips) -> None:
    whole = source(clips)
    epochs = [list(whole), list(whole)]
    resumed = source(clips)
    resumed.seek(0, 20)
    assert_same(list(resumed), epochs[0][20:])
    assert_same(list(resumed), epochs[1])
    resumed.seek(0, 24)  # the end of an epoch is the start of the next
    assert_same(list(resumed), epochs[1])


def test_two_shards_part_the_epoch(clips: TrainingClips) -> None:
    whole = list(source(clips))
    parts = [list(source(clips, shard=(rank, 2))) for rank in range(2)]
    assert [len(part) for part in parts] == [12, 12]
    dealt = [batch for pair in zip(*parts) for batch in pair]
    assert_same(dealt, whole)


def test_a_clip_does_not_depend_on_its_batch(every_clip: TrainingClips) -> None:
    by_clip = {tuple(batch[7][0]): batch for batch in source(every_clip, batch_size=1)}
    for batch in list(source(every_clip, batch_size=4))[:3]:
        for b, name in enumerate(batch[7]):
            for column, alone in zip(batch, by_clip[tuple(name)]):
                np.testing.assert_array_equal(column[b], alone[0])


def test_columns_are_a_valid_batch_with_padding(clips: TrainingClips) -> None:
    batch = ClipBatch(*next(iter(source(clips))))
    assert batch.images.shape == (3, 3, 96, 96, 3)
    for b, (height, width) in enumerate(batch.sizes):
        assert not batch.images[b, :, height:].any() and not batch.images[b, :, :, width:].any()
        assert not batch.masks[b, :, :, height:].any() and not batch.masks[b, :, :, :, width:].any()
        count = int(batch.exists[b].sum())
        assert count >= 1 and batch.exists[b, :count].all()
        assert (batch.labels[b, :count] > 0).all() and not batch.labels[b, count:].any()
        assert (batch.boxes[b, :count] >= np.float32(1e-6)).all() and not batch.boxes[b, count:].any()
        assert not batch.masks[b, count:].any()


def test_order_groups_shapes_and_leaves_nothing_twice() -> None:
    groups = [0] * 10 + [1] * 7
    order = EpochOrder(num_samples=17, batch_size=4, seed=0, groups=groups)
    batches = order.batches(3)
    assert batches.shape == (4, 4)
    assert len(np.unique(batches)) == 16
    mixed = sum(len({groups[i] for i in batch}) > 1 for batch in batches)
    assert mixed <= 1
    with pytest.raises(UserError, match="3 samples do not fill one batch of 2 on each of 2 processes"):
        EpochOrder(num_samples=3, batch_size=2, seed=0, shard=(0, 2))


def test_buckets_smallest_that_fits() -> None:
    canvas = Canvas(buckets=[(544, 320), (320, 544), (544, 544)])
    assert canvas.size_for([(300, 533)]) == (320, 544)
    assert canvas.size_for([(533, 300)]) == (544, 320)
    assert canvas.size_for([(300, 533), (533, 300)]) == (544, 544)
    assert Canvas(buckets=[]).size_for([(300, 533)]) == (320, 544)
    with pytest.raises(UserError, match="no bucket holds clips of 600 x 300"):
        canvas.size_for([(600, 300)])


@pytest.mark.parametrize("stride", [2, 4])
def test_masks_at_a_stride_are_a_choice_of_the_pixels(clips: TrainingClips, stride: int) -> None:
    """Whether the masks were made before (a transform looked at them) or not."""
    whole, strided = (Collate(canvas=Canvas(buckets=[(98, 99)]), max_instances=4, mask_stride=s) for s in (1, stride))
    for index in range(3):
        clip, _ = clips.sample(index, np.random.default_rng(index))
        expected = whole([clip]).masks[..., stride // 2 :: stride, stride // 2 :: stride]
        assert expected.any()
        np.testing.assert_array_equal(strided([clip]).masks, expected)
        fresh, _ = clips.sample(index, np.random.default_rng(index))
        np.testing.assert_array_equal(strided([fresh]).masks, expected)


def test_more_instances_than_places_keeps_the_largest(clips: TrainingClips) -> None:
    index = max(range(len(clips)), key=lambda i: len(clips.source.clip(i, np.random.default_rng(0)).labels))
    clip = clips.source.clip(index, np.random.default_rng(0))
    areas = clip.masks.pixels().sum(axis=(1, 2, 3))
    assert clip.num_instances > 2
    batch = Collate(canvas=Canvas(buckets=[]), max_instances=2)([clip])
    assert sorted(batch.masks[0].sum(axis=(1, 2, 3))) == sorted(np.sort(areas)[-2:])


@pytest.fixture
def damaged(shapes_set: Path, tmp_path: Path) -> Path:
    """The training set with one frame cut short, one missing and one of another size."""
    import shutil

    from PIL import Image

    root = tmp_path / "synthetic_easy"
    shutil.copytree(shapes_set, root)
    frames = root / "train/JPEGImages"
    cut = frames / "00000/00002.jpg"
    cut.write_bytes(cut.read_bytes()[:800])
    (frames / "00001/00000.jpg").unlink()
    Image.new("RGB", (40, 30)).save(frames / "00002/00005.jpg")
    return tmp_path


def test_broken_frames_are_named_counted_and_passed_over(damaged: Path, caplog: pytest.LogCaptureFixture) -> None:
    loose = training_clips(["synthetic_easy/train"], catalogue=Catalogue(root=damaged), settings=settings())
    made = source(loose, workers=2)
    with caplog.at_level(logging.WARNING, logger="mindvideo.data"):
        batches = list(made)
    made.pool.close()
    assert len(batches) == 24
    told = "\n".join(caplog.messages)
    for name, reason in (
        ("00000/00002.jpg", "decoded"),
        ("00001/00000.jpg", "No such file"),
        ("00002/00005.jpg", "30 x 40"),
    ):
        assert any(name in line and reason in line for line in caplog.messages), told
    assert made.skipped >= len(caplog.messages) >= 3
    # A replacement is part of the plan too: another run meets the same clips.
    assert_same(list(source(loose)), batches)


def test_strict_stops_at_the_first_broken_frame(damaged: Path) -> None:
    strict = training_clips(["synthetic_easy/train"], catalogue=Catalogue(root=damaged), settings=settings(strict=True))
    for workers in (0, 1):
        made = source(strict, workers=workers)
        with pytest.raises(UserError, match=r"\.jpg.*data\.strict is on"):
            list(made)
        made.pool.close()


class _Failing:
    """Stands for a mistake of ours inside a worker."""

    def make(self, epoch: int, indices: np.ndarray, columns_for: object) -> None:
        raise ZeroDivisionError("on purpose")


def test_a_failing_worker_shows_its_traceback() -> None:
    pool = WorkerPool(maker=_Failing(), num_workers=1)
    with pytest.raises(WorkerError, match="(?s)data worker 0 failed.*on purpose"):
        list(pool.run([(0, np.arange(2))]))


def test_more_workers_than_a_machine_can_use_are_refused() -> None:
    with pytest.raises(UserError, match=r"data.workers is 100000; at most \d+ make sense on \d+ processor cores"):
        WorkerPool(maker=_Failing(), num_workers=100_000)
    assert max_workers() >= 16
    assert WorkerPool(maker=_Failing(), num_workers=max_workers()).num_workers == max_workers()


def test_workers_that_cannot_start_end_those_that_did(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen] = []
    start = subprocess.Popen

    def start_two(*arguments: object, **options: object) -> subprocess.Popen:
        if len(started) == 2:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start_two)
    pool = WorkerPool(maker=_Failing(), num_workers=5)
    with pytest.raises(UserError, match="only 2 of 5 data workers could start .Resource temporarily unavailable"):
        list(pool.run([(0, np.arange(2))]))
    assert [process.poll() for process in started] == [0, 0]


class _Slow:
    """Stands for a batch that takes long."""

    def make(self, epoch: int, indices: np.ndarray, columns_for: object) -> None:
        time.sleep(60)


def test_busy_workers_end_together_within_seconds() -> None:
    pool = WorkerPool(maker=_Slow(), num_workers=3)
    pool._start()
    for worker in pool._workers:
        worker.order(0, np.arange(2))
    processes = [worker.process for worker in pool._workers]
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 10
    assert all(process.poll() is not None for process in processes)


def test_a_signal_to_every_process_of_a_job_leaves_the_workers_at_work(clips: TrainingClips) -> None:
    """Schedulers send SIGTERM to all of them; the training process ends its run with the workers still there."""
    made = source(clips, workers=1)
    running = iter(made)
    first = next(running)
    for number in (signal.SIGTERM, signal.SIGINT):
        made.pool._workers[0].process.send_signal(number)
    assert_same([first, *running], list(source(clips)))
    made.pool.close()


def test_a_killed_worker_is_noticed(clips: TrainingClips) -> None:
    made = source(clips, workers=1)
    running = iter(made)
    next(running)
    made.pool._workers[0].process.kill()
    with pytest.raises(WorkerError, match="data worker 0 ended with exit code -9"):
        list(running)


def test_joint_sets_hold_every_sample_of_each(shapes_set: Path) -> None:
    names = ["synthetic_easy/train", "synthetic_easy/valid"]
    joint = training_clips(names, catalogue=Catalogue(root=shapes_set.parent), settings=settings())
    assert len(joint) == (12 + 4) * 6
    assert joint.locate(71)[0] is joint.parts[0] and joint.locate(72) == (joint.parts[1], 0)
    part, index = joint.locate(95)
    clip = part.source.clip(index, np.random.default_rng(0))
    assert part is joint.parts[1] and (clip.video_id, clip.key_frame) == (4, 5)


def test_unknown_set_and_missing_files(shapes_set: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'ytvis19/train'"):
        Catalogue().find("ytvis19/trian")
    with pytest.raises(UserError, match="data set ytvis19/train: no annotation file .*datas/README.md"):
        training_clips(["ytvis19/train"], catalogue=Catalogue(root=tmp_path), settings=settings())
    own = f"{shapes_set}/annotations/instances_valid.json@{shapes_set}/valid/JPEGImages"
    assert len(training_clips([own], catalogue=Catalogue(), settings=settings(samples_per="video"))) == 4
    assert Catalogue(root=shapes_set).find("synthetic_easy/train").require().frames.is_dir()  # root of one set


def test_a_batch_travels_through_memory_that_holds_another(clips: TrainingClips) -> None:
    """Packed into memory full of something else, masks without their padding, it is the batch made in place."""
    collate = Collate(canvas=Canvas(buckets=[(112, 128)]), max_instances=6, box_minimum=1e-6)
    numbers = [np.random.default_rng(index).integers(len(clips)) for index in range(8)]
    made = [clips.sample(int(number), np.random.default_rng(number))[0] for number in numbers]
    most = max(clip.num_instances for clip in made)
    assert min(clip.num_instances for clip in made) < most < 6
    memory = SharedColumns(open_shared_memory())

    def used_memory(layout: Layout) -> list[np.ndarray]:
        columns = memory.reserve(layout)
        for column in columns:
            column.view(np.uint8)[:] = 255
        return columns

    packed = collate.pack(made, used_memory)
    assert packed[4].shape[:2] == (8, most)
    assert packed[0].shape[2:4] == tuple(np.max([clip.size for clip in made], axis=0))
    travelled = collate.unpack(packed)
    assert_same([travelled.columns()], [collate(made).columns()])
    memory.reserve([((10,), "u1")])[0][:] = 7
    assert_same([travelled.columns()], [collate(made).columns()])
    assert not travelled.images[:, :, 96:].any() and not travelled.masks[:, most:].any()
    memory.close()


def test_shared_memory_grows_under_a_reader() -> None:
    """Writer and reader each keep their mapping; a larger batch makes both map anew."""
    writer = SharedColumns(open_shared_memory())
    reader = SharedColumns(os.dup(writer.descriptor))
    for length in (1000, 100_000, 10):
        written = writer.reserve(layout := [((length,), "i8"), ((3,), "i1")])
        written[0][:], written[1][:] = np.arange(length), length % 100
        assert_same([reader.views(layout)], [written])
    writer.close()
    reader.close()
