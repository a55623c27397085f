#!/usr/bin/env bash
# The Autobahn WebSocket test suite against a running server: autobahn.sh URL [CASE...]
#
#   autobahn.sh ws://127.0.0.1:8080/ws                   the cases of every CI run
#   autobahn.sh ws://127.0.0.1:8080/ws rest              what they leave out: groups 9, 12 and 13 whole (a quarter of an hour)
#   autobahn.sh ws://127.0.0.1:8080/ws all               all 517 cases
#   autobahn.sh ws://127.0.0.1:8080/ws '9.*'             a group
#
# Every case and its closing handshake have to end OK or INFORMATIONAL; NON-STRICT and UNIMPLEMENTED are failures. The suite
# is written for Python 2.7, which distributions no longer carry: RINGGATE_PYTHON2 names an interpreter, otherwise
# `python2.7`, `pypy` and the versions of pyenv are looked for. RINGGATE_CI_TOOLS is where the virtual environment is kept.
set -euo pipefail
url=${1:?usage: autobahn.sh URL [CASE...]}
shift
cases=("$@")
# Groups 1-7 and 10 whole; 12 and 13 (compression) by a sample that has each payload kind and each parameter set once.
every_run=('1.*' '2.*' '3.*' '4.*' '5.*' '6.*' '7.*' '10.*' 12.{1,2,3,4,5}.{1,4,10} 13.{1,2,3,4,5,6,7}.{1,4,10})
case ${cases[*]:-} in
    '') cases=("${every_run[@]}") ;;
    rest) cases=('9.*' '12.*' '13.*') ;;
    all) cases=('*') ;;
esac

find_python2() {
    local candidate
    for candidate in "${RINGGATE_PYTHON2:-}" python2.7 pypy "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7; do
        if [[ -n $candidate ]] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "no Python 2.7: set RINGGATE_PYTHON2 to an interpreter" >&2
    return 1
}

tools=${RINGGATE_CI_TOOLS:?names the directory for the virtual environment}
suite=$tools/autobahn/bin/wstest
if [[ ! -x $suite ]]; then
    python2=$(find_python2) || exit 77
    mkdir -p "$tools"
    # A virtualenv that still knows Python 2.7, kept out of the interpreter's own packages.
    "$python2" -m pip install --quiet --disable-pip-version-check --target "$tools/virtualenv2" 'virtualenv<20.22'
    PYTHONPATH="$tools/virtualenv2" "$python2" -m virtualenv --quiet "$tools/autobahn"
    "$tools/autobahn/bin/pip" install --quiet --disable-pip-version-check autobahntestsuite
fi

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 - "$url" "$directory" "${cases[@]}" <<'PYTHON'
import json, sys
url, directory, *cases = sys.argv[1:]
specification = {
    "outdir": directory + "/reports",
    "servers": [{"agent": "ringgate", "url": url}],
    "cases": cases,
    "exclude-cases": [],
    "exclude-agent-cases": {},
}
json.dump(specification, open(directory + "/fuzzingclient.json", "w"))
PYTHON
(cd "$directory" && timeout "${RINGGATE_AUTOBAHN_SECONDS:-1500}" "$suite" -m fuzzingclient -s fuzzingclient.json >wstest.log 2>&1 </dev/null) \
    || { tail -n 20 "$directory/wstest.log" >&2; exit 1; }
python3 - "$directory/reports/index.json" <<'PYTHON'
import collections, json, sys
results = json.load(open(sys.argv[1]))["ringgate"]
good = {"OK", "INFORMATIONAL"}
wrong = {case: verdict for case, verdict in results.items() if verdict["behavior"] not in good or verdict["behaviorClose"] not in good}
for case, verdict in sorted(wrong.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
    print(f"FAILED: case {case}: {verdict['behavior']}, close {verdict['behaviorClose']}, code {verdict['remoteCloseCode']}", file=sys.stderr)
print("autobahn:", dict(collections.Counter(verdict["behavior"] for verdict in results.values())))
print(f"{len(results) - len(wrong)} passed, {len(wrong)} failed")
sys.exit(bool(wrong) or not results)
PYTHON
