#!/usr/bin/env bash
# Makes sure that commands are there, and installs them where it can.
#   need.sh cargo cc cmake        commands; `yaml` is Python's module
#   need.sh --package NAME...     Debian packages by name
set -euo pipefail

install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: $*. Install it with your package manager and try again." >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

package_of() {
    case "$1" in
    cc) echo gcc libc6-dev ;;
    python3) echo python3 python3-venv ;;
    yaml) echo python3-yaml ;;
    node) echo nodejs ;;
    promtool) echo prometheus ;;
    amtool) echo prometheus-alertmanager ;;
    postgres) echo postgresql ;;
    testssl) echo testssl.sh ;;
    *) echo "$1" ;;
    esac
}

present() {
    case "$1" in
    # Debian keeps each version's programs in a directory of its own.
    postgres) compgen -G "/usr/lib/postgresql/*/bin/postgres" || command -v postgres ;;
    testssl) command -v testssl || command -v testssl.sh ;;
    yaml) python3 -c 'import yaml' 2>/dev/null ;;
    pgbouncer) PATH="$PATH:/usr/sbin" command -v pgbouncer ;;
    *) command -v "$1" ;;
    esac >/dev/null
}

if [ "${1:-}" = --package ]; then
    shift
    install "$@"
    exit
fi

missing=()
for command in "$@"; do
    present "$command" && continue
    if [ "$command" = cargo ]; then
        echo "missing: cargo 1.95 or later. Install it from https://rustup.rs and try again." >&2
        exit 1
    fi
    # shellcheck disable=SC2207 # words are what is wanted
    missing+=($(package_of "$command"))
done
if [ ${#missing[@]} -gt 0 ]; then
    install "${missing[@]}"
fi
