#!/usr/bin/env bash
# Fuzzes every target for FUZZ_SECONDS each (default 30), and ends with
# executions and crashes per target. A crash fails the run; its input is in
# fuzz/artifacts/.
#
#   scripts/fuzz.sh [TARGET…]
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
need_rust
cargo_tool fuzz

# cargo-fuzz wants a nightly compiler for its -Z flags. Where there is none, the
# stable one takes them with this, for the fuzz build alone. The sanitizer is
# left out: the code under test has no `unsafe`.
export RUSTC_BOOTSTRAP=1
seconds="${FUZZ_SECONDS:-30}"
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
[ ${#targets[@]} -gt 0 ] || die "there are no fuzz targets in fuzz/"

cargo fuzz build --sanitizer none
mkdir -p "$target_dir"
log="$target_dir/fuzz.log"
report=() crashed=0
for target in "${targets[@]}"; do
  say "fuzzing $target for $seconds s"
  crashes=0
  # What is found goes into the first folder; the others are read.
  folders=("fuzz/corpus/$target")
  mkdir -p "${folders[0]}"
  [ ! -d "fuzz/seeds/$target" ] || folders+=("fuzz/seeds/$target")
  cargo fuzz run --sanitizer none "$target" "${folders[@]}" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    >"$log" 2>&1 </dev/null || { crashes=1 crashed=1; tail -n 40 "$log"; }
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
  report+=("$target: ${executions:-0} executions, $crashes crashes")
done
printf 'fuzz: %s\n' "${report[@]}"
exit "$crashed"
