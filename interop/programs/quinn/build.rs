//! Tells the program what version of its peer it is: cargo tells that of no dependency, but the lock
//! file does.

use std::path::Path;

fn main() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let package = env!("CARGO_PKG_NAME").trim_start_matches("tercel-interop-");
    let text = std::fs::read_to_string(lock).unwrap_or_default();
    let entry = format!("name = \"{package}\"\nversion = \"");
    let version = text.split_once(&entry).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("?");
    // noq, which shares quinn's source, differs in places.
    println!("cargo::rustc-check-cfg=cfg(noq)");
    if package == "noq" {
        println!("cargo::rustc-cfg=noq");
    }
    println!("cargo::rustc-env=PEER={package} {version}");
}
