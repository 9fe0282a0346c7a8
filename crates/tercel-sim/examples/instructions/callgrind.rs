//! Runs a work under callgrind and reads what it has found.
//!
//! Collection is on only within the turns of one side. From the total is taken what was spent within calls of
//! the cryptographic library and of functions named `not_counted_...`, by the costs of those calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::work::{Side, Work};

/// How the C library copies and fills: never by `rep movsb` and `rep stosb`, of which callgrind counts every byte as an
/// instruction, and which it uses on some processors and from some size on.
const COPIES: &str = "glibc.cpu.x86_rep_movsb_threshold=100000000:glibc.cpu.x86_rep_stosb_threshold=100000000";

/// What a unit costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Instructions, without what is not counted.
    pub(crate) instructions: f64,
    /// Calls of the allocator by Rust code.
    pub(crate) allocations: f64,
}

/// Runs `work` under callgrind for the cost of `side`.
pub(crate) fn cost(work: &Work, side: Side) -> Result<Cost> {
    let out = std::env::temp_dir().join(format!("tercel-callgrind-{}-{}", std::process::id(), side.name()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--toggle-collect=*counted_{}*", side.name()))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["run", work.name])
        .env("GLIBC_TUNABLES", COPIES)
        .output()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    if !run.status.success() {
        return Err(format!("{}: {}", work.name, String::from_utf8_lossy(&run.stderr)).into());
    }
    let said = String::from_utf8(run.stdout)?;
    let said = said.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<f64>, _>>()?;
    let [units, client, server] = said[..] else { return Err("the work says something else".into()) };
    let allocations = if side == Side::Client { client } else { server };
    let graph = Graph::read(&out)?;
    // To look further with callgrind_annotate.
    if let Some(directory) = std::env::var_os("TERCEL_KEEP") {
        std::fs::copy(&out, Path::new(&directory).join(format!("{}.{}", work.name, side.name())))?;
    }
    std::fs::remove_file(&out)?;
    let instructions = graph.counted();
    if instructions == 0 {
        return Err("nothing was counted: are the symbols stripped?".into());
    }
    Ok(Cost { instructions: instructions as f64 / units, allocations: allocations / units })
}

/// Who called whom.
#[derive(Default)]
struct Graph {
    total: u64,
    /// Caller and callee, and how many instructions were spent in the callee and whatever it called. (Calls themselves
    /// are counted by callgrind while nothing else is collected, too, and so of no use here.)
    calls: BTreeMap<(String, String), u64>,
}

impl Graph {
    /// Reads callgrind's format (without compression): after `fn=` come lines of costs, and for each callee
    /// `cfn=`, `calls=COUNT ...` and a line whose last number is the inclusive cost.
    fn read(path: &Path) -> Result<Self> {
        let mut graph = Self::default();
        let text = std::fs::read_to_string(path)?;
        let (mut caller, mut callee, mut called) = ("", "", false);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                caller = name;
            } else if let Some(name) = line.strip_prefix("cfn=") {
                callee = name;
            } else if line.starts_with("calls=") {
                called = true;
            } else if let Some(total) = line.strip_prefix("totals: ") {
                graph.total = total.trim().parse()?;
            } else if std::mem::take(&mut called) {
                let inclusive: u64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
                *graph.calls.entry((caller.to_owned(), callee.to_owned())).or_default() += inclusive;
            }
        }
        Ok(graph)
    }

    /// Instructions without what is not counted.
    fn counted(&self) -> u64 {
        // What is reached from there: the library's own helpers have names of all kinds.
        let mut inside: BTreeSet<&str> =
            self.calls.keys().map(|(_, callee)| &**callee).filter(|name| is_outside(name)).collect();
        let mut new: Vec<&str> = inside.iter().copied().collect();
        while let Some(name) = new.pop() {
            let callees =
                self.calls.range((name.to_owned(), String::new())..).take_while(|((caller, _), _)| caller == name);
            new.extend(callees.map(|((_, callee), _)| &**callee).filter(|callee| inside.insert(callee)));
        }
        let outside = |((caller, callee), _): &(&(String, String), &u64)| {
            (is_outside(callee) || counts_allocations(caller, callee)) && !inside.contains(&**caller)
        };
        self.total - self.calls.iter().filter(outside).map(|(_, inclusive)| inclusive).sum::<u64>()
    }
}

/// The counting of allocations is not what is to be counted: it asks for a thread's counters, as nobody else does
/// but he who lends a connection to its handlers.
fn counts_allocations(caller: &str, callee: &str) -> bool {
    callee == "std::thread::local::LocalKey<T>::with" && !caller.contains("::current::")
}

fn is_outside(name: &str) -> bool {
    name.starts_with("aws_lc_") || name.contains("not_counted_")
}
