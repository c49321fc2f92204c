#!/usr/bin/env bash
# Has testssl.sh judge the TLS of a gateway that is started for it, with a certificate made for this run.
#   check-tls.sh SLUICEGATE
# No network is needed but this machine's own.
set -euo pipefail
cd "$(dirname "$0")/.."

gateway=$(realpath "$1")
judge=$PWD/scripts/check_tls.py
# Debian's name for it, or its own.
testssl=$(command -v testssl || command -v testssl.sh)
work=$(mktemp -d)
process=
stop() {
    [ -z "$process" ] || kill "$process" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

cd "$work"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout tls.key -out tls.crt 2>/dev/null
echo "sk-$(openssl rand -hex 32)" >master-key
cat >sluicegate.yaml <<YAML
environment: production
listeners:
  proxy: { address: "127.0.0.1:0", tls: { certificate: $work/tls.crt, key: $work/tls.key } }
  admin: { address: "127.0.0.1:0" }
  metrics: { address: "127.0.0.1:0" }
admin: { master_key: "file:$work/master-key" }
YAML

"$gateway" serve --config sluicegate.yaml --upgrade-socket upgrade/upgrade.sock >/dev/null 2>said &
process=$!
port=
for _ in $(seq 300); do
    port=$(sed -nE 's/.*"listening".*"proxy":"127\.0\.0\.1:([0-9]+)".*/\1/p' said)
    [ -z "$port" ] || break
    kill -0 "$process" 2>/dev/null || break
    sleep 0.1
done
if [ -z "$port" ]; then
    cat said >&2
    exit 1
fi

# Protocols, suites, forward secrecy, preferences, headers, known weaknesses.
timeout 600 "$testssl" --quiet --color 0 --warnings off --nodns none --ip 127.0.0.1 -p -s -f -P -h -U \
    --jsonfile findings.json "localhost:$port" </dev/null >report 2>&1 || true
if [ ! -s findings.json ]; then
    cat report >&2
    exit 1
fi
python3 "$judge" findings.json
