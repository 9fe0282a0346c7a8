//! The table.

use std::fmt::Write as _;

use crate::peer::Stack;
use crate::run::{Run, Sample};
use crate::scenario::Scenario;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

fn spread(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)))
}

pub fn write(run: &Run, file: &str) {
    let mut text = String::from("# Tercel beside its peers\n\nMade by `cargo run --release` in this folder; see README.md.\n\n");
    let of = |stack: Stack, scenario: Scenario, value: &dyn Fn(&Sample) -> f64| -> Vec<f64> {
        let samples = run.samples.iter().filter(|sample| sample.stack == stack && sample.scenario == scenario);
        samples.map(value).collect()
    };
    let limit = median(run.limits.iter().map(crate::limit::Limit::gigabits).collect());
    let _ = writeln!(text, "| scenario | stack | median | lowest to highest | Tercel / peer | CPU s/GiB, both ends |");
    let _ = writeln!(text, "|---|---|---|---|---|---|");
    for scenario in Scenario::ALL {
        let ours = median(of(Stack::Tercel, scenario, &|sample| sample.outcome.value));
        for stack in Stack::ALL {
            let values = of(stack, scenario, &|sample| sample.outcome.value);
            if values.is_empty() {
                continue;
            }
            let ((unit, more), (low, high), middle) = (scenario.unit(), spread(&values), median(values.clone()));
            let ratio = if more { ours / middle } else { middle / ours };
            let cpu = median(of(stack, scenario, &|sample| {
                let gib = sample.outcome.bytes as f64 / f64::from(1 << 30);
                (sample.client_cpu + sample.server_cpu) / gib
            }));
            let cpu = if cpu.is_finite() { format!("{cpu:.2}") } else { String::new() };
            let ratio = if stack == Stack::Tercel { String::new() } else { format!("{ratio:.2}") };
            let _ = writeln!(
                text,
                "| {} | {} | {middle:.2} {unit} | {low:.2} to {high:.2} | {ratio} | {cpu} |",
                scenario.name(),
                stack.name(),
            );
        }
    }
    let one = |value: fn(&crate::limit::Limit) -> f64| median(run.limits.iter().map(value).collect());
    let _ = writeln!(
        text,
        "\nThe limit, measured between the rounds: {limit:.1} Gbit/s (packet protection {:.0} ns, plain UDP with GSO \
         {:.0} ns to send and {:.0} ns to receive, for each packet of {} bytes).\n\nFor times, a ratio above 1 means \
         that Tercel takes less.",
        one(|limit| limit.protect),
        one(|limit| limit.send),
        one(|limit| limit.receive),
        crate::peer::MTU,
    );
    print!("{text}");
    if let Err(error) = std::fs::write(file, text) {
        eprintln!("{file}: {error}");
    }
}
