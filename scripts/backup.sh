#!/usr/bin/env bash
# Copies what Sluicegate keeps, while it runs.
#   backup.sh --to DIR --sqlite FILE   [--ledger DIR] [--audit DIR]
#   backup.sh --to DIR --postgres      [--ledger DIR] [--audit DIR]
#
# DIR must not exist; it appears when the backup is whole. PostgreSQL is reached by DATABASE_URL, or by libpq's
# own variables (PGSERVICE, PGHOST, PGPASSFILE and so on); the user must be able to read everything, as
# sluicegate_migrate can. --ledger is `ledger.directory`, once for each machine that has one.
#
# The database is copied as it is at one moment, and the journals right after that moment: what an instance had
# charged or written down is in one of the two at least. What is in both is stored and charged once when the
# journal is replayed, so that rows and counters agree to the last unit, whatever traffic there is meanwhile.
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
mkdir -p "$partial"
session=''
finish() {
    [ -z "$session" ] || kill "$session" 2>/dev/null || true
    rm -rf "$partial"
}
trap finish EXIT

for ledger in "${ledgers[@]}"; do
    [ -d "$ledger" ] || { echo "backup.sh: $ledger is no directory" >&2; exit 1; }
done
if [ -n "$sqlite" ]; then
    [ -f "$sqlite" ] || { echo "backup.sh: $sqlite is no file" >&2; exit 1; }
else
    database_env
fi

# A transaction that goes on seeing the database as it is now. Leaves $seen: the snapshot's name, if it has one.
open_snapshot() {
    if [ -n "$sqlite" ]; then
        coproc SESSION { exec sqlite3 -bail "$sqlite"; }
        session=$SESSION_PID
        printf '%s\n' '.timeout 10000' 'BEGIN;' 'SELECT max(version) FROM schema_version;' >&"${SESSION[1]}"
    else
        coproc SESSION { exec psql -XAtq -v ON_ERROR_STOP=1; }
        session=$SESSION_PID
        printf '%s\n' 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;' 'SELECT pg_export_snapshot();' >&"${SESSION[1]}"
    fi
    read -r seen <&"${SESSION[0]}"
}
close_snapshot() {
    local writing=${SESSION[1]}
    exec {writing}>&-
    wait "$session"
    session=''
}

segments() {
    for ledger in "${ledgers[@]}"; do
        find "$ledger" -mindepth 2 -maxdepth 2 -name '*.segment'
    done
}
copy_journals() {
    rm -rf "$partial/ledger"
    mkdir "$partial/ledger"
    for ledger in "${ledgers[@]}"; do
        for journal in "$ledger"/*/; do
            [ -d "$journal" ] || continue
            name=$(basename "$journal")
            mkdir -p "$partial/ledger/$name"
            for file in "$journal"*; do
                cp -p --sparse=always "$file" "$partial/ledger/$name/" 2>/dev/null || [ ! -e "$file" ]
            done
        done
    done
}
# A segment that is freed after the snapshot and before it is copied may have held what the snapshot lacks. An
# instance frees them in their order, so that those that were there before tell of the later ones, too.
all_there() {
    while IFS= read -r segment; do
        [ -z "$segment" ] || [ -e "$segment" ] || return 1
    done <<<"$1"
}
for tries in {1..30}; do
    before=$(segments)
    open_snapshot
    copy_journals
    ! all_there "$before" || break
    [ "$tries" -lt 30 ] || { echo "backup.sh: the journals change faster than they can be copied" >&2; exit 1; }
    close_snapshot
    sleep 1
done

if [ -n "$sqlite" ]; then
    # SQLite's own copy, of the snapshot: it holds what is in the -wal file, and no half of a transaction.
    printf '%s\n' ".backup '${partial//\'/\'\'}/store.db'" '.print copied' >&"${SESSION[1]}"
    read -r _ <&"${SESSION[0]}"
    close_snapshot
    # One file, without a -wal of its own; the gateway turns it on again.
    sqlite3 -bail "$partial/store.db" 'PRAGMA journal_mode=DELETE' >/dev/null
    [ "$(sqlite3 -readonly "$partial/store.db" 'PRAGMA integrity_check')" = ok ]
    version=$(sqlite3 -readonly "$partial/store.db" 'SELECT max(version) FROM schema_version')
else
    # The whole schema, rights included.
    pg_dump --format=custom --schema=sluicegate --snapshot="$seen" --file="$partial/store.dump"
    close_snapshot
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
