#!/usr/bin/env bash
# Runs every test and ends with one line of totals.
#
# A test that lacks something here (an oracle, the corpus) prints a line
# `skipped: REASON` and returns. It passes for the runner; it is counted as
# skipped, and shown with its reason, below.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
need_rust

mkdir -p "$target_dir"
log="$target_dir/test.log"
report="$target_dir/nextest/default/junit.xml"
: >"$log"
rm -f "$report"
# The TPM stack writes to stderr what Holdfast reports itself.
export TSS2_LOG="${TSS2_LOG:-all+NONE}"
# An error's message says where it was; nextest would add the runner's own stack.
export RUST_LIB_BACKTRACE=0
if [ -t 1 ]; then export CARGO_TERM_COLOR=always; fi

failed_runs=()
run() { # run TITLE COMMAND…: keeps going after a failure; output to terminal and log
  local title=$1
  shift
  timed "$title" "$@" </dev/null 2>&1 | tee -a "$log" || failed_runs+=("$title")
}

if cargo_tool nextest; then
  run "tests" cargo nextest run --workspace --no-fail-fast
else
  say "cargo-nextest could not be installed: using cargo test"
  run "tests" cargo test --workspace --no-fail-fast --lib --bins --tests
fi
run "doc tests" cargo test --workspace --no-fail-fast --doc

# Both runners' summaries, with colours taken out:
#   nextest  "Summary [ 1.2s] 40 tests run: 39 passed (1 slow), 1 failed, 2 skipped"
#   libtest  "test result: ok. 3 passed; 0 failed; 1 ignored; …"
plain() { sed 's/\x1b\[[0-9;]*m//g' "$log"; }
count() { # count WORD: the sum of the numbers before WORD in all summaries
  plain | awk -v word="$1" '/^ *Summary \[|^test result:/ {
      while (match($0, "[0-9]+ " word)) {
        n += substr($0, RSTART, RLENGTH)
        $0 = substr($0, RSTART + RLENGTH)
      }
    }
    END { print n + 0 }'
}
# Tests that passed by saying that they lack something; one line each.
skips() {
  [ -f "$report" ] || return 0
  awk '/<testcase / {
      test = $0
      sub(/.*<testcase name="/, "", test)
      sub(/".*/, "", test)
    }
    test != "" && match($0, /(^|>|\.\.\. )skipped: /) {
      reason = substr($0, RSTART + RLENGTH)
      sub(/<\/system-(out|err)>.*/, "", reason)
      gsub(/&lt;/, "<", reason); gsub(/&gt;/, ">", reason)
      gsub(/&quot;/, "\"", reason); gsub(/&apos;/, "\047", reason); gsub(/&amp;/, "\\&", reason)
      print test ": " reason
      test = "" # once each
    }' "$report"
}
# Files of other people whose right answer is known. Several tests may read one
# kind; each kind counts once, with its worst reading.
corpus() {
  [ -f "$report" ] || return 0
  awk '
    match($0, /corpus [a-z-]+: [0-9]+ files, [0-9]+ as stated, [0-9]+ unexplained/) {
      split(substr($0, RSTART, RLENGTH), word, " ")
      kind = word[2]
      files[kind] = word[3]
      if (!(kind in stated) || word[5] < stated[kind]) stated[kind] = word[5]
      if (word[8] > unexplained[kind]) unexplained[kind] = word[8]
    }
    END {
      for (kind in files) { n += files[kind]; ok += stated[kind]; bad += unexplained[kind] }
      if (n) printf "corpus: %d files, %d as stated, %d unexplained (%d explained in the tests'"'"' tables)\n", n, ok, bad, n - ok - bad
    }' "$report"
}
# The adversary catalogue: tests whose name carries a row's number. One that was
# skipped refused nothing, and is not counted.
attacks() {
  plain | awk -v skipped="$(printf '%s\n' "${lacking[@]%%:*}")" '
    BEGIN { n_skipped = split(skipped, names, "\n"); for (i = 1; i <= n_skipped; i++) absent[names[i]] }
    $2 == "[" && /[ :](adv|cve)_[ac][0-9]+_[a-z0-9_]*$/ && $1 ~ /^(PASS|FAIL|TIMEOUT|SIG)/ {
      if (!($NF in absent)) outcome[$(NF - 1) " " $NF] = $1 # a failure is listed twice
    }
    END {
      for (test in outcome) { n++; if (outcome[test] == "PASS") ok++ }
      if (n) printf "adversary: %d of %d refused\n", ok, n
    }'
}
passed=$(count passed)
failed=$(($(count failed) + $(count 'timed out') + $(count 'exec failed')))
ignored=$(($(count skipped) + $(count ignored)))
mapfile -t lacking < <(skips)
absent=${#lacking[@]}

if [ "$absent" -gt 0 ]; then
  say ""
  say "Skipped here, and why:"
  printf '  %s\n' "${lacking[@]}"
fi
attacks
corpus
for title in "${failed_runs[@]}"; do
  say "$title: failed; the whole output is in $log"
done
# A run that broke before it could count (a build error) is one failure.
if [ ${#failed_runs[@]} -gt 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
say "$((passed - absent)) passed, $failed failed, $((ignored + absent)) skipped"
[ "$failed" -eq 0 ]
