#!/usr/bin/env bash
# Has the gateway check configurations whose secrets and certificates are mounted elsewhere.
#   check-configs.sh SLUICEGATE FILE...
set -euo pipefail

gateway=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Stands for /run/secrets. The values are made for this run and are good for nothing else.
mkdir -p "$work/secrets/"{sluicegate,tls}
for name in master-key key-pepper metrics-token openai-api-key anthropic-api-key xai-api-key; do
    echo "sk-$(openssl rand -hex 32)" >"$work/secrets/sluicegate/$name"
done
echo 'postgres://sluicegate_run:password@db.example.com:5432/sluicegate?sslmode=require' \
    >"$work/secrets/sluicegate/database-url"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 \
    -subj /CN=gateway.example.com -addext subjectAltName=DNS:gateway.example.com \
    -keyout "$work/secrets/tls/tls.key" -out "$work/secrets/tls/tls.crt" 2>/dev/null
mkdir "$work/policies"
cp policies/*.cedar* "$work/policies"

for file in "$@"; do
    copy=$work/$(echo "$file" | tr / _)
    # There is no Vault here: what it has stands in a file.
    sed -e "s|vault:[A-Za-z0-9/_-]*#[A-Za-z0-9_-]*|file:$work/secrets/sluicegate/openai-api-key|g" \
        -e "s|/run/secrets/|$work/secrets/|g" -e "s|/etc/sluicegate/policies|$work/policies|g" "$file" >"$copy"
    # With the variables that the deployments set, and no other.
    env -i PATH="$PATH" THREADS=2 CONNECTIONS=7500 DATABASE_CONNECTIONS=10 \
        DATABASE_URL='postgres://sluicegate_run:password@postgres:5432/sluicegate' \
        OPENAI_API_KEY=unset ANTHROPIC_API_KEY=unset XAI_API_KEY=unset SIMULATOR_KEY=unset VAULT_ROLE_ID=unset \
        METRICS_TOKEN="$(openssl rand -hex 32)" \
        SLUICEGATE_KEY_PEPPER="$(openssl rand -hex 32)" SLUICEGATE_MASTER_KEY="sk-$(openssl rand -hex 32)" \
        "$gateway" check --config "$copy" 2>&1 | sed -e "s|$copy|$file|g"
done
