"""A page in the browser: drop a video, see what a model finds, hide, rename and recolour tracks, take the files."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from mindvideo.assembly.configuration import load_config
from mindvideo.cli.arguments import EXIT_OK, OneLineParser, number, whole_number
from mindvideo.cli.result_settings import check_weights_file
from mindvideo.errors import UserError
from mindvideo.logs import set_up_logging
from mindvideo.run_folder import RUNS, check_folder
from mindvideo.serve.guard import Guard, is_loopback
from mindvideo.serve.limits import Limits
from mindvideo.serve.server import Server, running_server

EXAMPLES = """
Examples:
  mindvideo serve                                             runs in runs/ and every configuration are offered
  mindvideo serve -c vistr --weights vistr_r50.pth            this model comes first
  mindvideo serve --models weights/ --port 8080
The page is for this machine only. From another one: ssh -L 7860:127.0.0.1:7860 MACHINE, or --host 0.0.0.0, where a
token in the printed address keeps others out; names of the machine are given with --allow-host. Ctrl-C ends the
server; what waits or was running goes on with the next one in the same --output.
"""
DEFAULT_PORT = 7860


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = OneLineParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--config", metavar="NAME", help="configuration that comes first: name or file")
    parser.add_argument("--weights", metavar="FILE", help="weights that come first")
    parser.add_argument(
        "--models", action="append", default=[], metavar="DIR", help=f"folder of runs or weights (default: {RUNS})"
    )
    parser.add_argument("--output", metavar="DIR", help=f"where videos and results are kept (default: {RUNS}/serve)")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a name of this machine")
    parser.add_argument("--port", type=whole_number(0, 65535), default=DEFAULT_PORT, help="0 takes a free one")
    parser.add_argument(
        "--max-upload", type=number(0.001, 1e6), default=2.0, metavar="GB", help="of one video (default: 2)"
    )
    return parser.parse_args(arguments)


def main() -> int:
    given = parse_arguments()
    set_up_logging("info")
    if given.config is not None:
        load_config(given.config)  # a mistake in it is said now, not to the first visitor
    weights = None if given.weights is None else str(check_weights_file(given.weights))
    for folder in given.models:
        if not Path(folder).is_dir():
            raise UserError(f"--models {folder}: no such folder")
    output = Path(given.output or RUNS / "serve")
    check_folder(output)
    token = None if is_loopback(given.host) else secrets.token_urlsafe(24)
    server = running_server(
        output,
        worker=[sys.executable, "-m", "mindvideo.cli.serve_worker"],
        host=given.host,
        port=given.port,
        configuration=given.config,
        weights=weights,
        folders=[Path(folder) for folder in given.models] or [RUNS],
        limits=Limits(upload_bytes=int(given.max_upload * 1e9)),
        guard=Guard(names=frozenset(given.allow_host), token=token),
    )
    with server as listening:
        serve(listening, token)
    return EXIT_OK


def serve(server: Server, token: str | None) -> None:
    """Until Ctrl-C or SIGTERM."""
    host, port = str(server.server_address[0]), server.server_address[1]
    name = f"[{host}]" if ":" in host else host
    print(f"http://{name}:{port}/{f'?token={token}' if token else ''}", flush=True)
    ended = threading.Event()
    for number_of_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number_of_signal, lambda *_: ended.set())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    ended.wait()
    server.shutdown()
    print("ended; what was not finished goes on with the next start", file=sys.stderr)
