#!/bin/sh
# Run grants.sql as root of the server $MYSQL_HOST: before the migration for the accounts, after it for their rights.
set -eu

secrets=/run/secrets
password() { cat "$secrets/mysql_$1_password"; }

# Passwords go by files and the environment: arguments show in the list of processes.
sed -f /dev/stdin "$(dirname "$0")/grants.sql" <<EOF | MYSQL_PWD="$(password root)" \
    mariadb --no-defaults --protocol=tcp --host="$MYSQL_HOST" --port="${MYSQL_PORT:-3306}" --user=root
s/BY MIGRATE_PASSWORD/BY '$(password migrate)'/
s/BY RUN_PASSWORD/BY '$(password run)'/
s/BY OPERATOR_PASSWORD/BY '$(password operator)'/
EOF
