#!/bin/sh
# Goal: the example in Rust builds without a network and keeps the contract.
# Method: cargo's own tests, then `millrace steps --check` on what it built. Arguments: CARGO CRATE TARGET_DIRECTORY MILLRACE.
set -eu
cargo=$1 crate=$2 target=$3 millrace=$4
"$cargo" test --quiet --offline --locked --manifest-path "$crate/Cargo.toml" --target-dir "$target"
"$cargo" build --quiet --release --offline --locked --manifest-path "$crate/Cargo.toml" --target-dir "$target"
said=$("$millrace" steps --check "$target/release/libflip_rust.so" "data=@$crate/src/lib.rs")
echo "$said"
echo "$said" | grep -q '^ok     flip_rust: succeeds, with every output and result that it declares$'
echo "$said" | grep -q '^ok     flip_rust: a repetition gives the same$'
