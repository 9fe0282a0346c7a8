//! Makes the variants: Tercel's own queue, mailbox, handle, token and lending of connections, with
//! loom's primitives in place of the standard library's; once as they are, and once with each planted
//! bug. A replacement that does not fit exactly once stops the build, so that no variant is silently
//! the sound one.

#![allow(clippy::unwrap_used, reason = "a build that cannot go on must stop")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Which file becomes which module. Those of `model` stand in for what surrounds the others.
const FILES: &[(&str, &str)] = &[
    ("operation", "model/operation.rs"),
    ("operation::queue", "../tercel/src/operation/queue.rs"),
    ("worker", "model/worker.rs"),
    ("worker::mailbox", "../tercel/src/worker/mailbox.rs"),
    ("worker::current", "../tercel/src/worker/current.rs"),
    ("cell", "model/cell.rs"),
    ("cell::handle", "../tercel/src/cell/handle.rs"),
    ("certificate", "../tercel/src/certificate.rs"),
    ("status", "../tercel/src/status.rs"),
    ("surroundings", "model/surroundings.rs"),
    ("laws", "model/laws.rs"),
];

/// What loom takes the place of, by file.
const PRIMITIVES: &[(&str, &str, &str)] = &[
    (
        "operation::queue",
        "use std::sync::{Mutex, MutexGuard, PoisonError};",
        "use loom::sync::{Mutex, MutexGuard}; use std::sync::PoisonError;",
    ),
    ("operation::queue", "use std::sync::atomic::", "use loom::sync::atomic::"),
    (
        "worker::mailbox",
        "use std::sync::{Arc, Mutex, MutexGuard, PoisonError};",
        "use loom::sync::{Mutex, MutexGuard}; use std::sync::{Arc, PoisonError};",
    ),
    (
        "certificate",
        "use std::sync::{Arc, Mutex, MutexGuard, PoisonError};",
        "use loom::sync::{Mutex, MutexGuard}; use std::sync::{Arc, PoisonError};",
    ),
    (
        "cell::handle",
        "use std::sync::{Arc, Mutex, MutexGuard, PoisonError};",
        "use loom::sync::{Mutex, MutexGuard}; use std::sync::{Arc, PoisonError};",
    ),
    ("cell::handle", "use std::sync::atomic::", "use loom::sync::atomic::"),
    ("worker::current", "thread_local! {", "loom::thread_local! {"),
    ("worker::current", "const { RefCell::new(None) }", "RefCell::new(None)"),
    ("worker::current", "CURRENT.replace(Some(core))", "CURRENT.with(|current| current.replace(Some(core)))"),
    ("worker::current", "CURRENT.replace(outer)", "CURRENT.with(|current| current.replace(outer))"),
];

/// The planted bugs: a name, the file, what stands there and what stands there in its place.
const PLANTED: &[(&str, &str, &str, &str)] = &[
    (
        "close_overtakes_verdict",
        "operation::queue",
        "state.operations.push_back(operation);",
        "state.operations.push_front(operation);",
    ),
    ("double_completion", "cell", "std::mem::take(&mut self.pending)", "self.pending.clone()"),
    ("verdict_after_end", "cell::handle", "(operation.is_verdict() && self.is_close_called())", "false"),
    ("lost_wake_up", "worker::mailbox", "state.awake = !state.letters.is_empty();", "state.awake = false;"),
    (
        "failure_that_is_done",
        "cell::handle",
        "let _ = self.mailbox().send(Letter::Run(self.clone()));",
        "self.mailbox().send(Letter::Run(self.clone())).map_err(|_| Error::Closed)?;",
    ),
    ("lost_announcement", "operation::queue", "state.announced = false;", ""),
    ("recursive_callback", "cell", "// A handler is told later.", "self.deliver_now();"),
    ("event_after_shutdown_complete", "operation::queue", "state.ended = true;", ""),
    (
        "dropped_token_forgotten",
        "certificate",
        "let _ = answer(&question, Verdict::Reject(Alert::CERTIFICATE_UNKNOWN));",
        "drop(question);",
    ),
    (
        "token_answers_twice",
        "certificate",
        "self.question.take().map_or(Err(Error::Closed), |question| answer(&question, verdict))",
        "self.question.clone().map_or(Err(Error::Closed), |question| answer(&question, verdict))",
    ),
    ("waiting_validator_forgotten", "certificate", "wakers.into_iter().for_each(Waker::wake);", "drop(wakers);"),
];

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap());
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    println!("cargo::rerun-if-changed=build.rs");
    let mut tree = String::new();
    let variants = std::iter::once("sound").chain(PLANTED.iter().map(|(name, ..)| *name));
    for variant in variants {
        let mut modules = String::new();
        for (module, file) in FILES {
            let path = root.join(file);
            println!("cargo::rerun-if-changed={}", path.display());
            let text = text_of(&path, module, variant);
            let made = out.join(format!("{variant}.{}.rs", module.replace("::", ".")));
            fs::write(&made, text).unwrap();
            if !module.contains("::") {
                declare(&mut modules, &out, variant, module);
            }
        }
        writeln!(tree, "pub mod {variant} {{\n{modules}\npub(crate) use surroundings::*;\n}}").unwrap();
    }
    let names: Vec<_> = PLANTED.iter().map(|(name, ..)| format!("({name:?}, {name}::laws::all as fn())")).collect();
    writeln!(
        tree,
        "/// The planted bugs, each with all laws.\npub const PLANTED: &[(&str, fn())] = &[{}];",
        names.join(", ")
    )
    .unwrap();
    fs::write(out.join("variants.rs"), tree).unwrap();
}

/// A module with those below it.
fn declare(modules: &mut String, out: &Path, variant: &str, module: &str) {
    let name = module.rsplit("::").next().unwrap();
    writeln!(modules, "pub mod {name} {{").unwrap();
    for (below, _) in FILES {
        if below.rsplit_once("::").is_some_and(|(above, _)| above == module) {
            declare(modules, out, variant, below);
        }
    }
    let made = out.join(format!("{variant}.{}.rs", module.replace("::", ".")));
    writeln!(modules, "include!({made:?});\n}}").unwrap();
}

fn text_of(path: &Path, module: &str, variant: &str) -> String {
    let whole = fs::read_to_string(path).unwrap();
    // Unit tests stay where they are; and documentation of a file cannot be included.
    let whole = whole.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut text: String =
        whole.lines().filter(|line| !line.starts_with("//!")).map(|line| format!("{line}\n")).collect();
    for (of, old, new) in PRIMITIVES.iter().filter(|(of, ..)| *of == module) {
        text = replaced(&text, of, old, new);
    }
    for (_, of, old, new) in PLANTED.iter().filter(|(name, of, ..)| *name == variant && *of == module) {
        text = replaced(&text, of, old, new);
    }
    text.replace("crate::", &format!("crate::{variant}::"))
}

fn replaced(text: &str, of: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "in {of} this should stand once: {old}");
    text.replace(old, new)
}
