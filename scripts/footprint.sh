#!/usr/bin/env bash
# What the daemon costs a gateway: size of the release binary, resident memory
# after three acts, system calls in an idle minute. Fails above the limits.
# Usage: scripts/footprint.sh   (needs strace for the idle minute)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
need_rust

max_bytes=$((10 * 1024 * 1024))
max_kib=$((15 * 1024))
export TSS2_LOG=all+NONE MALLOC_ARENA_MAX=1 # as the unit does

cargo build --quiet --release -p holdfast-attester --bins
cargo build --quiet -p holdfast-verifier -p holdfast-tpm-sim --bins
attester="$target_dir/release/holdfast-attester"
verifier="$target_dir/debug/holdfast-verifier"
work=$(mktemp -d)
pids=()
ended() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap ended EXIT
: >"$work/run.log"

"$verifier" init --dir "$work/v" --server-name verifier.test >"$work/log" 2>&1
"$verifier" serve --dir "$work/v" --listen 127.0.0.1:0 --address-file "$work/address" >>"$work/log" 2>&1 &
pids+=($!)
"$target_dir/debug/holdfast-sim" gateway --dir "$work/gw" >>"$work/log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do
  [ -s "$work/address" ] && [ -s "$work/gw/gateway.json" ] && break
  sleep 0.2
done
of_gateway() { sed -n "s/^ *\"$1\": \"\(.*\)\",*$/\1/p" "$work/gw/gateway.json"; }
{
  "$verifier" endorsement import --dir "$work/v" "$(of_gateway vendor_root)"
  "$verifier" reference import --dir "$work/v" --class default "$(of_gateway reference_values)"
  "$verifier" token create --dir "$work/v" --class default \
    --server "$(cat "$work/address")" --output "$work/bundle"
} >>"$work/log" 2>&1 || die "$(cat "$work/log")"

"$attester" --tcti "$(of_gateway tcti)" --state-dir "$work/state" \
  run --bundle "$work/bundle" --boot-log "$(of_gateway boot_log)" >"$work/run.log" 2>&1 &
daemon=$!
pids+=("$daemon")
affirmed() {
  for _ in $(seq 100); do
    [ "$(grep -cs 'event="affirmed"' "$work/run.log" || true)" -ge "$1" ] && return 0
    sleep 0.2
  done
  die "not affirmed: $(cat "$work/run.log")"
}
affirmed 1
kill -USR1 "$daemon" && affirmed 2
kill -USR1 "$daemon" && affirmed 3
sleep 1

bytes=$(stat -c %s "$attester")
kib=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$daemon/status")
own=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$daemon/status")
say "size: $bytes bytes of $max_bytes"
say "resident: $kib KiB of $max_kib, of which its own $own KiB, the rest shared with the file and the libraries"
if command -v strace >/dev/null 2>&1; then
  timeout 60 strace -f -o "$work/calls" -p "$daemon" 2>/dev/null || true
  say "idle minute: $(grep -vc 'detached' "$work/calls" || true) system calls"
fi
[ "$bytes" -le "$max_bytes" ] || die "the binary is too large"
[ "$kib" -le "$max_kib" ] || die "the daemon takes too much memory"
