#!/usr/bin/env bash
# Starts the release showcase on the driver named and puts every independent client on it: run.sh io_uring|epoll|auto
#
# RINGGATE_CI_TOOLS names the directory that install.sh has filled.
set -euo pipefail
cd "$(dirname "$0")"
driver=${1:?usage: run.sh io_uring|epoll|auto}
tools=${RINGGATE_CI_TOOLS:?names the directory that install.sh has filled}
showcase=${RINGGATE_SHOWCASE:-../../target/release/examples/showcase}
generate=${RINGGATE_GENERATE:-../../target/release/generate}
directory=$(mktemp -d)
server=

finish() {
    local status=$?
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [[ $status -ne 0 && -f $directory/server.log ]]; then
        echo "--- the server said:" >&2
        tail -n 40 "$directory/server.log" >&2
    fi
    rm -rf "$directory"
    exit "$status"
}
trap finish EXIT

port=$("$tools/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export RINGGATE_ADDRESS=127.0.0.1:$port RINGGATE_UNIX=$directory/showcase.socket RINGGATE_GENERATE=$generate
"$showcase" --listen "$RINGGATE_ADDRESS" --listen "unix:$RINGGATE_UNIX" --cores 0 --driver "$driver" \
    >"$directory/server.log" 2>&1 </dev/null &
server=$!
export RINGGATE_PID=$server
for _ in $(seq 100); do
    curl -so /dev/null "http://$RINGGATE_ADDRESS/hello" && break
    kill -0 "$server" || { echo "the showcase ended before it answered" >&2; exit 1; }
    sleep 0.1
done

python=$tools/venv/bin/python
# The Autobahn suite takes some minutes: once, on the first of the drivers. Without Python 2.7 it cannot run at all.
autobahn() {
    [[ $driver == io_uring ]] || return 0
    local status=0
    RINGGATE_AUTOBAHN_SECONDS=${RINGGATE_AUTOBAHN_SECONDS:-600} bash autobahn.sh "ws://$RINGGATE_ADDRESS/ws" || status=$?
    if [[ $status -eq 77 ]]; then
        echo "NOT RUN: the Autobahn suite needs Python 2.7"
        return 0
    fi
    return "$status"
}

failed=()
for check in "bash curl.sh" "$python hostile.py" "$python conformance.py" "$python python_clients.py" "bash http2.sh" \
    "$python http2_client.py" "$python websocket.py" "node websocket.mjs" "node browser.mjs" "$python churn.py" "autobahn" \
    "bash load.sh"; do
    echo "--- ${check##*/}"
    $check || failed+=("${check##*/}")
done
if [[ ${#failed[@]} -gt 0 ]]; then
    printf 'FAILED on %s: %s\n' "$driver" "${failed[*]}" >&2
    exit 1
fi

kill -0 "$server" || { echo "the showcase did not survive" >&2; exit 1; }
echo "all clients are content on $driver"
