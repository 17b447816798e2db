"""``mindvideo launch 2 eval``: the bytes of one process, in two real ones that MindSpore connects.

Three processes would compile the same network for nine frames each, so it runs operator by operator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import mindspore as ms

from tests.errands import official_sets

VALID = ("data.valid=ytvis19/valid", "runtime.mode=pynative")


def test_two_processes_write_the_bytes_of_one(errand):
    official_sets.youtube_vis_2019(errand.data)
    errand.eval("one", *VALID)
    ms.set_context(mode=ms.GRAPH_MODE)
    model = ("-c", "vistr", "--weights", errand.weights, "--output", errand.folder / "two")
    command = [sys.executable, "-m", "mindvideo", "launch", "2", "eval", *map(str, model), *errand.settings]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MS_", "PORT"))}
    environment["MSRUN_LOGS"] = str(errand.folder / "logs")
    done = subprocess.run([*command, *VALID], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    one, two = (errand.folder / name / "results.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes() and json.loads(one.read_text())
    assert "its labels are withheld" in done.stdout and "next: mindvideo submit" in done.stdout
    taken = {path.name for path in (errand.folder / "two" / ".processes").glob("claim-*")}
    assert taken == {"claim-0", "claim-1", "claim-2"}
    spoken = [(errand.folder / "two" / ".processes" / f"speed-{rank}.json").read_text() for rank in range(2)]
    assert sum(json.loads(speed)[0] for speed in spoken) == 3
