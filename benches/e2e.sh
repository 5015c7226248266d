#!/usr/bin/env bash
# Throughput over loopback HTTP: the axum example with and without the guard, in turns. Needs wrk.
set -euo pipefail
cd "$(dirname "$0")/.."
# As the other benchmarks are built.
cargo build --quiet --profile bench --example axum
script=$(mktemp)
audit=$(mktemp)
cat >"$script" <<'LUA'
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{"client_name":"Example MCP Client (my-server)","redirect_uris":["http://127.0.0.1:33418/callback"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none","response_types":["code"],"scope":"mcp:tools mcp:resources","application_type":"native"}'
LUA
trap 'rm -f "$script" "$audit" "$audit".*; kill $(jobs -p) 2>/dev/null || true' EXIT

measure() { # port, arguments
    port=$1
    shift
    RUST_LOG=off target/release/examples/axum --addr "127.0.0.1:$port" "$@" >/dev/null 2>&1 &
    server=$!
    sleep 0.5
    wrk -t1 -c32 -d5s -s "$script" "http://127.0.0.1:$port/register" | awk '/Requests\/sec/ { print $2 } /Non-2xx/ { print "NOT ALL 2xx" > "/dev/stderr" }'
    kill $server
    wait $server 2>/dev/null || true
}

for round in 1 2 3; do
    bare=$(measure 39101 --unprotected)
    guarded=$(measure 39102 --quota 4000000000 --audit "$audit")
    awk -v r="$round" -v b="$bare" -v g="$guarded" 'BEGIN { printf "round %d: unprotected %.0f/s, guarded %.0f/s, ratio %.2f\n", r, b, g, g / b }'
done
