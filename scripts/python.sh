#!/bin/sh
# Run Python for a supervised program: the one that runs supervisord, else that of the active or the
# project's virtual environment, else the one on PATH; the first that is new enough and has Celery.
# It replaces itself (exec), so signals reach the program.
cd "$(dirname "$0")/.." || exit 1

supervisor_python() {
    [ -r "/proc/$PPID/cmdline" ] && tr '\0' '\n' <"/proc/$PPID/cmdline" | head -n 1
}

serves() {
    "$1" -c 'import sys, importlib.util as u; sys.exit(sys.version_info < (3, 11) or not u.find_spec("celery"))' 2>/dev/null
}

for candidate in "$(supervisor_python)" "${VIRTUAL_ENV:-.venv}/bin/python" .venv/bin/python python3 python; do
    case $candidate in *python*) ;; *) continue ;; esac
    if command -v "$candidate" >/dev/null 2>&1 && serves "$candidate"; then
        exec "$candidate" "$@"
    fi
done
echo "No Python 3.11+ with the packages of requirements.txt was found; run: pip install -r requirements.txt" >&2
exit 2
