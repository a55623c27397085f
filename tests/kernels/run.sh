#!/usr/bin/env bash
# The runtime's and the gateway's tests on other kernels than this machine's, each in a virtual machine of its own.
#
#   bash tests/kernels/fetch.sh DIRECTORY          # kernels, as Debian packs them
#   bash tests/kernels/run.sh DIRECTORY/vmlinuz-*
#
# It needs qemu-system-x86_64, busybox (the static one) and curl. What hardware virtualization does not run is emulated.
# SUITES: the test programs, by name (all by default). FILTERS: further arguments for each of them.
# The guest's whole output is kept in target/kernels/. Exit code 0 if everything passed everywhere, 77 if something that
# is needed is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Suites that meet the kernel. Emulated time is slow: a suite of one second takes half a minute.
runtime_suites=(conformance descriptors driver_tiers mesh net offload reliability task)
gateway_suites=(driver_fallback gateway_bodies gateway_http2 gateway_lifecycle gateway_requests gateway_times upgrade
    websocket_blocking websocket_faults)
suite_seconds_max=${SUITE_SECONDS_MAX:-300}
guest_seconds_max=${GUEST_SECONDS_MAX:-1800}
memory_mb=2048

for tool in qemu-system-x86_64 busybox curl cpio; do
    command -v "$tool" >/dev/null || { echo "NOT RUN: there is no $tool" >&2; exit 77; }
done
if [[ $# -eq 0 ]]; then
    echo "NOT RUN: no kernel named; tests/kernels/fetch.sh gets some" >&2
    exit 77
fi

results=target/kernels
mkdir -p "$results"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,lib,lib64,suites,etc}

# A program with the libraries that it is linked to.
install_program() {
    local library
    objcopy --strip-debug "$1" "$2"
    chmod +x "$2"
    while read -r library; do
        cp -nL "$library" "$root/lib/"
    done < <(ldd "$1" | grep -o '/[^ ]*' || true)
}

echo "building the test programs"
wanted=" ${SUITES:-${runtime_suites[*]} ${gateway_suites[*]}} "
cargo test --no-run -p ringgate-runtime -p ringgate-tests >"$results/build.log" 2>&1 || { cat "$results/build.log"; exit 1; }
while read -r name program; do
    [[ $wanted != *" $name "* ]] || install_program "$program" "$root/suites/$name"
done < <(sed -n 's|^ *Executable tests/\([a-z0-9_]*\)\.rs (\(.*\))$|\1 \2|p' "$results/build.log")
cargo build -q -p ringgate --example showcase
install_program target/debug/examples/showcase "$root/bin/showcase"
install_program "$(command -v curl)" "$root/bin/curl"
cp -L "$(command -v busybox)" "$root/bin/busybox"
cp tests/kernels/init "$root/init"
chmod +x "$root/init"
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
echo 'root::0:0::/:/bin/sh' >"$root/etc/passwd"
# What runs on the simulated driver does not meet the kernel: two seeds of it are enough.
printf 'SUITE_SECONDS_MAX=%q\nFILTERS=%q\nexport RINGGATE_SEEDS=%q\n' "$suite_seconds_max" "${FILTERS:-}" \
    "${RINGGATE_SEEDS:-2}" >"$root/settings"
initramfs=$root.cpio
trap 'rm -rf "$root" "$initramfs"' EXIT
(cd "$root" && find . | cpio -o -H newc --quiet) >"$initramfs"

boot() {
    local accelerator=$1 seconds_max=$2 kernel=$3 arguments=$4
    timeout -k 5 "$seconds_max" qemu-system-x86_64 $accelerator -smp 2 -m "$memory_mb" -nodefaults -no-reboot -display none \
        -serial stdio -kernel "$kernel" -initrd "$initramfs" \
        -append "console=ttyS0 panic=-1 quiet tsc=reliable rdinit=/init $arguments" </dev/null
}

# Where virtual machines are themselves virtual, the hardware's help may be there and not work.
accelerator="-accel kvm -cpu host"
if [[ ! -w /dev/kvm ]] || ! boot "$accelerator" 10 "$1" "only_boot" 2>/dev/null | grep -q 'GUEST kernel'; then
    echo "no hardware virtualization: emulating"
    accelerator="-accel tcg,thread=multi -cpu max"
fi

failed=0
for kernel in "$@"; do
    log=$results/$(basename "$kernel").log
    echo "=== $kernel"
    boot "$accelerator" "$guest_seconds_max" "$kernel" "" 2>&1 | tr -d '\r' | tee "$log" | grep --line-buffered -a '^GUEST' || true
    grep -qa '^GUEST done' "$log" || { echo "the guest did not come to its end; see $log"; failed=1; }
    ! grep -qaE '^GUEST (suite|showcase) [a-z0-9_]+ failed' "$log" || failed=1
done
exit $failed
