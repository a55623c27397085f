#!/usr/bin/env bash
# Gets kernels to test on, as Debian packs them, from the mirror that this machine uses: one per series, unpacked.
# Nothing of this machine's own package lists is touched.
#
#   bash tests/kernels/fetch.sh DIRECTORY [SERIES...]      for example: 5.10 6.1 6.12
set -euo pipefail
[[ $# -gt 0 ]] || { echo "usage: $0 DIRECTORY [SERIES...]" >&2; exit 2; }
mkdir -p "$1"
directory=$(cd "$1" && pwd)
shift
series=("$@")
[[ ${#series[@]} -gt 0 ]] || series=(5.10 6.1 6.12 6.16 6.17 6.18 7.3)

command -v apt-get >/dev/null || { echo "NOT RUN: kernels come as Debian packages, and there is no apt-get" >&2; exit 77; }
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m 1 '/debian/*$') \
    || { echo "NOT RUN: no mirror of Debian among this machine's package sources" >&2; exit 77; }
keys=/usr/share/keyrings/debian-archive-keyring.gpg

lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
mkdir -p "$lists"/{lists/partial,cache/archives/partial}
for suite in bullseye bookworm trixie trixie-backports; do
    echo "deb [signed-by=$keys arch=amd64] $mirror $suite main"
done >"$lists/sources.list"
apt=(-o "Dir::Etc::sourcelist=$lists/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$lists/lists"
    -o "Dir::Cache=$lists/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
apt-get "${apt[@]}" -qq update

for wanted in "${series[@]}"; do
    # Newer kernels stand in a package of their own, apart from what the others would have installed with them.
    package=$(apt-cache "${apt[@]}" search --names-only "^linux-(binary|image)-${wanted//./\\.}([.][.0-9]*)?[-+].*cloud-amd64$" \
        | cut -d' ' -f1 | sed 's/^linux-binary-/linux-image-binary-/' | sort -V | sed 's/^linux-image-binary-/linux-binary-/' | tail -n 1)
    [[ -n $package ]] || { echo "no kernel $wanted" >&2; continue; }
    (cd "$lists" && apt-get "${apt[@]}" -qq download "$package")
    kernel=$directory/vmlinuz-${package#linux-*-}
    archive=$(ls "$lists/$package"_*.deb)
    dpkg-deb --fsys-tarfile "$archive" | tar -xO --wildcards './*/vmlinuz*' >"$kernel"
    rm "$archive"
    echo "$kernel"
done
