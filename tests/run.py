"""Runs the tests in fresh processes within a budget of memory: ``python tests/run.py [pytest's arguments]``.

A process keeps every graph it ever compiled, so no process runs more than one heavy file, and a job starts only when
what the running ones need leaves room for it. A job whose process dies, or that is silent for long, is named together
with the test that was running, and ends the run. The last line counts: ``N passed, M failed, K skipped``.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tests.runner import jobs as planning  # noqa: E402
from tests.runner.processes import ProcessGroup, running_processes  # noqa: E402

TAKE_A_VALUE = {
    "-k",
    "-m",
    "-p",
    "-W",
    "-c",
    "-o",
    "-n",
    "--golden",
    "--sizes",
    "--durations",
    "--maxfail",
    "--tb",
    "--ignore",
}
SELECT_TESTS = {"-k", "-m"}
# pytest's exit codes of a process that ran to its end: all passed, some failed, none was selected.
ENDED = {0, 1, 5}


class Running:
    """A job's process, its log and the events that its plugin wrote."""

    def __init__(self, job: planning.Job, place: int, options: argparse.Namespace, folder: Path) -> None:
        self.job, self.place = job, place
        self.events_file = folder / f"{id(self)}.events"
        self.events_file.touch()
        self.log_file = folder / f"{id(self)}.log"
        self.began = self.heard = time.monotonic()
        self.took = self.peak = 0.0
        self.running: str | None = None
        self.ended: list[dict] = []
        self._read = 0
        environment = {
            **os.environ,
            "MINDVIDEO_TEST_EVENTS": str(self.events_file),
            "MINDVIDEO_TEST_PIECE": json.dumps([job.number, job.pieces]),
            # Compiling allocates small pieces by the million: a larger cache of them saves a twelfth of the time.
            "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.tcache_count=4096"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
            # One for the run: what one process compiled the others find.
            "MINDVIDEO_CACHE": os.environ.get("MINDVIDEO_CACHE", str(folder / "cache")),
        }
        command = [sys.executable, "-m", "pytest", "-p", "tests.runner.events", *job.targets, *options.pytest]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.group = ProcessGroup(self.process.pid)
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
        own = cores[place % options.jobs :: options.jobs]
        if own:  # MindSpore's threads wait by spinning: two jobs on the same cores stop each other
            with contextlib.suppress(ProcessLookupError):  # it may be gone already
                os.sched_setaffinity(self.process.pid, own)

    def listen(self) -> list[dict]:
        """The tests that ended since the last call."""
        with self.events_file.open(encoding="utf-8") as file:
            file.seek(self._read)
            text = file.read()
        complete = text[: text.rfind("\n") + 1]
        self._read += len(complete.encode())
        new = [json.loads(line) for line in complete.splitlines()]
        if new:
            self.heard = time.monotonic()
            self.running = new[-1]["test"] if new[-1]["event"] == "start" else None
        ended = [event for event in new if event["event"] == "end"]
        self.ended += ended
        return ended

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")


class Run:
    """Everything that runs and ran."""

    def __init__(self, waiting: list[planning.Job], options: argparse.Namespace, folder: Path) -> None:
        self.waiting, self.options, self.folder = waiting, options, folder
        self.total = len(waiting)
        self.running: list[Running] = []
        self.finished: list[Running] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.broken: list[str] = []  # one line for each job that died, stalled or could not run
        self.peak = 0.0
        self.give_up_at: float | None = None

    def start_jobs(self) -> None:
        while self.waiting and len(self.running) < self.options.jobs and self.give_up_at is None:
            held = [max(each.job.mb, each.peak) for each in self.running]
            job = planning.next_job(self.waiting, held, self.options.memory)
            if job is None:
                return
            place = min(set(range(self.options.jobs)) - {each.place for each in self.running})
            self.running.append(Running(job, place, self.options, self.folder))

    def look(self) -> None:
        """Measure, hear and finish what runs."""
        processes = running_processes()
        now = processes[os.getpid()].mb if os.getpid() in processes else 0.0
        for each in list(self.running):
            code = each.process.poll()
            memory = each.group.update(processes)
            each.peak = max(each.peak, memory)
            now += memory
            self.counts.update(event["outcome"] for event in each.listen())
            if code is not None:
                self.finish(each, self._what_broke(each, code))
            elif time.monotonic() - each.heard > self.options.stall:
                self.finish(each, f"nothing was heard for {self.options.stall} s", ended=False)
            elif self.give_up_at is not None and time.monotonic() > self.give_up_at:
                self.finish(each, "stopped because another job broke", ended=False)
        self.peak = max(self.peak, now)

    def _what_broke(self, each: Running, code: int) -> str:
        if code in ENDED and each.running is None:
            return ""
        if code < 0:
            return f"the process was killed by {signal.Signals(-code).name}"
        reported = any(event["outcome"] == "failed" for event in each.ended)
        return "" if code == 2 and reported else f"the process ended with exit code {code}"

    def finish(self, each: Running, broken: str, *, ended: bool = True) -> None:
        each.group.end(0.0 if ended else 3.0)
        each.process.wait()
        self.counts.update(event["outcome"] for event in each.listen())
        self.running.remove(each)
        self.finished.append(each)
        failed = sum(event["outcome"] == "failed" for event in each.ended)
        each.took = time.monotonic() - each.began
        print(
            f"[{len(self.finished):3}/{self.total}] {len(each.ended) - failed:4} ok {failed:3} failed "
            f"{each.took:6.0f} s {each.peak:6.0f} MB  {each.job.name}",
            flush=True,
        )
        if failed or broken:
            print(each.log(), flush=True)
        if broken:
            where = f"while {each.running} ran" if each.running else "between tests"
            self.broken.append(f"BROKEN: {each.job.name}: {broken}, {where}")
            self.counts["failed"] += 1
            print(self.broken[-1], flush=True)
            if self.give_up_at is None and not self.options.keep_going:
                self.give_up_at = time.monotonic() + self.options.grace

    def go(self) -> None:
        while self.running or (self.waiting and self.give_up_at is None):
            self.start_jobs()
            self.look()
            time.sleep(0.2)

    def end_all(self) -> None:
        for each in self.running:
            self.counts.update(event["outcome"] for event in each.listen())
            print(f"interrupted: {each.job.name}, {each.running or 'between tests'}", flush=True)
            each.group.end()


def report(run: Run) -> int:
    """Print the slow files, the peak, the broken jobs and the counts in the last line; the exit code."""
    seconds: collections.Counter[str] = collections.Counter()
    for each in run.finished:
        for event in each.ended:
            seconds[event["test"].partition("::")[0]] += event["seconds"]
    print("\nslowest files: " + ", ".join(f"{file} {took:.0f} s" for file, took in seconds.most_common(8)))
    new = sorted({target for each in run.finished for target in each.job.targets} - set(planning.read_weights()))
    new = [target for target in new if "::" not in target]
    if new:
        print("not measured yet (python tests/run.py --measure): " + ", ".join(new))
    print(f"peak memory of all processes together: {run.peak / 1000:.2f} GB of {run.options.memory / 1000:.1f} GB")
    if run.peak > run.options.memory:
        print("that is above the budget: measure again what grew (python tests/run.py --measure FILES)")
    for line in run.broken:
        print(line)
    if run.waiting:
        print(f"{len(run.waiting)} jobs did not start")
    if not run.counts:
        print("no test was selected")
    counts = run.counts
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", flush=True)
    if counts["failed"] or run.broken:
        return 1
    return 0 if counts else 5


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Paths and node ids, and the rest, which goes to every pytest process."""
    targets, rest = [], []
    value_of = ""
    for argument in arguments:
        path = Path(argument.partition("::")[0])
        if not value_of and not argument.startswith("-") and path.exists():
            targets.append(argument)
        else:
            rest.append(argument)
        value_of = argument if argument in TAKE_A_VALUE else ""
    return targets, rest


def files_of(targets: Sequence[str]) -> list[str]:
    """Files and node ids below the project by their name in it; a folder gives its files."""
    found: list[str] = []
    for target in targets or [str(PROJECT / "tests")]:
        path, colons, test = target.partition("::")
        files = sorted(Path(path).rglob("test_*.py")) if Path(path).is_dir() else [Path(path)]
        for file in files:
            file = file.resolve()
            name = file.relative_to(PROJECT).as_posix() if file.is_relative_to(PROJECT) else str(file)
            found.append(name + colons + test)
    return list(dict.fromkeys(found))


def with_selected_tests(files: Sequence[str], arguments: Sequence[str], folder: Path) -> list[str]:
    """The files in which ``-k`` or ``-m`` selects something: one look instead of a process for each file."""
    events = folder / "selected.events"
    command = [sys.executable, "-m", "pytest", "-p", "tests.runner.events", "--collect-only", *files, *arguments]
    environment = {**os.environ, "MINDVIDEO_TEST_EVENTS": str(events)}
    subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True)
    lines = [json.loads(line) for line in events.read_text().splitlines()] if events.exists() else []
    if not lines or any(line["event"] == "end" for line in lines):
        return list(files)  # what is wrong shows when they run
    [selected] = [line["files"] for line in lines]
    return [file for file in files if str((PROJECT / file.partition("::")[0]).resolve()) in selected]


def measure(files: Sequence[str], options: argparse.Namespace, folder: Path) -> int:
    """Run each file in a process of its own, one after the other, and write what it needed into the table."""
    weights = planning.read_weights()
    files = list(files) if options.targets else [file for file in files if file not in weights]
    options.jobs, options.keep_going = 1, True
    code = 0
    for file in files:
        jobs = planning.plan_jobs([file], weights)
        run = Run(list(jobs), options, folder)
        run.go()
        code = code or int(bool(run.broken))
        if not run.broken:
            need = {
                "mb": round(max(each.peak for each in run.finished)),
                "seconds": round(sum(each.took for each in run.finished), 1),
            }
            pieces = weights.get(file, {}).get("pieces")
            weights[file] = {**need, "pieces": pieces} if pieces else need
            planning.write_weights(weights)
    return code


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes at once")
    parser.add_argument("--memory", type=float, default=6000, help="MB that all processes together may need")
    parser.add_argument("--stall", type=float, default=400, help="seconds without a word after which a job is ended")
    parser.add_argument("--grace", type=float, default=20, help="seconds that other jobs have once one broke")
    parser.add_argument("--keep-going", action="store_true", help="run the other jobs though one broke")
    parser.add_argument("--measure", action="store_true", help="measure the files given, or those not measured yet")
    options, rest = parser.parse_known_args(arguments)
    options.targets, options.pytest = split_arguments(rest)
    return options


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    files = files_of(options.targets)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with tempfile.TemporaryDirectory(prefix="mindvideo-tests-") as folder:
        if options.measure:
            return measure(files, options, Path(folder))
        if SELECT_TESTS & set(options.pytest):
            files = with_selected_tests(files, options.pytest, Path(folder))
        run = Run(planning.plan_jobs(files, planning.read_weights()), options, Path(folder))
        began = time.monotonic()
        try:
            run.go()
        except KeyboardInterrupt:
            run.end_all()
            report(run)
            return 130
        print(f"\n{time.monotonic() - began:.0f} s in {len(run.finished)} processes")
        return report(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
