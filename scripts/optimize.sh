#!/usr/bin/env bash
# Builds the gateway by what runs: target/optimized/sluicegate. A request's way goes through more code than a
# core's cache holds; kept together, what runs needs half as much of it.
#
# Twice it is made to count what runs, and put under the load of sluicegate-compare with every kind of
# credential, policies, limits, streams and translation: once for the compiler, which then knows what to inline
# and what to keep out of the way (PGO), and once to lay out anew what came of that (BOLT). Beside it are
# sluicegate-compare and a bare-pingora of the same treatment, so that comparisons stay fair. Takes two release
# builds.
set -euo pipefail
cd "$(dirname "$0")/.."

# The versions have to know what rustc writes: the newest ones.
newest() { compgen -G "/usr/bin/$1-[0-9]*" | sort -V | tail -1; }
newest_package() {
    local found
    found=$(apt-cache search --names-only "^$1-[0-9]+\$" 2>/dev/null | awk '{print $1}' | sort -V | tail -1)
    echo "${found:-$1}"
}
packages=()
[ -n "$(newest llvm-bolt)" ] || packages+=("$(newest_package bolt)")
[ -n "$(newest llvm-profdata)" ] || packages+=("$(newest_package llvm)")
[ "${#packages[@]}" = 0 ] || scripts/need.sh --package "${packages[@]}"
bolt=$(newest llvm-bolt) merge=$(newest merge-fdata) profdata=$(newest llvm-profdata)

out=target/optimized
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/raw"

# Builds of their own, since flags for one program alone would build all that both share twice. With a target
# named, flags are not for what runs while it is built.
host=$(rustc -vV | sed -n 's/^host: //p')
build() {
    RUSTFLAGS="$2" cargo build --release --locked --target "$host" --target-dir "$1" \
        --package sluicegate --package sluicegate-compare --bin sluicegate --bin sluicegate-compare --bin bare-pingora
}

# Puts the programs in a directory under load; keys and policies for it are made with a gateway. Ended by a signal
# that they obey, all write their profiles.
train() {
    local programs=$1
    export SLUICEGATE_PROGRAM=$2
    measure() {
        "$programs/sluicegate-compare" --sluicegate "$programs/sluicegate" --rounds 1 --seconds 3 --proxies pingora,sluicegate "$@"
    }
    measure >/dev/null
    # shellcheck disable=SC2046
    measure --only small,stream $(python3 loadtest/compare/variants/prepare.py "$work/variants") >/dev/null
    # shellcheck disable=SC2046
    measure --only small,stream --rate 200 $(python3 loadtest/compare/variants/prepare.py "$work/variants-rate") >/dev/null
    rm -rf "$work/variants" "$work/variants-rate"
}

counting=$PWD/target/counting
build "$counting" "-Cprofile-generate"
LLVM_PROFILE_FILE="$work/raw/%m-%p.profraw" \
    train "$counting/$host/release" "$counting/$host/release/sluicegate"
# Where the second build finds it again, since flags tell cargo what to build anew: one profile for all, as they
# are built together. What it says is not looked at, so that nothing built by an older one may be left.
profile=$PWD/target/optimized.profdata built=$PWD/target/relocatable
"$profdata" merge -o "$profile" "$work/raw"
rm -rf "$built"

# Relocations tell BOLT where code is referred to, so that it can be moved.
build "$built" "-Cprofile-use=$profile -Clink-arg=-Wl,--emit-relocs"

mkdir "$work/counting"
for program in sluicegate bare-pingora; do
    cp "$built/$host/release/$program" "$work/$program.plain"
    "$bolt" "$work/$program.plain" -o "$work/counting/$program" -instrument --instrumentation-file-append-pid \
        --instrumentation-file="$work/$program.profile" >"$work/log" 2>&1 || { tail "$work/log" >&2; exit 1; }
done
# It takes the bare-pingora that is beside it.
cp "$built/$host/release/sluicegate-compare" "$work/counting/sluicegate-compare"
train "$work/counting" "$built/$host/release/sluicegate"

for program in sluicegate bare-pingora; do
    profiles=("$work/$program.profile".*)
    [ -e "${profiles[0]}" ] || { echo "$program has left no profile" >&2; exit 1; }
    "$merge" "${profiles[@]}" >"$work/$program.fdata" 2>/dev/null
    "$bolt" "$work/$program.plain" -o "$out/$program" -data="$work/$program.fdata" -reorder-blocks=ext-tsp \
        -reorder-functions=cdsort -split-functions -split-all-cold -split-eh -icf=1 -use-gnu-stack \
        >"$work/log" 2>&1 || { tail "$work/log" >&2; exit 1; }
done
cp "$built/$host/release/sluicegate-compare" "$out/sluicegate-compare"
"$out/sluicegate" --version
echo "Built: $out/sluicegate. How fast it is here: $out/sluicegate-compare --sluicegate $out/sluicegate"
