#!/usr/bin/env bash
# Prints README.md's five commands, one a line: those between its marks.
set -euo pipefail
cd "$(dirname "$0")/.."
sed -n '/^<!-- five commands -->$/,/^<!-- end -->$/p' README.md |
  grep -Ev '^(<!--|```|#|$)' |
  sed -e ':join' -e '/\\$/{N; s/\\\n *//; b join' -e '}'
