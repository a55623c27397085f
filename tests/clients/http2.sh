#!/usr/bin/env bash
# HTTP/2 by prior knowledge as curl, nghttp and h2load speak it. RINGGATE_ADDRESS is the server.
cd "$(dirname "$0")" && source ./checks.sh || exit 1

get() { curl --silent --show-error --max-time 60 --http2-prior-knowledge "$@"; }

for path in /hello /hello-async /hello-blocking; do
    contains "GET $path" "$(get -i "$server$path")" '^HTTP/2 200' '^content-type: text/plain' '^content-length: 13$' \
        '^date: ' '^server: ' '^Hello, World!$'
    contains "HEAD $path" "$(get -I "$server$path")" '^HTTP/2 200' '^content-length: 13$'
done
equals "no fields of a connection" "$(get -i "$server/hello" | grep -ciE '^(connection|keep-alive|transfer-encoding):' || true)" 0
equals "POST" "$(get --data-binary 'a=1' "$server/echo")" 'a=1'
head -c $((16 * 1024 * 1024)) /dev/urandom >"$directory/big"
sum=$(sha256sum <"$directory/big")
equals "16 MiB and back" "$(get --data-binary "@$directory/big" "$server/echo" | sha256sum)" "$sum"
equals "/big" "$(get "$server/big" | wc -c)" $((16 * 1024 * 1024))
equals "/stream" "$(get "$server/stream?chunks=7&bytes=1000" | wc -c)" 7000
contains "/hints" "$(get -v "$server/hints" 2>&1)" '^< HTTP/2 103' '^< link: ' '^< HTTP/2 200'
contains "/cookie" "$(get -H 'Cookie: a=1; b=zwei' "$server/cookie")" 'a.*1' 'b.*zwei'
# One request per curl: curl 7.88 (Debian 12) breaks off with "framing layer" when it reuses a connection that began by
# prior knowledge, against every server. Many requests on one connection are what nghttp, h2load and h2 are here for.
contains "/panic" "$(get -i "$server/panic")" '^HTTP/2 500'
contains "life goes on" "$(get -i "$server/hello")" '^HTTP/2 200'

statistics=$(nghttp -nv "$server/hello" "$server/trailers" "$server/hints")
contains "nghttp" "$statistics" 'recv SETTINGS frame' ':status: 200' ':status: 103'
contains "nghttp, trailers arrive in a second HEADERS" "$statistics" 'recv HEADERS frame .*' 'END_STREAM \| END_HEADERS'
contains "nghttp, padding and weights" "$(nghttp -n -v --padding=64 --weight=200 "$server/hello")" ':status: 200'
contains "nghttp, small windows" "$(nghttp -nv -w 10 -W 12 "$server/stream?chunks=4&bytes=20000")" ':status: 200'

for shape in "8 32 50000" "64 1 20000" "1 100 20000"; do
    read -r connections streams requests <<<"$shape"
    report=$(h2load -n "$requests" -c "$connections" -m "$streams" "$server/hello")
    contains "h2load $shape" "$report" "$requests succeeded, 0 failed, 0 errored, 0 timeout" "status codes: $requests 2xx"
done
head -c 102400 "$directory/big" >"$directory/100k"
contains "h2load, bodies up" "$(h2load -n 400 -c 4 -m 8 -d "$directory/100k" "$server/echo")" \
    '400 succeeded, 0 failed, 0 errored, 0 timeout'

conclude http2
