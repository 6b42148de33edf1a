#!/usr/bin/env bash
# Runs every fuzz target for some seconds (60 unless told) and stops at the first that finds
# something; the input that shows it is then in fuzz/artifacts/.
#
#   scripts/fuzz.sh [seconds]
#
# What is found on the way is kept in fuzz/corpus/, so that the next run begins there.
set -euo pipefail

readonly seconds=${1:-60}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'fuzz: %s\n' "$*" >&2; exit 1; }

case $seconds in
'' | *[!0-9]*) fail "\"$seconds\" is not a number of seconds" ;;
esac
cargo fuzz --version >/dev/null 2>&1 ||
    fail "there is no cargo-fuzz: install it with cargo install cargo-fuzz --locked"
cargo +nightly --version >/dev/null 2>&1 ||
    fail "there is no nightly Rust: install it with rustup toolchain install nightly --profile minimal"

# The longest input of a target, bytes: long enough for the limits of what is nested and of events in a record,
# where there are any.
longest() {
    case $1 in
    json_decoder | avro_decoder | sparkplug_b_decoder) echo 16384 ;;
    *_decoder | unwrap_*) echo 65536 ;;
    *) echo 4096 ;;
    esac
}

mkdir -p fuzz/corpus/pipeline_file
cp pipelines/*.yaml fuzz/corpus/pipeline_file/
for target in $(cargo +nightly fuzz list); do
    mkdir -p "fuzz/corpus/$target"
    printf 'fuzz: %s for %s s\n' "$target" "$seconds"
    # The first folder takes what is found; the seeds stay as they are.
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len="$(longest "$target")" -dict="fuzz/dictionaries/$target.dict" \
        -print_final_stats=1 -verbosity=0
done
