#!/bin/sh
# Makes in OpenBao what the gateway of docker-compose.yaml needs: the secret, a policy that may read it, and a
# role that may log in. The secret id goes to /login, which the gateway mounts. Run again, it changes nothing but
# the secret id. docs/vault.md has the same for production.
set -eu

bao kv put -mount=secret simulator api_key="$DEV_SIMULATOR_KEY" >/dev/null

bao policy write sluicegate - >/dev/null <<'POLICY'
path "secret/data/simulator" { capabilities = ["read"] }
POLICY

bao auth list | grep -q '^approle/' || bao auth enable approle >/dev/null
# Short, so that renewals and new logins are seen while one works.
bao write auth/approle/role/sluicegate \
    role_id="$DEV_VAULT_ROLE_ID" token_policies=sluicegate token_ttl=10m token_max_ttl=1h >/dev/null

umask 022
bao write -f -field=secret_id auth/approle/role/sluicegate/secret-id >/login/secret-id.new
mv /login/secret-id.new /login/secret-id
