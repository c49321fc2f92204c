#!/usr/bin/env bash
# Builds the image of a commit twice, and says whether both are the same to the last bit.
#   image_twice.sh [COMMIT]
#
# Each time from a clone of its own, in a directory of another name, with no cache. Takes two release builds.
# RUST_IMAGE and BASE_IMAGE name other base images than the recipe does, as they may where its registries are
# out of reach. buildah takes its own settings from its own variables (STORAGE_DRIVER, BUILDAH_ISOLATION).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/need.sh buildah git

commit=$(git rev-parse "${1:-HEAD}^{commit}")
epoch=$(git log -1 --format=%ct "$commit")
created=$(TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd "$commit")
work=$(mktemp -d)
tags=()
clean() {
    [ "${#tags[@]}" = 0 ] || buildah rmi --force "${tags[@]}" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT

options=(--build-arg "SOURCE_DATE_EPOCH=$epoch" --build-arg "CREATED=$created" --build-arg "REVISION=$commit")
for base in RUST_IMAGE BASE_IMAGE; do
    [ -z "${!base:-}" ] || options+=(--build-arg "$base=${!base}")
done

# Leaves the image as an OCI layout in $work/$1.oci.
build() {
    local tag=localhost/sluicegate-twice:$1-$$ clone=$work/$1-clone
    git clone --quiet --no-checkout . "$clone"
    git -C "$clone" checkout --quiet "$commit"
    # What `RUN --mount=type=cache` keeps is there as well: nothing of the first build is for the second.
    mkdir "$work/$1-tmp"
    TMPDIR=$work/$1-tmp buildah bud --no-cache --format oci --target sluicegate --tag "$tag" \
        --timestamp "$epoch" "${options[@]}" "$clone" >"$work/$1.log" 2>&1 || {
        tail -n 20 "$work/$1.log" >&2
        exit 1
    }
    tags+=("$tag")
    buildah push --quiet "$tag" "oci:$work/$1.oci" >/dev/null
    rm -rf "$clone" "$work/$1-tmp"
}

build one
build another
one=$(sha256sum <"$work/one.oci/index.json") another=$(sha256sum <"$work/another.oci/index.json")
if [ "$one" != "$another" ]; then
    echo "not the same: blobs that only one of the two has" >&2
    diff <(cd "$work/one.oci/blobs/sha256" && ls -l) <(cd "$work/another.oci/blobs/sha256" && ls -l) >&2 || true
    cat "$work/one.oci/index.json" "$work/another.oci/index.json" >&2
    exit 1
fi
grep -o 'sha256:[0-9a-f]*' "$work/one.oci/index.json" | head -1
echo "the same twice: $commit"
