#!/usr/bin/env bash
# Whether a gateway serves: six requests, each judged. Exit 0: all are as they should be.
#   smoke.sh URL KEY [MODEL]
#   smoke.sh URL - [MODEL]        the key is the first line of standard input, so that no list of processes has it
#
# Without MODEL, the first one that the key may use. It must be one of the OpenAI dialect; two short answers of
# it are paid for.
#
# Tools of MCP servers are looked at where the gateway has any and the key may see them: nothing is called.
#
# SMOKE_CERT and SMOKE_KEY are files of the certificate and key to show where the listener has a `client_ca`; SMOKE_CA
# is one of the authorities that the gateway's own certificate is checked by, in place of this machine's.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '3,4p' "$0" >&2; exit 64; }
options=(-sS --max-time 60)
[ -z "${SMOKE_CERT:-}" ] || options+=(--cert "$SMOKE_CERT")
[ -z "${SMOKE_KEY:-}" ] || options+=(--key "$SMOKE_KEY")
[ -z "${SMOKE_CA:-}" ] || options+=(--cacert "$SMOKE_CA")
url=${1%/} key=$2 model=${3:-}
[ "$key" != - ] || IFS= read -r key
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# NAME CURL-ARGUMENTS...: leaves $status, $work/head and $work/body.
ask() {
    name=$1
    shift
    status=$(curl "${options[@]}" -o "$work/body" -D "$work/head" -w '%{http_code}' "$@" 2>"$work/error") || {
        status=none
        : >"$work/head"
        head -1 "$work/error" >"$work/body"
    }
    request=$(sed -nE 's/^x-request-id: *([^[:space:]]+).*/\1/Ip' "$work/head" | head -1)
}
with_key() { printf 'authorization: Bearer %s\n' "$1"; }
says() {
    local verdict=$1
    shift
    printf '%-4s  %-14s  %s%s\n' "$verdict" "$name" "$*" "${request:+  ($request)}"
    [ "$verdict" = ok ] || failed=1
}
wrong() { says FAIL "status $status: $(head -c 300 "$work/body" | tr -d '\r' | tr '\n' ' ')"; }
has() { grep -qiE "$2" "$work/$1"; }

ask health "$url/health/ready"
if [ "$status" = 200 ]; then says ok "ready"; else wrong; fi

ask models -H @<(with_key "$key") "$url/v1/models"
if [ "$status" = 200 ] && has body '"data"'; then
    [ -n "$model" ] || model=$(grep -oE '"id" *: *"[^"]+"' "$work/body" | head -1 | sed -E 's/.*"([^"]+)"$/\1/')
    says ok "$(grep -oE '"id" *:' "$work/body" | wc -l) models, trying ${model:-none}"
else
    wrong
fi

chat() {
    printf '{"model":"%s","max_tokens":16,"stream":%s,"messages":[{"role":"user","content":"Say one word."}]}' "$model" "$1"
}
ask chat -H @<(with_key "$key") -H 'content-type: application/json' -d "$(chat false)" "$url/v1/chat/completions"
if [ "$status" = 200 ] && has body '"choices"' && has body '"usage"'; then
    says ok "an answer, with its usage"
else
    wrong
fi

ask 'streamed chat' -N -H @<(with_key "$key") -H 'content-type: application/json' -d "$(chat true)" "$url/v1/chat/completions"
if [ "$status" = 200 ] && has head '^content-type: *text/event-stream' && has body '^data: *\[DONE\]'; then
    says ok "$(grep -c '^data:' "$work/body") events, whole"
else
    wrong
fi

# The list is complete, where there is one. What a key may not, and a gateway without MCP, is no fault.
ask tools -H @<(with_key "$key") "$url/mcp/tools"
if [ "$status" = 200 ] && has body '"unavailable":\[\]'; then
    tools=$(grep -oE '"name":"[^"]+","server":"' "$work/body" | wc -l) || true
    [ "$tools" = 0 ] || says ok "$tools tools of MCP servers"
elif [ "$status" = 200 ]; then
    says FAIL "no tools of $(grep -oE '"unavailable":\[.*' "$work/body" | head -c 300)"
elif [[ ! "$status" =~ ^4 ]]; then
    wrong
fi

ask 'wrong key' -H @<(with_key sk-this-key-is-nobodys) -H 'content-type: application/json' -d "$(chat false)" "$url/v1/chat/completions"
if [ "$status" = 401 ] && has body '"invalid_api_key"'; then says ok "refused"; else wrong; fi

if [ "$failed" = 0 ]; then echo "PASS: $url serves"; else echo "FAIL: $url"; fi
exit "$failed"
