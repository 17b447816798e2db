#!/usr/bin/env bash
# Several processes on this machine:  launch.sh PROCESSES [train|eval|infer] -c CONFIG --output DIR [arguments]
# The same as `mindvideo launch`. PYTHON names the interpreter (default: the one of .venv, else python3); PORT, MSRUN_ARGS
# and MSRUN_LOGS are for msrun (docs/training.md).
set -euo pipefail

if [[ $# -lt 1 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: launch.sh PROCESSES [train|eval|infer] -c CONFIG --output DIR [arguments of the command]" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
own=$here/../../.venv/bin/python
python=${PYTHON:-$([[ -x $own ]] && echo "$own" || echo python3)}
exec "$python" "$here/launch.py" "$@"
