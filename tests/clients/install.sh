#!/usr/bin/env bash
# Installs the Python and Node clients into a directory of their own: install.sh DIRECTORY
set -euo pipefail
directory=${1:?usage: install.sh DIRECTORY}
mkdir -p "$directory"
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check 'h11>=0.14' 'h2>=4.1' 'httpx>=0.27' 'websockets>=13'
(cd "$directory" && npm install --silent --no-audit --no-fund --no-package-lock ws@8 playwright-core@1 </dev/null)
