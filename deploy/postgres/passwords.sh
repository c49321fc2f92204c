#!/bin/sh
# Run once by the database's image, after sql/roles.sql. The roles of a development stack share the password
# of its superuser.
set -eu
psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --set=password="$POSTGRES_PASSWORD" <<'SQL'
ALTER ROLE sluicegate_migrate PASSWORD :'password';
ALTER ROLE sluicegate_run PASSWORD :'password';
ALTER ROLE sluicegate_read PASSWORD :'password';
SQL
