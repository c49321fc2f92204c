#!/usr/bin/env bash
# Puts a backup of backup.sh in place. Every instance must be stopped.
#   restore.sh --from DIR --sqlite FILE   [--ledger DIR] [--audit DIR]
#   restore.sh --from DIR --postgres      [--ledger DIR] [--audit DIR]
#
# The database first, then the journals: an instance that starts on them stores what the database lacks. A
# journal that is still there is completed, not replaced: what it has is newer. A SQLite file that is there is
# kept as FILE.before; a schema in PostgreSQL is replaced, all or nothing, and needs --replace. The roles of
# sql/roles.sql must be there; PostgreSQL is reached as for backup.sh, by the owner of the schema.
set -euo pipefail
# shellcheck source=scripts/database_env.sh
. "$(dirname "$0")/database_env.sh"
umask 077

usage() {
    sed -n '2,4p' "$0" >&2
    exit 64
}

fail() {
    echo "restore.sh: $*" >&2
    exit 1
}

from='' sqlite='' postgres='' ledger='' audit='' replace=''
while [ $# -gt 0 ]; do
    case "$1" in
    --from) from=${2:?}; shift 2 ;;
    --sqlite) sqlite=${2:?}; shift 2 ;;
    --postgres) postgres=1; shift ;;
    --ledger) ledger=${2:?}; shift 2 ;;
    --audit) audit=${2:?}; shift 2 ;;
    --replace) replace=1; shift ;;
    *) usage ;;
    esac
done
[ -n "$from" ] || usage
if { [ -n "$sqlite" ] && [ -n "$postgres" ]; } || { [ -z "$sqlite" ] && [ -z "$postgres" ]; }; then
    usage
fi

(cd "$from" && sha256sum --quiet --check SHA256SUMS) || fail "$from is not as it was made"
kind=$(sed -n 's/^store //p' "$from/MANIFEST")
[ "$kind" = "$([ -n "$sqlite" ] && echo sqlite || echo postgres)" ] || fail "$from is of $kind"

# A journal whose lock is held has a process that lives.
if [ -n "$ledger" ] && [ -d "$ledger" ]; then
    for lock in "$ledger"/*/lock; do
        [ -e "$lock" ] || continue
        flock --nonblock "$lock" true || fail "an instance still runs: it holds $lock"
    done
fi

if [ -n "$sqlite" ]; then
    if [ -e "$sqlite" ]; then
        [ ! -e "$sqlite.before" ] || fail "$sqlite.before is in the way"
        # With what belongs to it: the copy must not find another database's -wal beside it.
        for suffix in '' -wal -shm; do
            [ ! -e "$sqlite$suffix" ] || mv "$sqlite$suffix" "$sqlite.before$suffix"
        done
    fi
    mkdir -p "$(dirname "$sqlite")"
    cp "$from/store.db" "$sqlite.partial"
    chmod 600 "$sqlite.partial"
    sync "$sqlite.partial"
    mv "$sqlite.partial" "$sqlite"
else
    database_env
    there=$(psql -XAtq -v ON_ERROR_STOP=1 -c "SELECT count(*) FROM pg_tables WHERE schemaname = 'sluicegate'")
    [ "$there" = 0 ] || [ -n "$replace" ] || fail "the schema has $there tables; --replace replaces them"
    # Whoever it is: instances may have another role by now. What a session is, the server tells its own role alone
    # and those that may see all: what is not known to be a worker of the server counts as a client. One that has
    # just ended is there for a moment more.
    for tries in {1..10}; do
        others=$(psql -XAtq -v ON_ERROR_STOP=1 -c "SELECT string_agg(usename || ' (pid ' || pid || ')', ', ' ORDER BY usename, pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL AND COALESCE(backend_type, 'client backend') = 'client backend'")
        [ -n "$others" ] || break
        [ "$tries" -lt 10 ] || fail "others are connected to the database, instances perhaps; end them first: $others"
        sleep 0.5
    done
    # The schema itself stays, with its owner and the rights that sql/roles.sql gave. The rights that new tables
    # get by default come last, from the dump: else tables would have them beside their own.
    {
        echo 'BEGIN;'
        echo 'ALTER DEFAULT PRIVILEGES FOR ROLE sluicegate_migrate IN SCHEMA sluicegate REVOKE ALL ON TABLES FROM sluicegate_run;'
        echo 'ALTER DEFAULT PRIVILEGES FOR ROLE sluicegate_migrate IN SCHEMA sluicegate REVOKE ALL ON FUNCTIONS FROM sluicegate_run;'
        psql -XAtq -v ON_ERROR_STOP=1 -c "SELECT format('DROP TABLE sluicegate.%I CASCADE;', tablename) FROM pg_tables WHERE schemaname = 'sluicegate'
            UNION ALL SELECT format('DROP FUNCTION %s CASCADE;', p.oid::regprocedure) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'sluicegate'
            UNION ALL SELECT format('DROP SEQUENCE IF EXISTS sluicegate.%I CASCADE;', sequencename) FROM pg_sequences WHERE schemaname = 'sluicegate'"
        # What the dump says of the schema as such, it says to an owner who may not make schemas.
        pg_restore --file=- --use-list=<(pg_restore --list "$from/store.dump" | grep -vE ' (SCHEMA|ACL - SCHEMA|COMMENT - SCHEMA) ') "$from/store.dump"
        echo 'COMMIT;'
    } | PGOPTIONS="${PGOPTIONS:-} -c client_min_messages=warning" psql -Xq -v ON_ERROR_STOP=1 >/dev/null
fi

if [ -n "$ledger" ] && [ -d "$from/ledger" ]; then
    mkdir -p "$ledger"
    for journal in "$from"/ledger/*/; do
        [ -d "$journal" ] || continue
        name=$(basename "$journal")
        # Under a name that instances pass over until it is whole.
        if [ ! -e "$ledger/$name" ]; then
            rm -rf "$ledger/.new-restore-$name"
            cp -Rp "$journal" "$ledger/.new-restore-$name"
            mv "$ledger/.new-restore-$name" "$ledger/$name"
        else
            cp -Rpn "$journal". "$ledger/$name/"
        fi
    done
fi
[ -z "$audit" ] || [ ! -d "$from/audit" ] || { mkdir -p "$audit" && cp -Rpn "$from/audit/." "$audit/"; }
echo "restored: $(tr '\n' ' ' <"$from/MANIFEST")"
