"""Several processes over one store: every video once, the results of one process, and a clear end where one dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

from mindvideo.assembly.labelled_run import LabelledRun, evaluate_tracker
from mindvideo.errors import UserError
from mindvideo.inference.output.sharing import PeerLeftError, PeerLostError, VideoSharing
from mindvideo.inference.output.store import VideoStore
from tests.evaluation.test_labelled_run import GROUND_TRUTH, KnowsTheAnswer, begun, open_frames

FORK = multiprocessing.get_context("fork")
LIMIT = 20.0  # seconds


class Slow(KnowsTheAnswer):
    """Takes some time over each video, so that no process runs all of them; ``dies``: it is killed in its first."""

    def __init__(self, *, dies: bool = False, fails_at: int | None = None) -> None:
        super().__init__(fails_at=fails_at)
        self.dies = dies

    def begin(self, *, size, num_frames, video_id):
        super().begin(size=size, num_frames=num_frames, video_id=video_id)
        time.sleep(0.3)
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)


def share(folder, rank: int, barrier, answer, tracker: KnowsTheAnswer) -> None:
    """One process of ``mindvideo launch 2 eval``."""
    sharing = VideoSharing(folder / ".processes", rank=rank, world_size=2, meet=lambda: barrier.wait(LIMIT))
    store = VideoStore(folder / "videos", settings={"weights": "abc"}, lock_in=folder)
    try:
        with store:
            if sharing.is_first:
                folder.mkdir(exist_ok=True)
                run = LabelledRun.begin(store, GROUND_TRUTH.videos)
            with sharing.working():
                if not sharing.is_first:
                    run = LabelledRun.join(store, GROUND_TRUTH.videos)
                speed = run.run_missing(tracker, open_frames, sharing=sharing)
                if sharing.is_first:
                    store.gather(folder / "results.json", run.rows)
                    sharing.done()
    except (PeerLostError, PeerLeftError, UserError, KeyboardInterrupt) as error:
        answer.put((rank, tracker.begun, f"{type(error).__name__}: {error}"))
    else:
        answer.put((rank, tracker.begun, speed["videos_run"] if sharing.is_first else None))


def two_processes(folder, *trackers: KnowsTheAnswer) -> dict[int, tuple[list[int], object]]:
    """Rank -> the videos it began and how it ended; of a process that was killed there is nothing."""
    barrier, answer = FORK.Barrier(2), FORK.Queue()
    processes = [
        FORK.Process(target=share, args=(folder, rank, barrier, answer, tracker))
        for rank, tracker in enumerate(trackers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LIMIT)
        assert process.exitcode is not None, "a process waits for ever"
    return {
        rank: (begun_videos, end) for rank, begun_videos, end in (answer.get(timeout=1) for _ in range(answer.qsize()))
    }


def test_two_processes_give_the_bytes_of_one(tmp_path):
    ended = two_processes(tmp_path / "two", Slow(), Slow())
    assert sorted(ended[0][0] + ended[1][0]) == [3, 7, 11] and ended[0][0] and ended[1][0]
    assert ended[0][1] == 3 and ended[1][1] is None
    with begun(tmp_path / "one", {"weights": "abc"}) as run:
        run.run_missing(KnowsTheAnswer(), open_frames)
        run.store.gather(tmp_path / "one" / "results.json")
    assert (tmp_path / "two" / "results.json").read_bytes() == (tmp_path / "one" / "results.json").read_bytes()
    again = two_processes(tmp_path / "two", Slow(), Slow())
    assert again[0] == ([], 0) and again[1] == ([], None)


def test_one_dead_process_ends_the_other_and_nothing_is_lost(tmp_path):
    began = time.monotonic()
    ended = two_processes(tmp_path, Slow(), Slow(dies=True))
    assert "PeerLostError: process 1 of 2 has ended before its work was done; finished videos are kept" in ended[0][1]
    assert time.monotonic() - began < LIMIT and 1 not in ended
    finished = {int(path.parent.name) for path in (tmp_path / "videos").glob("*/run.json")}
    assert finished == set(ended[0][0]) and len(finished) == 2
    again = two_processes(tmp_path, Slow(), Slow())
    assert {*again[0][0], *again[1][0]} == {3, 7, 11} - finished and again[0][1] == 1


def test_a_process_that_is_asked_to_stop_says_so(tmp_path):
    ended = two_processes(tmp_path, Slow(fails_at=3), Slow(fails_at=3))
    ends = sorted(str(end) for _, end in ended.values())
    assert ends[0].startswith("KeyboardInterrupt") and ends[1].startswith("PeerLeftError")


def validate(folder, rank: int, barrier, answer) -> None:
    sharing = VideoSharing(folder, rank=rank, world_size=2, meet=lambda: barrier.wait(LIMIT))
    with sharing.working():
        evaluation = evaluate_tracker(Slow(), GROUND_TRUTH, open_frames, sharing=sharing)
        if evaluation is not None:
            sharing.tell("figures", evaluation.tracks.statistics())
            sharing.done()
        answer.put(sharing.told("figures"))


def test_validation_is_shared_and_every_process_gets_the_figures(tmp_path):
    barrier, answer = FORK.Barrier(2), FORK.Queue()
    (tmp_path / "claim-0").touch()  # of a run that was killed
    processes = [FORK.Process(target=validate, args=(tmp_path, rank, barrier, answer)) for rank in range(2)]
    for process in processes:
        process.start()
    figures = [answer.get(timeout=LIMIT) for _ in processes]
    for process in processes:
        process.join(LIMIT)
    assert figures[0] == figures[1] and figures[0]["AP"] == 1.0
