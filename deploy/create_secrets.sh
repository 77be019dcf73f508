#!/bin/sh
# Makes the passwords of docker-compose.yml that do not exist yet, in the folder secrets/ (or $SECRETS).
# Nobody else on this machine can enter the folder; in the containers, each of another user, the files are readable.
set -eu
cd "$(dirname "$0")/.."
folder=${SECRETS:-secrets}
mkdir -p "$folder"
chmod 700 "$folder"
for name in postgres_password redis_password webhook_secret dashboards_password grafana_password; do
  if [ ! -e "$folder/$name" ]; then
    openssl rand -hex 32 >"$folder/$name"
    echo "made $folder/$name"
  fi
  chmod 444 "$folder/$name"
done
