#!/bin/sh
# Write the secrets that are missing into FOLDER, one a file: deploy/compose/new-secrets.sh [FOLDER] [MYSQL_HOST:PORT]
# FOLDER: by default secrets/ beside this file. What is there is kept.
set -eu

folder=${1:-$(dirname "$0")/secrets}
mysql=${2:-mysql:3306}
umask 077
mkdir -p "$folder"

# The folder is closed; its files are readable, since each is mounted by itself and the services are no root.
secret() {
    if [ ! -e "$folder/$1" ]; then
        printf '%s' "$2" >"$folder/$1"
        chmod 444 "$folder/$1"
        echo "made $folder/$1"
    fi
}
random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

secret mysql_root_password "$(random 16)"
secret mysql_migrate_password "$(random 16)"
secret mysql_run_password "$(random 16)"
secret mysql_operator_password "$(random 16)"
secret migrate_database_url "mysql://agent_migrate:$(cat "$folder/mysql_migrate_password")@$mysql/agent_scheduler"
secret database_url "mysql://agent_run:$(cat "$folder/mysql_run_password")@$mysql/agent_scheduler"
secret redis_password "$(random 16)"
secret secret_key "$(random 32)"
secret api_tokens "$(random 24):admin"
secret flower_password "$(random 16)"
# To be filled in; empty means that there is none.
secret agent_api_key ""
secret alert_urls ""
