#!/usr/bin/env bash
# Throughput over loopback HTTP: the demo with and without its protection, in turns. Needs wrk.
#
# "new" registers something else each time, for two seconds (the demo's ledger holds 100,000 clients); "repeat" sends one
# body over and over, which the unprotected server stores each time and the ledger answers from what it knows.
set -euo pipefail
cd "$(dirname "$0")/.."
# As the other benchmarks are built.
cargo build --quiet --profile bench -p demo
script=$(mktemp)
audit=$(mktemp)
cat >"$script" <<'LUA'
local before = '{"client_name":"Example MCP Client (my-server'
local after = ')","redirect_uris":["http://127.0.0.1:33418/callback"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none","response_types":["code"],"scope":"mcp:tools mcp:resources","application_type":"native"}'
local number, step = 0, 0
function init(args)
    wrk.method = "POST"
    wrk.headers["content-type"] = "application/json"
    step = args[1] == "new" and 1 or 0
end
function request()
    number = number + step
    return wrk.format(nil, nil, nil, before .. string.format("%07d", number) .. after)
end
LUA
trap 'rm -f "$script" "$audit" "$audit".*; kill $(jobs -p) 2>/dev/null || true' EXIT

measure() { # new or repeat, seconds, port, arguments
    kind=$1 seconds=$2 port=$3
    shift 3
    RUST_LOG=off target/release/demo --addr "127.0.0.1:$port" "$@" >/dev/null 2>&1 &
    server=$!
    sleep 0.5
    wrk -t1 -c32 "-d${seconds}s" -s "$script" "http://127.0.0.1:$port/register" -- "$kind" |
        awk '/Requests\/sec/ { print $2 } /Non-2xx/ { print "NOT ALL 2xx" > "/dev/stderr" }'
    kill $server
    wait $server 2>/dev/null || true
}

for round in 1 2 3; do
    for kind in new repeat; do
        seconds=$([ "$kind" = new ] && echo 2 || echo 5)
        bare=$(measure "$kind" "$seconds" 39101 --unprotected)
        guarded=$(measure "$kind" "$seconds" 39102 --quota 4000000000 --audit "$audit")
        awk -v r="$round" -v k="$kind" -v b="$bare" -v g="$guarded" \
            'BEGIN { printf "round %d, %s: unprotected %.0f/s, guarded %.0f/s, ratio %.2f\n", r, k, b, g, g / b }'
    done
done
