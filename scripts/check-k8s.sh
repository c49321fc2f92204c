#!/usr/bin/env bash
# Renders all manifests and has outside tools judge them, the image's recipe and the development stack.
# `make lint-k8s` installs the tools; the checks themselves need no network.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=.tools/k8s
kubectl=${KUBECTL:-$tools/bin/kubectl}
rendered=$tools/rendered
variants=$tools/variants
# The oldest version that the manifests are for, and the newest that the schemas know.
versions=(1.30 1.37)

say() { printf '%s\n' "== $*"; }

# What a component can't be without.
needs() {
    case "$1" in
    mtls) echo tls-cert-manager ;;
    load-balancer) echo tls-cert-manager ;;
    backup) echo database-ca ;;
    esac
}

# The base with one component, so that each is judged whether an overlay has it or not.
write_variant() {
    mkdir -p "$variants/$1"
    {
        echo "apiVersion: kustomize.config.k8s.io/v1beta1"
        echo "kind: Kustomization"
        echo "namespace: sluicegate"
        echo "resources: [../../../../k8s/base]"
        echo "components:"
        for component in $(needs "$1") "$1"; do
            echo "  - ../../../../k8s/components/$component"
        done
    } >"$variants/$1/kustomization.yaml"
}

say "render"
rm -rf "$rendered" "$variants"
mkdir -p "$rendered"
for overlay in k8s/overlays/*/; do
    "$kubectl" kustomize "$overlay" >"$rendered/$(basename "$overlay").yaml"
done
for component in k8s/components/*/; do
    name=$(basename "$component")
    write_variant "$name"
    "$kubectl" kustomize "$variants/$name" >"$rendered/component-$name.yaml"
done

say "schemas and what must fit together"
"$tools/bin/python" scripts/manifests.py --versions "${versions[@]}" --foreign "$tools/foreign.json" -- \
    "$rendered"/*.yaml k8s/components/*/cluster-*.yaml
node scripts/foreign.mjs "$tools/foreign" "$tools/foreign.json"

say "checkov"
"$tools/bin/checkov" --config-file k8s/tools/checkov.yaml --framework kubernetes --directory "$rendered"
"$tools/bin/checkov" --config-file k8s/tools/checkov.yaml --framework dockerfile --file Dockerfile

say "image and development stack"
"$tools/bin/hadolint" Dockerfile
"$tools/bin/python" scripts/image_context.py
"$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.yaml

# The gateway itself has the last word, where it has been built.
gateway=${SLUICEGATE:-}
for built in target/debug/sluicegate target/release/sluicegate; do
    [ -n "$gateway" ] || [ ! -x "$built" ] || gateway=$built
done
if [ -n "$gateway" ]; then
    say "configurations, by $gateway check"
    scripts/check-configs.sh "$gateway" k8s/base/sluicegate.yaml k8s/overlays/*/sluicegate.yaml deploy/sluicegate/sluicegate.yaml
else
    say "configurations: not checked, as the gateway is not built"
fi
