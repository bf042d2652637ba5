#!/usr/bin/env bash
# What the daemon costs a gateway, without and with heartbeats: size of the release
# binary, resident memory after three acts, system calls in an idle minute. Fails
# above the limits. Takes five minutes beside the build.
# Usage: scripts/footprint.sh   (needs strace for the idle minute)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
need_rust

max_bytes=$((10 * 1024 * 1024))
max_kib=$((15 * 1024))
# In seconds: a third of `beat_within_seconds`; longer than what is waited for below.
beat_every=100
# The verifier asks every 30 s whether a quiet connection is still there
# (HTTP/2 PING), and the gateway answers: in some system calls each.
max_calls_of_pings=20
export TSS2_LOG=all+NONE RUST_BACKTRACE=0
unset GLIBC_TUNABLES # the daemon sets its own

# As deb.sh builds it: which packages are named decides on features of what they
# share.
cargo build --quiet --locked --release -p holdfast-attester -p holdfast-verifier --bin holdfast-attester
cargo build --quiet --locked --workspace --bins
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
"$verifier" init --dir "$work/v" --server-name verifier.test >"$work/log" 2>&1
sed -i "s/^beat_within_seconds = .*/beat_within_seconds = $((beat_every * 3))/" "$work/v/config.toml"
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

say "size: $(stat -c %s "$attester") bytes of $max_bytes"
[ "$(stat -c %s "$attester")" -le "$max_bytes" ] || die "the binary is too large"

daemon=
of_process() { sed -n "s/^$1:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$daemon/status"; }
told() { # told EVENT COUNT: waits until the log has it so often
  for _ in $(seq 200); do
    [ "$(grep -cs "event=\"$1\"" "$work/run.log" || true)" -ge "$2" ] && return 0
    sleep 0.2
  done
  die "no $1: $(cat "$work/run.log")"
}
resident() { # resident WHEN
  local kib
  kib=$(of_process VmRSS)
  say "resident $1: $kib KiB of $max_kib, of which its own $(of_process RssAnon) KiB, the rest shared with the file and the libraries; $(of_process Threads) threads"
  [ "$kib" -le "$max_kib" ] || die "the daemon takes too much memory"
}
measure() { # measure NAME MOST-CALLS FLAG…
  local name=$1 most=$2 calls times
  shift 2
  say "── $name"
  : >"$work/run.log"
  "$attester" --tcti "$(of_gateway tcti)" --state-dir "$work/state" \
    run "$@" --bundle "$work/bundle" --boot-log "$(of_gateway boot_log)" >"$work/run.log" 2>&1 &
  daemon=$!
  pids+=("$daemon")
  for times in 1 2 3; do
    [ "$times" -eq 1 ] || kill -USR1 "$daemon"
    told affirmed "$times"
  done
  if [ $# -gt 0 ]; then told beats-began 1; fi
  sleep 15 # for the first beat, and for the end of threads that rest
  resident "after three acts"
  if command -v strace >/dev/null 2>&1; then
    timeout 60 strace -f -o "$work/calls" -p "$daemon" 2>/dev/null || true
    # What strace itself interrupts does not count.
    calls=$(grep -Ecv 'detached|resuming interrupted|restart_syscall' "$work/calls" || true)
    say "idle minute: $calls system calls"
    [ "$calls" -le "$most" ] || die "it wakes up while nothing is due: $(cat "$work/calls")"
  fi
  if [ $# -gt 0 ]; then
    sleep $((beat_every - 60))
    resident "after one more beat"
    if grep -q 'event="beats-failed"' "$work/run.log"; then die "$(cat "$work/run.log")"; fi
  fi
  kill "$daemon"
  wait "$daemon" || die "it ended badly: $(cat "$work/run.log")"
}
measure "without heartbeats" 0
measure "with heartbeats" "$max_calls_of_pings" --heartbeats
