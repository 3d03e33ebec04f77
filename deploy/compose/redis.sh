#!/bin/sh
# The broker. Nothing is saved and nothing is dropped: the database is the truth, and what is lost is sent again.
# The settings go in by standard input, since an argument would show the password in the list of processes.
set -eu

exec redis-server - <<EOF
bind *
port ${REDIS_PORT:-6379}
requirepass $(cat /run/secrets/redis_password)
save ""
appendonly no
maxmemory-policy noeviction
EOF
