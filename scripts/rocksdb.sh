#!/usr/bin/env bash
# Builds RocksDB once, outside of Cargo's target folders: its C++ takes ten minutes on two cores, and
# Cargo would build it anew for each profile and each set of features.
#
#   scripts/rocksdb.sh folder   prints the folder of the library, for ROCKSDB_LIB_DIR
#   scripts/rocksdb.sh build    builds it, unless it is there
#
# A plain `cargo build` works without this, and builds RocksDB by itself.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly repository
readonly cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-${HOME:?neither HOME nor WEIR_CACHE is set}/.cache}/weir}

# 0.19.0+11.8.1: that of the crate, and that of RocksDB.
version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' "$repository/Cargo.lock")
[ -n "$version" ] || { echo "rocksdb: Cargo.lock names no librocksdb-sys" >&2; exit 1; }
readonly version
readonly folder=$cache/rocksdb-${version#*+}

build() {
    if [ -f "$folder/librocksdb.a" ]; then return; fi
    echo "rocksdb: building RocksDB ${version#*+} into $folder, once (10 minutes on two cores)"
    local package=$cache/rocksdb-build
    mkdir -p "$package/src" "$folder"
    # The features are those that Cargo.toml asks of the crate rocksdb. State is not on the way of an
    # event: a quicker build is worth more than the last of its speed.
    cat > "$package/Cargo.toml" <<EOF
[package]
name = "rocksdb-build"
version = "0.0.0"
edition = "2024"

[dependencies]
librocksdb-sys = { version = "=${version%+*}", default-features = false, features = ["bindgen-runtime", "lz4", "static"] }

[profile.release]
opt-level = 1

[workspace]
EOF
    : > "$package/src/lib.rs"
    env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$package/target" \
        cargo build --release --quiet --manifest-path "$package/Cargo.toml"
    local built
    built=$(find "$package/target/release/build" -path '*/out/librocksdb.a' | head -n 1)
    [ -n "$built" ] || { echo "rocksdb: no librocksdb.a was built" >&2; exit 1; }
    # Renamed at last, so that an interrupted copy is no library.
    cp "$built" "$folder/librocksdb.a.part"
    mv "$folder/librocksdb.a.part" "$folder/librocksdb.a"
    rm -rf "$package"
}

case ${1:-} in
folder) printf '%s\n' "$folder" ;;
build) build ;;
*) echo "usage: scripts/rocksdb.sh folder|build" >&2; exit 2 ;;
esac
