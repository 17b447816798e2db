"""Check a result file for an evaluation server, pack it, and upload it when asked."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from mindvideo.cli.arguments import EXIT_OK
from mindvideo.errors import UserError
from mindvideo.evaluation.results_json import ResultsFile
from mindvideo.evaluation.submission import problems_of, read_video_list, write_archive
from mindvideo.evaluation.submission_server import (
    PASSWORD,
    PHASE,
    TOKEN,
    URL,
    USER,
    Access,
    SubmissionServer,
)
from mindvideo.logs import set_up_logging

MOST_SHOWN = 20
ENVIRONMENT = f"""
For --upload the environment tells where to and as whom; nothing of it is written anywhere:
  {URL}       address of the server, https://...
  {PHASE}     number of the competition's phase
  {USER}, {PASSWORD}   or   {TOKEN}
Exit codes: 0 done, 2 the file has problems or something is missing.
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=ENVIRONMENT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", required=True, metavar="FILE", help="results.json, or an archive of it to check")
    parser.add_argument(
        "--annotations", required=True, metavar="FILE", help="the set's annotation file; labels not needed"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="archive to write (default: submission.zip beside the results)"
    )
    parser.add_argument("--upload", action="store_true", help="send the archive to the server")
    parser.add_argument("--wait", action="store_true", help="with --upload: wait for the score and show it")
    parser.add_argument("--dry-run", action="store_true", help="with --upload: do everything but the sending")
    return parser.parse_args(arguments)


def main() -> int:
    given = parse_arguments()
    set_up_logging("info")
    access = Access.from_environment() if given.upload or given.dry_run else None
    results = ResultsFile(given.results)
    videos, categories = read_video_list(given.annotations)
    check(results, videos, categories)
    archive = Path(given.output) if given.output else Path(given.results).with_name("submission.zip")
    if Path(given.results).suffix == ".json":
        write_archive(Path(given.results), archive)
        print(f"wrote {archive} ({archive.stat().st_size / 1e6:.1f} MB)")
    elif Path(given.results).suffix == ".zip":
        archive = Path(given.results)
    else:
        raise UserError(f"{given.results}: only a .json can be packed for a server")
    if access is not None:
        upload(archive, access, dry_run=given.dry_run, wait=given.wait)
    return EXIT_OK


def check(results: ResultsFile, videos: dict, categories: set[int]) -> None:
    problems = problems_of(results, videos, categories)
    shown = list(itertools.islice(problems, MOST_SHOWN))
    if shown:
        more = sum(1 for _ in problems)
        lines = "\n  ".join(shown) + (f"\n  and {more} more" if more else "")
        raise UserError(f"{results.path} would not be scored as meant:\n  {lines}")
    empty = len(videos) - len(results.video_ids())
    print(f"{len(results)} tracks of {len(results.video_ids())} videos are in order; {empty} videos have none")


def upload(archive: Path, access: Access, *, dry_run: bool, wait: bool) -> None:
    if dry_run:
        who = "with a token" if access.token else "with user and password"
        print(f"dry run: would send {archive} to {access.url}, phase {access.phase}, {who}")
        return
    server = SubmissionServer(access)
    number = server.submit(archive)
    print(f"handed in: submission {number} at {access.url}")
    if wait:
        record = server.wait(number)
        for score in record.get("scores") or ():
            print(f"  {score.get('column_key') or score.get('index')}: {score.get('score')}")
