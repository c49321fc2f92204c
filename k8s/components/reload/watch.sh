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

# By name, from /proc: not every busybox has pkill.
hang_up() {
    told=1
    for process in /proc/[0-9]*; do
        name=
        read -r name 2>/dev/null <"$process/comm" || continue
        if [ "$name" = sluicegate ] && kill -HUP "${process#/proc/}" 2>/dev/null; then
            told=0
        fi
    done
    return $told
}

stop() {
    exit 0
}
trap stop TERM INT

before=$(state "$@")
echo "watching $*"
while :; do
    # In the background, so that the signal to stop is heard at once.
    sleep "$every" &
    wait $!
    now=$(state "$@")
    [ "$now" = "$before" ] && continue
    # What can't be told now is told at the next look: the process may not be there yet.
    if hang_up; then
        before=$now
        echo "changed: reload asked for"
    else
        echo "changed, but no sluicegate to tell" >&2
    fi
done
