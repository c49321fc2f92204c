# shellcheck shell=bash
# For backup.sh and restore.sh.

# Sets libpq's variables from DATABASE_URL, where it is given: on a command line, everybody on the machine
# could read the password.
database_env() {
    [ -n "${DATABASE_URL:-}" ] || return 0
    local assignments
    assignments=$(
        python3 - <<'PYTHON'
import os, shlex, sys
from urllib.parse import parse_qsl, unquote, urlsplit

url = urlsplit(os.environ["DATABASE_URL"])
if url.scheme not in ("postgres", "postgresql"):
    sys.exit("DATABASE_URL: not a URL of PostgreSQL")
names = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD",
         "dbname": "PGDATABASE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT",
         "sslkey": "PGSSLKEY"}
parts = {"host": url.hostname, "port": url.port, "user": url.username, "password": url.password,
         "dbname": url.path.lstrip("/") or None}
parts = {name: unquote(str(value)) for name, value in parts.items() if value is not None}
# The gateway's own settings of its connections are none of libpq's.
parts |= {name: value for name, value in parse_qsl(url.query) if name in names}
for name, value in parts.items():
    print(f"export {names[name]}={shlex.quote(value)}")
PYTHON
    ) || return 1
    eval "$assignments"
    unset DATABASE_URL
}
