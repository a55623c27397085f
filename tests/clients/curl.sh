#!/usr/bin/env bash
# HTTP/1.0 and HTTP/1.1 as curl speaks them. RINGGATE_ADDRESS is the server, RINGGATE_UNIX its Unix socket.
cd "$(dirname "$0")" && source ./checks.sh || exit 1

get() { curl --silent --show-error --max-time 20 --http1.1 "$@"; }

for path in /hello /hello-async /hello-blocking; do
    contains "GET $path" "$(get -i "$server$path")" '^HTTP/1.1 200' '^content-type: text/plain' '^content-length: 13$' \
        '^date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT$' '^server: ' '^Hello, World!$'
    equals "HEAD $path: nothing follows the head" "$(get -I "$server$path" | sed '1,/^\r$/d')" ""
    contains "HEAD $path" "$(get -I "$server$path")" '^HTTP/1.1 200' '^content-length: 13$'
done
# The status line keeps our own version in an answer to HTTP/1.0 (RFC 9110 section 6.2).
contains "HTTP/1.0 closes" "$(curl -sS --max-time 20 --http1.0 -i "$server/hello")" '^HTTP/1.[01] 200' '^Hello, World!$'
contains "OPTIONS" "$(get -i -X OPTIONS "$server/hello")" '^HTTP/1.1 2[0-9][0-9]'
contains "OPTIONS *" "$(get -i -X OPTIONS --request-target '*' "$server/")" '^HTTP/1.1 2[0-9][0-9]'
contains "any path answers GET" "$(get -i "$server/some/where?a=b")" '^HTTP/1.1 2[0-9][0-9]'
contains "the page" "$(get -i "$server/")" '^HTTP/1.1 200' '^content-type: text/html' '/features'

for path in /echo /some/where; do
    equals "POST $path" "$(get --data-binary 'a=1&b=zwei' "$server$path")" 'a=1&b=zwei'
    equals "POST $path, chunked" "$(get -H 'Transfer-Encoding: chunked' --data-binary 'in pieces' "$server$path")" 'in pieces'
done
equals "POST of nothing" "$(get -X POST -H 'Content-Length: 0' "$server/echo")" ''
head -c $((16 * 1024 * 1024)) /dev/urandom >"$directory/big"
sum=$(sha256sum <"$directory/big")
equals "16 MiB and back" "$(get --max-time 60 --data-binary "@$directory/big" "$server/echo" | sha256sum)" "$sum"
equals "16 MiB and back, chunked" \
    "$(get --max-time 60 -H 'Transfer-Encoding: chunked' -T "$directory/big" -X POST "$server/echo" | sha256sum)" "$sum"
equals "16 MiB and back, slowly" \
    "$(get --max-time 60 --limit-rate 16M --data-binary "@$directory/big" "$server/echo" | sha256sum)" "$sum"
equals "/big" "$(get --max-time 60 "$server/big" | wc -c)" $((16 * 1024 * 1024))
contains "100-continue" "$(get -v -H 'Expect: 100-continue' --data-binary 'asked first' "$server/echo" 2>&1)" \
    '^< HTTP/1.1 100' '^< HTTP/1.1 200' 'asked first'
contains "an expectation we do not know" "$(get -i -H 'Expect: a miracle' --data-binary 'x' "$server/echo")" '^HTTP/1.1 417'

contains "keep-alive over three requests" \
    "$(get -v "$server/hello" --next --http1.1 -sS --data-binary 'second' -v "$server/echo" --next --http1.1 -sS -v "$server/hello" 2>&1)" \
    'Re-using existing connection|Reusing existing' 'second'
connects=$(get -o /dev/null -w '%{num_connects}\n' "$server/hello?[1-5]" | awk '{sum += $1} END {print sum}')
equals "one connection for five requests" "$connects" 1
contains "Connection: close" "$(get -i -H 'Connection: close' "$server/hello")" '^connection: close$'

contains "/features" "$(get -i "$server/features")" '^content-type: application/json' '^\{' '"keep_alive":true' '"push":false'
contains "/json" "$(get -i "$server/json")" '^content-type: application/json' '^[[{]'
contains "/hints" "$(get -v "$server/hints" 2>&1)" '^< HTTP/1.1 103' '^< link: ' '^< HTTP/1.1 200'
contains "/hints to HTTP/1.0 has none" "$(curl -sS --max-time 20 --http1.0 -i "$server/hints" | head -n 1)" '^HTTP/1.[01] 200'
contains "/trailers" "$(get --raw -i -H 'TE: trailers' "$server/trailers")" '^transfer-encoding: chunked' '^trailer: ' '^0$'
trailer=$(get --raw -H 'TE: trailers' "$server/trailers" | tr -d '\r' | sed '1,/^0$/d')
contains "a field follows the last chunk" "$trailer" '^[a-z-]+: .'
contains "/cookie" "$(get -i -H 'Cookie: a=1; b=zwei' "$server/cookie")" '^HTTP/1.1 200' 'a.*1' 'b.*zwei'
contains "/echo returns the head" "$(get -H 'X-Probe: seen' "$server/echo")" '^x-probe: seen'
equals "/stream" "$(get "$server/stream?chunks=7&bytes=1000" | wc -c)" 7000
equals "/stream to HTTP/1.0" "$(curl -sS --max-time 20 --http1.0 "$server/stream?chunks=7&bytes=1000" | wc -c)" 7000
for path in /sleep /sleep-blocking; do
    contains "$path" "$(get -i "$server$path?ms=20")" '^HTTP/1.1 200'
done
contains "/metrics" "$(get -i "$server/metrics")" '^HTTP/1.1 200' '[0-9]'

contains "/panic, and life goes on" \
    "$(get -i -w '\n' "$server/panic" --next --http1.1 -sS -i "$server/hello")" '^HTTP/1.1 500' '^HTTP/1.1 200' '^Hello, World!$'

contains "unix socket" "$(get -i --unix-socket "${RINGGATE_UNIX:?}" http://localhost/hello)" '^HTTP/1.1 200' '^Hello, World!$'
contains "a method nobody knows" "$(get -i -X BREW "$server/hello")" '^HTTP/1.1 (405|501)'
contains "a target without end" "$(get -i "$server/$(head -c 9000 /dev/zero | tr '\0' a)")" '^HTTP/1.1 414'
contains "a field without end" "$(get -i -H "X-Long: $(head -c 40000 /dev/zero | tr '\0' a)" "$server/hello")" '^HTTP/1.1 431'

conclude curl
