#!/usr/bin/env bash
# Has outside tools judge alerts, their tests and their routes, and tries backup and restore on real databases.
# Nothing is started but a PostgreSQL server and a gateway of its own; no network is needed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "== $*"; }

say "rules, by promtool"
out=$(promtool check rules prometheus/recording.yaml prometheus/alerts/*.yaml 2>&1) || { echo "$out" >&2; exit 1; }
promtool check config --syntax-only deploy/prometheus/prometheus.yaml >/dev/null

say "alerts fire and are quiet, by promtool"
# One process for each file, as many at once as there are processors.
failures=$(mktemp)
trap 'rm -f "$failures"' EXIT
# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s\0' prometheus/tests/*.yaml |
    xargs -0 -P "$(nproc)" -I{} sh -c 'out=$(promtool test rules "$1" 2>&1) || printf "%s\n" "$out" >>"$2"' _ {} "$failures"
if [ -s "$failures" ]; then
    cat "$failures" >&2
    exit 1
fi

say "routes, by amtool"
amtool check-config prometheus/alertmanager.yaml >/dev/null
route() { amtool config routes test --config.file=prometheus/alertmanager.yaml --verify.receivers="$1" alertname=SluicegateConfigDrift severity="$2" >/dev/null 2>&1 || { echo "severity=$2 does not go to $1" >&2; exit 1; }; }
route pager,opsgenie,channel critical
route tickets warning
route channel info

say "names, dashboards, runbook, operator"
scripts/monitoring.py check
scripts/check_docs.py

say "scripts, by shellcheck"
scripts=(.ci/run scripts/*.sh deploy/*/*.sh k8s/components/*/*.sh)
shellcheck -x "${scripts[@]}"

say "backup and restore"
scripts/check_backup.sh

# Where the gateway has been built.
gateway=${SLUICEGATE:-}
for built in target/debug/sluicegate target/release/sluicegate; do
    [ -n "$gateway" ] || [ ! -x "$built" ] || gateway=$built
done
if [ -n "$gateway" ]; then
    say "TLS of $gateway, by testssl.sh"
    scripts/check-tls.sh "$gateway"
else
    say "TLS: not checked, as the gateway is not built"
fi
