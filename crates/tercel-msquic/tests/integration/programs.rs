//! Programs in C and C++, compiled here and given the table of functions, each in processes of its own: both its ends in
//! one process; and its server and its client in two, with the library that `TERCEL_MSQUIC_LIBRARY` names in every
//! pairing with ours. `interop/abi/programs` runs the same as programs of their own, linked with the library, under
//! valgrind and the sanitizers.

use std::ffi::{OsString, c_char, c_int, c_void};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::processes::{Ending, libraries, role};
use crate::support::*;

type Run = unsafe extern "C" fn(*const c_void, *const c_char, *const c_char, c_int) -> c_int;

/// Compiles a program to something that can be loaded. `None` if there is no compiler.
fn compiled(source: &str, directory: &Path) -> Option<PathBuf> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let program = directory.join("program.so");
    let (variable, usual, standard) = match source.ends_with(".c") {
        true => ("CC", "cc", "-std=gnu11"),
        false => ("CXX", "c++", "-std=c++17"),
    };
    let compiler = std::env::var(variable).unwrap_or_else(|_| usual.into());
    let status = Command::new(&compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-g", "-O1", "-fPIC", "-shared", standard])
        .arg("-I")
        .arg(programs.join("include"))
        .arg(programs.join(source))
        .arg("-o")
        .arg(&program)
        .arg("-lpthread")
        .status();
    match status {
        Ok(status) => assert!(status.success(), "{source} is not compiled"),
        Err(error) => {
            println!("SKIPPED: {source}: {compiler}: {error}");
            return None;
        }
    }
    Some(program)
}

/// A process that runs a program.
fn process(program: &Path, port: i32, library: &Option<OsString>) -> Command {
    let mut command = role("programs::a_program", library);
    command.env("TERCEL_PROGRAM", program).env("TERCEL_PORT", port.to_string());
    // Both ends know the certificate of whoever has begun.
    command.env("TERCEL_CHAIN", &certificate().chain).env("TERCEL_KEY", &certificate().key);
    command
}

fn runs(source: &str) {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = compiled(source, directory.path()) else { return };
    let libraries = libraries();
    for library in &libraries {
        let alone = process(&program, -1, library).status().unwrap();
        assert!(alone.success(), "{source} with {library:?}");
    }
    for server in &libraries {
        let mut child =
            Ending(process(&program, 0, server).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let mut output = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let port = output.find_map(|line| line.ok()?.strip_prefix("port ")?.parse().ok()).unwrap();
        for client in &libraries {
            let visited = process(&program, port, client).status().unwrap();
            assert!(visited.success(), "{source}: server {server:?}, client {client:?}");
        }
        // The server ends when its input does, and says whether all went well.
        drop(child.0.stdin.take());
        output.for_each(drop);
        assert!(child.0.wait().unwrap().success(), "{source}: the server's end with {server:?}");
    }
}

/// A program, as the environment says.
#[test]
#[ignore = "a role of the tests below"]
fn a_program() {
    let path = |name| c_path(Path::new(&std::env::var_os(name).unwrap()));
    let (program, chain, key) = (path("TERCEL_PROGRAM"), path("TERCEL_CHAIN"), path("TERCEL_KEY"));
    let port = std::env::var("TERCEL_PORT").unwrap().parse().unwrap();
    // The harness writes of its tests where they write.
    println!();
    let run = unsafe {
        let program = libc::dlopen(program.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!program.is_null());
        let symbol = libc::dlsym(program, c"run".as_ptr());
        assert!(!symbol.is_null());
        std::mem::transmute::<*mut c_void, Run>(symbol)
    };
    let wrong = unsafe { run(std::ptr::from_ref(api()).cast(), chain.as_ptr(), key.as_ptr(), port) };
    assert_eq!(wrong, 0, "something was found to be wrong at this line");
}

macro_rules! programs {
    ($($name:ident: $source:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            runs($source);
        }
    )*};
}

programs! {
    echo: "echo.c",
    file_transfer: "file.c",
    certificate_verdicts: "verdict.c",
    resumption_and_early_data: "resumption.c",
    datagrams: "datagram.c",
    receives: "receive.c",
    driven_by_the_application: "execution.c",
    objects_in_cpp: "objects.cpp",
}
