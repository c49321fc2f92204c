#!/usr/bin/env bash
# Backs up and restores real databases, and looks whether everything is there again and what must be refused is.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
server=''
postgres_bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -1 || true)
PATH="${postgres_bin:+$postgres_bin:}$PATH"
as=()
if [ "$(id -u)" = 0 ]; then as=(runuser -u postgres --); fi

finish() {
    [ -z "$server" ] || "${as[@]}" pg_ctl -D "$server" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

fail() {
    echo "check_backup.sh: $*" >&2
    exit 1
}
refused() {
    local what=$1
    shift
    if "$@" >"$work/out" 2>&1; then fail "not refused: $what"; fi
}
same() { [ "$2" = "$3" ] || fail "$1: $2 became $3"; }

# A journal of a process that is gone, and one whose lock is held.
mkdir -p "$work/ledger/one"
touch "$work/ledger/one/lock"
head -c 100000 /dev/urandom >"$work/ledger/one/00000001.segment"
segment=$(sha256sum <"$work/ledger/one/00000001.segment")

# --- SQLite: what is in the -wal file alone is in the copy.
database=$work/data/sluicegate.db
mkdir -p "$work/data"
{
    echo 'PRAGMA journal_mode=WAL; CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY);'
    cat src/stores/migrations/sqlite/*.sql
    for file in src/stores/migrations/sqlite/*.sql; do
        echo "INSERT INTO schema_version VALUES ($((10#$(basename "$file" | cut -d_ -f1))));"
    done
} | sqlite3 -bail "$database" >/dev/null
coproc WRITER { python3 -c '
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA wal_autocheckpoint=0")
database.execute("CREATE TABLE probe (n INTEGER)")
database.executemany("INSERT INTO probe VALUES (?)", [(n,) for n in range(1000)])
database.commit()
database.execute("INSERT INTO probe VALUES (-1)")
print("open", flush=True)
sys.stdin.readline()
' "$database"; }
writer=$WRITER_PID
read -r _ <&"${WRITER[0]}"
[ -s "$database-wal" ] || fail "nothing is in the -wal file"
scripts/backup.sh --to "$work/sqlite" --sqlite "$database" --ledger "$work/ledger" >/dev/null
echo >&"${WRITER[1]}"
wait "$writer" || true
refused "a backup over another" scripts/backup.sh --to "$work/sqlite" --sqlite "$database"

rm "$work/ledger/one/00000001.segment"
echo newer >"$work/ledger/one/00000002.segment"
echo damaged >"$database-wal"
exec 8>"$work/ledger/one/lock"
flock 8
refused "a running instance" scripts/restore.sh --from "$work/sqlite" --sqlite "$database" --ledger "$work/ledger"
exec 8>&-
scripts/restore.sh --from "$work/sqlite" --sqlite "$database" --ledger "$work/ledger" >/dev/null
same "rows" 1000 "$(sqlite3 "$database" 'SELECT count(*) FROM probe')"
same "mode" 600 "$(stat -c %a "$database")"
same "segment" "$segment" "$(sha256sum <"$work/ledger/one/00000001.segment")"
same "newer segment" newer "$(cat "$work/ledger/one/00000002.segment")"
[ -e "$database.before" ] || fail "the database before is gone"
refused "the wrong kind" scripts/restore.sh --from "$work/sqlite" --postgres
sqlite3 -readonly "$work/sqlite/store.db" 'SELECT count(*) FROM probe' >/dev/null
(cd "$work/sqlite" && sha256sum --quiet --check SHA256SUMS) || fail "looking at a backup changes it"
[ ! -e "$work/sqlite/store.db-wal" ] || fail "a backup has a -wal file"
echo x >>"$work/sqlite/store.db"
refused "a damaged backup" scripts/restore.sh --from "$work/sqlite" --sqlite "$work/elsewhere.db"
echo "SQLite: backed up and restored"

# --- PostgreSQL, on a socket of its own.
chmod 755 "$work"
server=$work/postgres
install -d -m 700 "$server"
[ "$(id -u)" != 0 ] || chown postgres "$server"
"${as[@]}" initdb -D "$server" -A trust -U postgres --no-sync -E UTF8 --locale=C >/dev/null
"${as[@]}" pg_ctl -D "$server" -w -l "$server/log" -o "-c listen_addresses= -c unix_socket_directories=$server -c fsync=off" start >/dev/null
[ "$(id -u)" != 0 ] || chmod 711 "$server"
export PGOPTIONS="-c client_min_messages=warning"
super=(psql -XAtq -v ON_ERROR_STOP=1 -h "$server" -U postgres)
"${super[@]}" -d postgres -c 'CREATE DATABASE sluicegate'
"${super[@]}" -d sluicegate -f sql/roles.sql
export DATABASE_URL="postgres://sluicegate_migrate@/sluicegate?host=$server&application_name=x"
owner=(psql -XAtq -v ON_ERROR_STOP=1 -h "$server" -U sluicegate_migrate -d sluicegate)
{
    echo 'CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY);'
    cat src/stores/migrations/postgres/*.sql
    for file in src/stores/migrations/postgres/*.sql; do
        echo "INSERT INTO schema_version VALUES ($((10#$(basename "$file" | cut -d_ -f1))));"
    done
    echo "INSERT INTO changes SELECT n, 'key', n::text, n FROM generate_series(1, 1000) n;"
} >"$work/schema.sql"
"${owner[@]}" -f "$work/schema.sql"
"${super[@]}" -d sluicegate -f sql/roles.sql
# Everything: tables, rows, functions, owners and rights.
state() { pg_dump -h "$server" -U sluicegate_migrate -d sluicegate -n sluicegate | sed -E '/^\\(un)?restrict /d' | sha256sum; }
before=$(state)
scripts/backup.sh --to "$work/pg" --postgres --ledger "$work/ledger" >/dev/null
refused "a schema that is there" scripts/restore.sh --from "$work/pg" --postgres
"${owner[@]}" -c 'DELETE FROM changes; ALTER TABLE keys ADD COLUMN later TEXT; CREATE TABLE newer (n INT)'
[ "$before" != "$(state)" ] || fail "the comparison sees nothing"
# A second role is what docs/runbook.md rotates by, under "Database and Redis".
"${super[@]}" -d sluicegate -c 'CREATE ROLE sluicegate_run_2 LOGIN IN ROLE sluicegate_run'
for role in sluicegate_run sluicegate_run_2 sluicegate_migrate; do
    coproc CLIENT { psql -XAtq -h "$server" -U "$role" -d sluicegate; }
    client=$CLIENT_PID
    echo 'SELECT 1;' >&"${CLIENT[1]}"
    read -r _ <&"${CLIENT[0]}"
    refused "a connection of $role" scripts/restore.sh --from "$work/pg" --postgres --replace
    grep -q "$role (pid" "$work/out" || fail "not told: a connection of $role"
    echo '\q' >&"${CLIENT[1]}"
    wait "$client" || true
done
# Connections to other databases are nobody's business here.
coproc CLIENT { psql -XAtq -h "$server" -U sluicegate_run -d postgres; }
client=$CLIENT_PID
echo 'SELECT 1;' >&"${CLIENT[1]}"
read -r _ <&"${CLIENT[0]}"
scripts/restore.sh --from "$work/pg" --postgres --replace >/dev/null
echo '\q' >&"${CLIENT[1]}"
wait "$client" || true
same "everything" "$before" "$(state)"
may() { "${super[@]}" -d sluicegate -c "SELECT $1"; }
same "the instances' rights" t "$(may "has_table_privilege('sluicegate_run', 'sluicegate.keys', 'INSERT')")"
same "what reports may not see" f "$(may "has_column_privilege('sluicegate_read', 'sluicegate.keys', 'hash', 'SELECT')")"
# Into an empty database, too.
"${super[@]}" -d postgres -c 'CREATE DATABASE other'
"${super[@]}" -d other -f sql/roles.sql
DATABASE_URL="postgres://sluicegate_migrate@/other?host=$server" scripts/restore.sh --from "$work/pg" --postgres >/dev/null
same "rows elsewhere" 1000 "$("${super[@]}" -d other -c 'SELECT count(*) FROM sluicegate.changes')"
echo "PostgreSQL: backed up and restored"
