#!/usr/bin/env bash
# Start train.py in several processes on this machine:  launch.sh PROCESSES -c CONFIG --output DIR [arguments of train.py]
# PORT (default 8118) must be free; PYTHON names the interpreter; MSRUN_ARGS is passed on to msrun (docs/training.md).
set -euo pipefail

if [[ $# -lt 1 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: launch.sh PROCESSES -c CONFIG --output DIR [arguments of train.py]" >&2
    exit 2
fi
processes=$1
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
# msrun beside the interpreter, so that no environment has to be activated.
msrun=$(dirname "$(command -v "$python")")/msrun
[[ -x $msrun ]] || msrun=msrun
# shellcheck disable=SC2086  # MSRUN_ARGS holds several words
exec "$msrun" --worker_num="$processes" --local_worker_num="$processes" --master_port="${PORT:-8118}" \
    --log_dir="${MSRUN_LOGS:-runs/msrun}" --join=True ${MSRUN_ARGS:-} "$here/train.py" "$@"
