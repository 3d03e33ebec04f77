#!/usr/bin/env bash
# Turn due tasks into runs, once or for good: start_scheduled_tasks.sh [once | daemon [seconds]]
set -euo pipefail

usage() {
    printf '%s\n' "$1" \
        "Usage: $0 once               one pass over the due tasks, then exit; for cron; also without arguments" \
        "       $0 daemon [seconds]   go on; look every so many seconds (default: BEAT_POLL_INTERVAL)" \
        "Runs are carried out by workers: python run_worker.py" >&2
    exit 2
}

is_seconds() { [[ $1 =~ ^[0-9]{1,6}(\.[0-9]{1,6})?$ && ! $1 =~ ^[0.]+$ ]]; }

case ${1-once} in
    once)
        [ $# -le 1 ] || usage "once takes no further argument, and got: ${*:2}"
        set -- --once
        ;;
    daemon)
        [ $# -le 2 ] || usage "daemon takes one number of seconds, and got: ${*:2}"
        [ $# = 1 ] || is_seconds "$2" || usage "'$2' is no number of seconds; write for example: daemon 30"
        shift
        set -- ${1:+--interval "$1"}
        ;;
    *) usage "'$1' is neither once nor daemon" ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
.venv/bin/python -c 'import importlib.util as u; raise SystemExit(not u.find_spec("celery"))' 2>/dev/null ||
    bash scripts/make-venv.sh run
exec .venv/bin/python run_beat.py "$@"
