"""Check a result file for an evaluation server, pack it, and upload it when asked."""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from mindvideo.cli.arguments import EXIT_OK, OneLineParser, whole_number
from mindvideo.errors import UserError
from mindvideo.evaluation.competitions import COMPETITIONS, competition_of
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
from mindvideo.evaluation.which_set import require_same_set
from mindvideo.files import check_new_file
from mindvideo.logs import set_up_logging

MAX_SHOWN = 20
EPILOG = f"""
For --upload the environment tells as whom, and where to unless --url and --phase do; nothing of it is written anywhere:
  {URL}       address of a server with Codabench's interface, https://... (your own, or Codabench itself)
  {PHASE}     number of the competition's phase
  {USER}, {PASSWORD}   or   {TOKEN}
What is known of the competitions of the official sets (--for):
  {{competitions}}
Exit codes: 0 done, 2 the file has problems or something is missing.
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    known = "\n  ".join(f"{name:8} {competition.line()}" for name, competition in COMPETITIONS.items())
    parser = OneLineParser(
        description=__doc__,
        epilog=EPILOG.format(competitions=known),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", required=True, metavar="FILE", help="results.json, or an archive of it to check")
    parser.add_argument(
        "--annotations", required=True, metavar="FILE", help="the set's annotation file; labels not needed"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="archive to write (default: submission.zip beside the results)"
    )
    parser.add_argument("--for", dest="dataset", choices=tuple(COMPETITIONS), help="say what is known of its server")
    parser.add_argument("--url", help=f"address of the server, in place of {URL}")
    parser.add_argument("--phase", type=whole_number(0), help=f"number of the phase, in place of {PHASE}")
    parser.add_argument("--upload", action="store_true", help="send the archive to the server")
    parser.add_argument("--wait", action="store_true", help="with --upload: wait for the score and show it")
    parser.add_argument("--dry-run", action="store_true", help="with --upload: do everything but the sending")
    return parser.parse_args(arguments)


def main() -> int:
    given = parse_arguments()
    set_up_logging("info")
    hand_in(
        Path(given.results),
        Path(given.annotations),
        archive=Path(given.output) if given.output else None,
        access=access_to(given.url, given.phase) if given.upload or given.dry_run else None,
        dataset=given.dataset or "",
        dry_run=given.dry_run,
        wait=given.wait,
    )
    return EXIT_OK


def access_to(url: str | None = None, phase: int | None = None) -> Access:
    """From the environment, but for what the command line says."""
    given = {URL: url, PHASE: None if phase is None else str(phase)}
    return Access.from_environment({**os.environ, **{name: value for name, value in given.items() if value}})


def hand_in(
    source: Path,
    annotations: Path,
    *,
    archive: Path | None = None,
    access: Access | None = None,
    dataset: str = "",
    dry_run: bool = False,
    wait: bool = False,
) -> Path:
    """Check the results, pack them, and send them where there is an access; the archive."""
    archive = archive_for(source, annotations, archive)
    results = ResultsFile(source)
    videos, categories = read_video_list(annotations)
    require_same_set(results, videos, annotations)
    check(results, videos, categories)
    if archive != source:
        write_archive(source, archive)
        print(f"wrote {archive} ({archive.stat().st_size / 1e6:.1f} MB)")
    competition = competition_of(dataset)
    if competition is not None:
        print(competition.line())
    if access is not None:
        upload(archive, access, dry_run=dry_run, wait=wait)
    return archive


def archive_for(results: Path, annotations: Path, output: Path | None) -> Path:
    """The archive to send: the given one, or the place of a new one. Neither of the inputs is ever written to."""
    if results.suffix == ".zip":
        if output is not None:
            raise UserError(f"--output {output}: {results} is an archive already; leave --output away")
        return results
    if results.suffix != ".json":
        raise UserError(f"{results}: only a .json can be packed for a server, and only a .zip is sent as it is")
    archive = output or results.with_name("submission.zip")
    if archive.suffix != ".zip":
        raise UserError(f"--output {archive}: servers take a .zip; give a name that ends so")
    check_new_file(archive, overwrite=True, inputs=(results, annotations))
    return archive


def check(results: ResultsFile, videos: dict, categories: set[int]) -> None:
    problems = problems_of(results, videos, categories)
    shown = list(itertools.islice(problems, MAX_SHOWN))
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
    print(f"handed in: submission {number} at {access.url}", flush=True)  # known even if the waiting fails
    if wait:
        for name, score in server.scores(server.wait(number)):
            print(f"  {name}: {score}")
