# What the checks with curl share; to be sourced. RINGGATE_ADDRESS is the server.
# No -e: every check is made, and judged by itself.
set -uo pipefail
server=http://${RINGGATE_ADDRESS:?is the server, as in 127.0.0.1:8080}
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
passed=0
failed=0

# Says what is wrong and goes on: one run shows everything.
fail() {
    failed=$((failed + 1))
    echo "FAILED: $1" >&2
    head -c 2000 <<<"$2" >&2
}

# contains NAME TEXT EXPECTED...: the text has a line that matches each extended regular expression.
contains() {
    local name=$1 text=${2//$'\r'/} expected
    shift 2
    for expected in "$@"; do
        if ! grep -qiE -- "$expected" <<<"$text"; then
            fail "$name: no line matches '$expected'" "$text"
            return
        fi
    done
    passed=$((passed + 1))
}

# equals NAME TEXT EXPECTED
equals() {
    if [[ $2 == "$3" ]]; then
        passed=$((passed + 1))
    else
        fail "$1: expected '$3'" "$2"
    fi
}

# conclude NAME: what it came to; the last line of a script.
conclude() {
    echo "$1: $passed passed, $failed failed"
    [[ $failed -eq 0 ]]
}
