#!/usr/bin/env bash
# The same lineage in the gateway and in PostgreSQL, side by side. README.md says what is asked and what favours whom.
#
#   GATEWAY=target/release/headgate benches/lineage_vs_postgres/run.sh [--records 1000000] [--help for the others]
#
# WORK       a folder for everything that is made, removed at the end (a new one under TMPDIR when absent)
# PG_BIN     where initdb and postgres are (the newest that Debian's package has installed when absent)
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
GATEWAY=$(realpath "${GATEWAY:?the path of the headgate binary}")
WORK=${WORK:-$(mktemp -d)}
find_postgres() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }
PG_BIN=${PG_BIN:-$(find_postgres)}
if [ -z "$PG_BIN" ]; then
  apt-get install -y -q postgresql >/dev/null
  PG_BIN=$(find_postgres)
fi

# PostgreSQL does not run as root: then as the user that its package makes.
as_user() { if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
mkdir -p "$WORK/pg"
chmod 711 "$WORK"
[ "$(id -u)" != 0 ] || chown postgres "$WORK/pg"
SERVER=
end() {
  [ -z "$SERVER" ] || as_user "$PG_BIN/pg_ctl" -D "$WORK/pg/data" -m fast -s stop || true
  rm -rf "$WORK"
}
trap end EXIT
as_user "$PG_BIN/initdb" -D "$WORK/pg/data" -U bench --auth=trust --encoding=UTF8 --locale=C --no-sync >/dev/null
cat >>"$WORK/pg/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$WORK/pg'
max_connections = 150
shared_buffers = 2GB
effective_cache_size = 8GB
work_mem = 64MB
maintenance_work_mem = 1GB
max_wal_size = 8GB
checkpoint_timeout = 30min
random_page_cost = 1.1
jit = off
autovacuum = off
log_min_messages = fatal
CONF
as_user "$PG_BIN/pg_ctl" -D "$WORK/pg/data" -l "$WORK/pg/log" -s -w start
SERVER=up
as_user "$PG_BIN/createdb" -h "$WORK/pg" -U bench bench

CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HERE/target} cargo build -q --release --manifest-path "$HERE/Cargo.toml"
"${CARGO_TARGET_DIR:-$HERE/target}/release/lineage_vs_postgres" --gateway "$GATEWAY" --postgres "$WORK/pg" --data "$WORK/headgate" "$@"
