#!/usr/bin/env bash
# A short load from wrk and from our own generator, which checks every response: not a single error is allowed, and
# afterwards no connection may be left behind.
set -euo pipefail
server=http://${RINGGATE_ADDRESS:?}

for path in /hello /hello-async /hello-blocking /json; do
    report=$(wrk -t1 -c64 -d2s "$server$path")
    if grep -E 'Socket errors|Non-2xx' <<<"$report" || ! grep -qE '[1-9][0-9]* requests in' <<<"$report"; then
        echo "FAILED: wrk on $path" >&2
        echo "$report" >&2
        exit 1
    fi
    echo "wrk $path: $(grep 'requests in' <<<"$report" | sed 's/^ *//')"
done

generate=${RINGGATE_GENERATE:?}
"$generate" --address "$RINGGATE_ADDRESS" --requests 100000 --pipeline 16
"$generate" --address "$RINGGATE_ADDRESS" --path /hello-async --requests 50000 --pipeline 7
"$generate" --address "$RINGGATE_ADDRESS" --path /big --requests 40 --connections 8
"$generate" --address "$RINGGATE_ADDRESS" --path /hello --rate 5000 --seconds 1
"$generate" --address "$RINGGATE_ADDRESS" --idle 2000 --seconds 0.2

# Every client has gone; what the server still holds is a leak. It gets some seconds to notice.
descriptors() { find "/proc/${RINGGATE_PID:?}/fd" -type l -printf '%l\n' 2>/dev/null | grep -c '^socket:' || true; }
for _ in $(seq 50); do
    [[ $(descriptors) -gt 8 ]] || break
    sleep 0.1
done
[[ $(descriptors) -le 8 ]] || { echo "FAILED: $(descriptors) sockets are still open in the server" >&2; exit 1; }
echo "load: no errors, nothing left open"
