"""Refuse an interpreter that MindSpore 2.10 has no package for, in words, before anything is installed."""

import sys

OLDEST, NEWEST = (3, 10), (3, 12)

if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(  # no f-string: this file has to run on the interpreters that it refuses
        "mindvideo needs Python %d.%d to %d.%d (MindSpore 2.10 has no other packages); this is %s. "
        "Name another interpreter: make PYTHON=python3.11 ..." % (*OLDEST, *NEWEST, sys.version.split()[0])
    )
