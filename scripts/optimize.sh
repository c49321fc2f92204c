#!/usr/bin/env bash
# Builds the gateway with its code laid out by how often it runs: target/optimized/sluicegate. A request's way
# goes through more code than a core's cache holds; kept together, what runs needs half as much of it.
#
# The release build is made to count what runs (BOLT), put under the load of sluicegate-compare with every
# kind of credential, policies, limits, streams and translation, and then laid out anew. Beside it are
# sluicegate-compare and a bare-pingora of the same treatment, so that comparisons stay fair.
set -euo pipefail
cd "$(dirname "$0")/.."

# The version has to know what rustc's linker writes: the newest one.
newest() { compgen -G "/usr/bin/$1-[0-9]*" | sort -V | tail -1; }
if [ -z "$(newest llvm-bolt)" ]; then
    package=$(apt-cache search --names-only '^bolt-[0-9]+$' 2>/dev/null | awk '{print $1}' | sort -V | tail -1)
    scripts/need.sh --package "${package:-bolt}"
fi
bolt=$(newest llvm-bolt) merge=$(newest merge-fdata)

out=target/optimized
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# Relocations tell BOLT where code is referred to, so that it can be moved.
# A build of its own, since flags for one program alone would build all that both share twice.
built=target/relocatable
RUSTFLAGS="-Clink-arg=-Wl,--emit-relocs" cargo build --release --locked --target-dir "$built" \
    --package sluicegate --package sluicegate-compare \
    --bin sluicegate --bin sluicegate-compare --bin bare-pingora

for program in sluicegate bare-pingora; do
    cp "$built/release/$program" "$work/$program.plain"
    "$bolt" "$work/$program.plain" -o "$work/$program" -instrument --instrumentation-file-append-pid \
        --instrumentation-file="$work/$program.profile" >"$work/log" 2>&1 || { tail "$work/log" >&2; exit 1; }
done
cp "$built/release/sluicegate-compare" "$work/sluicegate-compare"
export SLUICEGATE_PROGRAM="$PWD/$built/release/sluicegate"

# Ended by a signal that they obey, both write their profiles.
train() {
    "$work/sluicegate-compare" --sluicegate "$work/sluicegate" --rounds 1 --seconds 3 --proxies pingora,sluicegate "$@"
}
train >/dev/null
# shellcheck disable=SC2046
train --only small,stream $(python3 loadtest/compare/variants/prepare.py "$work/variants") >/dev/null
# shellcheck disable=SC2046
train --only small,stream --rate 200 $(python3 loadtest/compare/variants/prepare.py "$work/variants-rate") >/dev/null

for program in sluicegate bare-pingora; do
    profiles=("$work/$program.profile".*)
    [ -e "${profiles[0]}" ] || { echo "$program has left no profile" >&2; exit 1; }
    "$merge" "${profiles[@]}" >"$work/$program.fdata" 2>/dev/null
    "$bolt" "$work/$program.plain" -o "$out/$program" -data="$work/$program.fdata" -reorder-blocks=ext-tsp \
        -reorder-functions=cdsort -split-functions -split-all-cold -split-eh -icf=1 -use-gnu-stack \
        >"$work/log" 2>&1 || { tail "$work/log" >&2; exit 1; }
done
cp "$built/release/sluicegate-compare" "$out/sluicegate-compare"
"$out/sluicegate" --version
echo "Built: $out/sluicegate. How fast it is here: $out/sluicegate-compare --sluicegate $out/sluicegate"
