#!/usr/bin/env bash
# Formatting, clippy, documentation and dependencies; stops at the first that does not pass.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

say "cargo fmt"
cargo fmt --all --check
say "cargo clippy"
cargo clippy --release --workspace --all-targets -- -D warnings
say "cargo clippy, without Kafka, Kinesis and MQTT, and with each alone"
cargo clippy --release --no-default-features -- -D warnings
for feature in kafka kinesis mqtt; do
  cargo clippy --release --no-default-features --features "$feature" -- -D warnings
done
say "cargo check, the fuzz targets"
cargo check --manifest-path fuzz/Cargo.toml --quiet
say "cargo doc"
RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps --quiet
if command -v cargo-deny > /dev/null; then
  say "cargo deny"
  cargo deny check licenses bans sources
else
  say "cargo deny: not installed, left out (cargo install --locked cargo-deny)"
fi
