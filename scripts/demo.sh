#!/usr/bin/env bash
# Plays the whole story and leaves its results in target/demo.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

exec "$target_dir/debug/holdfast-sim" demo --out target/demo --bin-dir "$target_dir/debug"
