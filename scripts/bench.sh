#!/usr/bin/env bash
# Runs the benches; each prints a ratio against its floor, measured in one run.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
need_rust
export TSS2_LOG="${TSS2_LOG:-all+NONE}"
mkdir -p target/bench
# The wire figures are those of the programs as shipped.
cargo build --release --bins
cargo bench --package holdfast-integration --bench figures
say "bench: target/bench/summary.json"
