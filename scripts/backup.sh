#!/usr/bin/env bash
# Copies what Sluicegate keeps, while it runs.
#   backup.sh --to DIR --sqlite FILE   [--ledger DIR] [--audit DIR]
#   backup.sh --to DIR --postgres      [--ledger DIR] [--audit DIR]
#
# DIR must not exist; it appears when the backup is whole. PostgreSQL is reached by DATABASE_URL, or by libpq's
# own variables (PGSERVICE, PGHOST, PGPASSFILE and so on); the user must be able to read everything, as
# sluicegate_migrate can. --ledger is `ledger.directory`, once for each machine that has one.
#
# First the journals, then the database: rows go from the one to the other, so that a row is in one of the two
# copies at least. One that is in both is stored once when the journal is replayed.
#
# Not in it: the configuration and the secrets. Without `auth.keys.pepper`, no key in the copy is good.
set -euo pipefail
# shellcheck source=scripts/database_env.sh
. "$(dirname "$0")/database_env.sh"
umask 077

usage() {
    sed -n '2,4p' "$0" >&2
    exit 64
}

to='' sqlite='' postgres='' audit='' ledgers=()
while [ $# -gt 0 ]; do
    case "$1" in
    --to) to=${2:?}; shift 2 ;;
    --sqlite) sqlite=${2:?}; shift 2 ;;
    --postgres) postgres=1; shift ;;
    --ledger) ledgers+=("${2:?}"); shift 2 ;;
    --audit) audit=${2:?}; shift 2 ;;
    *) usage ;;
    esac
done
[ -n "$to" ] || usage
if { [ -n "$sqlite" ] && [ -n "$postgres" ]; } || { [ -z "$sqlite" ] && [ -z "$postgres" ]; }; then
    usage
fi
[ ! -e "$to" ] || { echo "backup.sh: $to is there already" >&2; exit 1; }

partial=$to.partial
rm -rf "$partial"
mkdir -p "$partial/ledger"
trap 'rm -rf "$partial"' EXIT

# A segment that is freed while it is copied is no loss: what it held is in the database, which comes later.
for ledger in "${ledgers[@]}"; do
    [ -d "$ledger" ] || { echo "backup.sh: $ledger is no directory" >&2; exit 1; }
    for journal in "$ledger"/*/; do
        [ -d "$journal" ] || continue
        name=$(basename "$journal")
        mkdir -p "$partial/ledger/$name"
        for file in "$journal"*; do
            cp -p --sparse=always "$file" "$partial/ledger/$name/" 2>/dev/null || [ ! -e "$file" ]
        done
    done
done

if [ -n "$sqlite" ]; then
    [ -f "$sqlite" ] || { echo "backup.sh: $sqlite is no file" >&2; exit 1; }
    # SQLite's own copy: it holds what is in the -wal file, and no half of a transaction.
    sqlite3 -bail "$sqlite" ".timeout 10000" ".backup '${partial//\'/\'\'}/store.db'"
    # One file, without a -wal of its own; the gateway turns it on again.
    sqlite3 -bail "$partial/store.db" 'PRAGMA journal_mode=DELETE' >/dev/null
    [ "$(sqlite3 -readonly "$partial/store.db" 'PRAGMA integrity_check')" = ok ]
    version=$(sqlite3 -readonly "$partial/store.db" 'SELECT max(version) FROM schema_version')
else
    database_env
    # One snapshot of the whole schema, rights included.
    pg_dump --format=custom --schema=sluicegate --file="$partial/store.dump"
    pg_restore --list "$partial/store.dump" >/dev/null
    version=$(psql -XAtq -v ON_ERROR_STOP=1 -c 'SELECT max(version) FROM sluicegate.schema_version')
fi

# Lines are only ever added, so a copy is a beginning; `sluicegate audit verify` says whether it is sound.
[ -z "$audit" ] || cp -Rp "$audit" "$partial/audit"

{
    echo "time $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    echo "store $([ -n "$sqlite" ] && echo sqlite || echo postgres)"
    echo "schema_version $version"
} >"$partial/MANIFEST"
sums=$(cd "$partial" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
echo "$sums" >"$partial/SHA256SUMS"
sync -f "$partial"
mv "$partial" "$to"
trap - EXIT
echo "backup of $(sed -n 's/^store //p' "$to/MANIFEST"), schema version $version, $(du -sh "$to" | cut -f1): $to"
