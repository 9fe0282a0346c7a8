//! How many instructions a packet, a request and a handshake cost, by callgrind: figures that repeat, on
//! whatever machine and however busy it is.
//!
//! ```text
//! cargo run --release -p tercel-sim --example instructions              # compare with instructions.txt
//! cargo run --release -p tercel-sim --example instructions -- --update  # write instructions.txt anew
//! ```
//!
//! A client and a server, whole workers on the callback face, have their turns in one thread over a link in
//! memory ([`link`]), with the simulator's TLS that repeats. The program starts itself under valgrind for each
//! [`work::Work`] and each side; what the cryptographic library and the link do is not counted, because the one
//! depends on the processor and the other stands for a system ([`callgrind`]). Calls of the allocator are
//! counted, too. `TERCEL_KEEP=DIRECTORY` keeps what callgrind has written, for `callgrind_annotate`. It fails if
//! any figure is more than 5 % above `instructions.txt`.

mod callgrind;
mod link;
mod pair;
mod work;

use std::fmt::Write;
use std::process::ExitCode;

use self::callgrind::Cost;
use self::work::{Side, Work};

/// What the figures are compared with.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");
/// How much more than the baseline a figure may be.
const TOLERANCE: f64 = 1.05;
/// So few calls of the allocator for each unit are noise of buffers that grow now and then.
const FEW_ALLOCATIONS: f64 = 0.02;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--update"] => update(),
        ["run", name] => run(name).map(|()| true),
        _ => Err("arguments: none, `--update`, or `run` and the name of a work".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Does a work, and says how many units of it there were, and the allocations at each side.
fn run(name: &str) -> Result<()> {
    let work = Work::ALL.iter().find(|work| work.name == name).ok_or("no such work")?;
    let pair::Outcome { units, allocations: [client, server] } = pair::run(work);
    println!("{units} {client} {server}");
    Ok(())
}

/// The costs of each work, for each side.
fn measure() -> Result<Vec<(String, Cost)>> {
    let mut figures = Vec::new();
    for work in Work::ALL {
        for side in [Side::Client, Side::Server] {
            figures.push((format!("{} {} {}", work.name, side.name(), work.unit), callgrind::cost(work, side)?));
        }
    }
    Ok(figures)
}

fn update() -> Result<bool> {
    let mut text = String::from(
        "# Instructions and calls of the allocator for each unit, by work and side; see examples/instructions.\n",
    );
    for (name, cost) in measure()? {
        writeln!(text, "{name} {:.0} {:.2}", cost.instructions, cost.allocations)?;
    }
    print!("{text}");
    std::fs::write(BASELINE, text)?;
    Ok(true)
}

fn compare() -> Result<bool> {
    let baseline = std::fs::read_to_string(BASELINE)?;
    let mut good = true;
    println!("{:<32} {:>12} {:>9} {:>7}   {:>11} {:>9}", "", "instructions", "baseline", "", "allocations", "baseline");
    for (name, now) in measure()? {
        let figures = baseline.lines().find_map(|line| line.strip_prefix(&name)).ok_or("not in the baseline")?;
        let mut figures = figures.split_whitespace().map(str::parse::<f64>);
        let (Some(Ok(instructions)), Some(Ok(allocations))) = (figures.next(), figures.next()) else {
            return Err(format!("{name}: the baseline is not readable").into());
        };
        let more =
            now.instructions > instructions * TOLERANCE || now.allocations > allocations * TOLERANCE + FEW_ALLOCATIONS;
        good &= !more;
        let change = (now.instructions / instructions - 1.0) * 100.0;
        let verdict = if more { "  MORE THAN 5 % ABOVE THE BASELINE" } else { "" };
        println!(
            "{name:<32} {:>12.0} {instructions:>9.0} {change:>+6.1}%   {:>11.2} {allocations:>9.2}{verdict}",
            now.instructions, now.allocations
        );
    }
    if !good {
        println!("If the price is worth paying, `--update` writes a new baseline.");
    }
    Ok(good)
}
