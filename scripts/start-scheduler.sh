#!/usr/bin/env bash
# Start the scheduler with the trading pack: its packages, tables and schedules, then every service under supervisord.
# To be repeated at any time; what runs already is left running. Settings come from the environment and .env.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=.venv/bin/python
"$python" -c 'import importlib.util as u; raise SystemExit(not u.find_spec("celery"))' 2>/dev/null ||
    bash scripts/make-venv.sh run

# The pack, beside those that TASK_PACKS names.
TASK_PACKS=$("$python" -c '
import sys
from config import SettingsError, get_settings
try:
    named = get_settings().task_packs
    print(*dict.fromkeys((*named, "trading")), sep=",")
    if "trading" not in named:
        print("TASK_PACKS does not name trading; put TASK_PACKS=trading into .env: later starts go by that", file=sys.stderr)
except SettingsError as error:
    sys.exit(str(error))
')
export TASK_PACKS

for file in $("$python" -m packs requirements --missing); do
    bash scripts/make-venv.sh extra "$file"
done
"$python" -m store.migrate
"$python" -m packs install trading
"$python" -c 'import preflight; preflight.check()'

supervisor() { "$python" -m supervisor.supervisorctl -c supervisord.conf "$@"; }
if supervisor pid >/dev/null 2>&1; then
    echo "supervisord is running already; what changed since then counts after: supervisorctl -c supervisord.conf restart all"
else
    mkdir -p logs
    "$python" -m supervisor.supervisord -c supervisord.conf
fi

# Each program is RUNNING once it has come to stay, after some five seconds.
for _ in $(seq 120); do
    starting=$(supervisor status | grep -cv RUNNING || true)
    [ "$starting" = 0 ] && break
    sleep 0.5
done
supervisor status
[ "$starting" = 0 ] || { echo "not every program runs; see logs/" >&2 && exit 1; }
"$python" -c '
from config import get_settings
ours = get_settings()
print(f"API and console  http://{ours.api_host}:{ours.api_port}/\nFlower           http://127.0.0.1:{ours.flower_port}/")
'
