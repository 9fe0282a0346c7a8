//! Programs in C, compiled here and given the table of functions. `interop/abi/programs` runs the same as programs of
//! their own, linked with the library, under valgrind and the address sanitizer.

#![allow(clippy::unwrap_used, reason = "for tests")]

mod support;

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;

use support::*;

type Run = unsafe extern "C" fn(*const c_void, *const c_char, *const c_char) -> c_int;

/// Compiles a program to something that can be loaded.
fn compiled(source: &str) -> (tempfile::TempDir, Run) {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("program.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-g", "-O1", "-fPIC", "-shared", "-std=gnu11"])
        .arg(programs.join(source))
        .arg("-o")
        .arg(&library)
        .arg("-lpthread")
        .status()
        .expect("a C compiler");
    assert!(status.success());
    let library = c_path(&library);
    let run = unsafe {
        let library = libc::dlopen(library.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null());
        let symbol = libc::dlsym(library, c"run".as_ptr());
        assert!(!symbol.is_null());
        std::mem::transmute::<*mut c_void, Run>(symbol)
    };
    (directory, run)
}

#[test]
fn a_program_in_c() {
    let (_directory, run) = compiled("echo.c");
    let (chain, key) = (c_path(&certificate().chain), c_path(&certificate().key));
    let wrong = unsafe { run(std::ptr::from_ref(api()).cast(), chain.as_ptr(), key.as_ptr()) };
    assert_eq!(wrong, 0, "echo.c found something wrong at this line");
}
