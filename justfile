# What there is to run. `just` lists it.

default:
    @just --list

# Formatting, lints and docs, with every warning an error.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy --manifest-path fuzz/Cargo.toml --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Every test of the workspace, and every input that the fuzzer begins with.
test:
    cargo test --workspace
    cargo test --manifest-path fuzz/Cargo.toml

# The simulator at length: SEEDS seeds for each scenario.
sim SEEDS="1000":
    TERCEL_SEEDS={{SEEDS}} cargo test --release -p tercel-sim -- --nocapture

# The tests of threads under the thread sanitizer.
sanitize:
    crates/tercel/tests/thread-sanitizer

# Every fuzz target for SECONDS seconds each (needs cargo-fuzz).
fuzz SECONDS="60":
    #!/usr/bin/env bash
    set -euo pipefail
    cd fuzz
    export RUSTC_BOOTSTRAP=1
    for target in $(cargo fuzz list); do
        mkdir -p corpus/$target
        cargo fuzz run --sanitizer none $target corpus/$target seeds/$target -- \
            -max_total_time={{SECONDS}} -max_len=4096 -timeout=20
    done

# Tercel beside its peers: builds those that need cmake (what cannot be built is left out), writes bench/RESULTS.md.
bench *ARGS:
    -bench/build-peers
    -bench/sizes
    cd bench && cargo run --release -- {{ARGS}}

# What a packet, a request and a connection cost in instructions, beside the baseline (needs valgrind).
instructions *ARGS:
    cargo run --release -p tercel-sim --example instructions -- {{ARGS}}

# Tercel and its peers, case by case.
interop *ARGS:
    interop/run {{ARGS}}

# Verdicts, closes and resumption with quinn, s2n-quic, MsQuic and aioquic.
interop-tests *ARGS:
    interop/tests/run {{ARGS}}

# Tercel's HTTP/3 with Caddy, aioquic, quiche and h3 over quinn.
interop-http3 *ARGS:
    interop/http3/run {{ARGS}}

# The documentation, opened in a browser.
doc:
    cargo doc --workspace --no-deps --open

# Licences and advisories of the dependencies (needs cargo-deny).
deny:
    cargo deny check
