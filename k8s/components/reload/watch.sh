#!/bin/sh
# Sends SIGHUP to sluicegate whenever the content below the given directories has changed.
#   watch.sh DIRECTORY...
# The kubelet swaps a whole directory at once (`..data`), so a certificate and its key are never seen apart.
set -u

every=${RELOAD_SECONDS:-10}

state() {
    # Follows the links that a mounted volume is made of. The digest of the digests: names and contents.
    find -L "$@" -type f -exec sha256sum {} + 2>/dev/null | sort | sha256sum
}

stop() {
    exit 0
}
trap stop TERM INT

before=$(state "$@")
while :; do
    # In the background, so that the signal to stop is heard at once.
    sleep "$every" &
    wait $!
    now=$(state "$@")
    [ "$now" = "$before" ] && continue
    # What can't be told now is told at the next look: the process may not be there yet.
    if pkill -HUP -x sluicegate; then
        before=$now
        echo "changed: reload asked for"
    else
        echo "changed, but no sluicegate to tell" >&2
    fi
done
