//! Draws the figures of `docs/congestion/`:
//!
//! ```text
//! cargo run --release -p tercel-sim --example congestion_plots -- docs/congestion
//! ```
//!
//! Text is set in DejaVu Sans, from where Linux systems have it, or in the TrueType font that the environment
//! variable `FONT` names.

use std::error::Error;
use std::ops::Range;
use std::path::Path as File;
use std::time::Duration;

use plotters::prelude::*;
use plotters::style::register_font;
use tercel_proto::config::CongestionAlgorithm::{Bbr, Cubic, Prague};
use tercel_sim::congestion::{Course, Flow, Path, Trial};

type Done = Result<(), Box<dyn Error>>;
type Points = Vec<(f64, f64)>;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const SIZE: (u32, u32) = (1200, 900);
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 97, 168), RGBColor(214, 96, 28), RGBColor(34, 139, 84), RGBColor(148, 60, 148)];
const GREY: RGBColor = RGBColor(120, 120, 120);

const FONTS: [&str; 3] = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
];

fn main() -> Done {
    let directory = std::env::args().nth(1).ok_or("where to? Name a directory")?;
    let named = std::env::var("FONT").ok();
    let font = named.into_iter().chain(FONTS.map(String::from)).find_map(|font| std::fs::read(font).ok());
    let font = font.ok_or("no DejaVu Sans here: name a TrueType font in FONT")?;
    register_font("sans-serif", FontStyle::Normal, font.leak()).map_err(|_| "this font cannot be read")?;

    let directory = File::new(&directory);
    let path = Path::new(50, 40 * MS);
    let run = |path, congestion, seconds| Trial::alone(path, congestion, seconds * SECOND).run();
    compare(
        &directory.join("cubic-bbr.png"),
        "One flow, 50 Mbit/s, 40 ms, a buffer of twice what the path holds",
        &[("CUBIC", run(path.with_buffer(2.0), Cubic, 16)), ("BBR", run(path.with_buffer(2.0), Bbr, 16))],
    )?;
    let marking = Path { marks_after: Some(MS), ..path };
    compare(
        &directory.join("prague.png"),
        "One flow, 50 Mbit/s, 40 ms, a queue that marks what waits for more than 1 ms",
        &[("CUBIC", run(marking, Cubic, 16)), ("Prague", run(marking, Prague, 16))],
    )?;
    sharing(&directory.join("fairness.png"))?;
    start(&directory.join("slow-start.png"))
}

/// Window, queue and rate of courses over the same path, one below the other.
fn compare(file: &File, title: &str, courses: &[(&str, Course)]) -> Done {
    let root = BitMapBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.margin(14, 0, 0, 0).titled(title, ("sans-serif", 26))?.split_evenly((3, 1));
    let (path, grid) = (courses[0].1.path, courses[0].1.grid);
    let seconds = 0.0..(grid * courses[0].1.queue.len() as u32).as_secs_f64();
    let each = |points: &dyn Fn(&Course) -> Points| -> Vec<(String, Points)> {
        courses.iter().map(|(name, course)| ((*name).to_string(), points(course))).collect()
    };
    let bdp = path.bdp() as f64;
    let window = |course: &Course| series(course, |index| course.flows[0][index].window as f64 / bdp);
    panel(&panels[0], "window, in BDP", None, seconds.clone(), &each(&window), &[(1.0, "BDP")])?;
    // The longest wait of each twentieth of a second.
    let wait = |course: &Course| {
        let step = 50 * MS;
        let times = (0..(seconds.end * 20.0) as u32).map(|index| step * index);
        times.map(|at| (at.as_secs_f64(), course.longest_wait(at, at + step).as_secs_f64() * 1e3)).collect()
    };
    let full = path.buffer as f64 / path.rate as f64 * 1e3;
    let full = if courses[0].1.path.marks_after.is_some() { (1.0, "marks from here") } else { (full, "buffer full") };
    panel(&panels[1], "queue, in ms", None, seconds.clone(), &each(&wait), &[full])?;
    let rate = |course: &Course| rates(course, 0, 100 * MS);
    let mbits = path.rate as f64 / 125_000.0;
    panel(&panels[2], "rate, in Mbit/s", Some("time, in seconds"), seconds, &each(&rate), &[(mbits, "link")])?;
    root.present()?;
    Ok(())
}

/// Four flows of CUBIC, one after the other.
fn sharing(file: &File) -> Done {
    let path = Path::new(20, 20 * MS);
    let flows = (0..4).map(|flow| Flow::new(Cubic).starting(flow * 5 * SECOND)).collect();
    let course = Trial { path, flows, lasts: 60 * SECOND, grid: 20 * MS, seed: 1 }.run();
    let root = BitMapBackend::new(file, (SIZE.0, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let area = root
        .margin(14, 0, 0, 0)
        .titled("Four flows of CUBIC, 20 Mbit/s, 20 ms, a buffer of one BDP", ("sans-serif", 26))?;
    let lines: Vec<_> = (0..4).map(|flow| (format!("flow {}", flow + 1), rates(&course, flow, SECOND))).collect();
    let marks = [(20.0, "link"), (5.0, "a fair share")];
    panel(&area, "rate, in Mbit/s", Some("time, in seconds"), 0.0..60.0, &lines, &marks)?;
    root.present()?;
    Ok(())
}

/// How slow start ends, with HyStart++ and without.
fn start(file: &File) -> Done {
    let path = Path::new(50, 40 * MS);
    let run = |hystart| {
        let flows = vec![Flow { hystart, ..Flow::new(Cubic) }];
        Trial { path, flows, lasts: 2 * SECOND, grid: 5 * MS, seed: 1 }.run()
    };
    let courses = [("HyStart++", run(true)), ("without", run(false))];
    let root = BitMapBackend::new(file, (SIZE.0, 640)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = "The begin of a flow of CUBIC, 50 Mbit/s, 40 ms, a buffer of one BDP";
    let panels = root.margin(14, 0, 0, 0).titled(title, ("sans-serif", 26))?.split_evenly((2, 1));
    let bdp = path.bdp() as f64;
    let window = |course: &Course| series(course, |index| course.flows[0][index].window as f64 / bdp);
    let lost = |course: &Course| series(course, |index| course.flows[0][index].lost as f64);
    let each = |points: &dyn Fn(&Course) -> Points| -> Vec<(String, Points)> {
        courses.iter().map(|(name, course)| ((*name).to_string(), points(course))).collect()
    };
    panel(&panels[0], "window, in BDP", None, 0.0..2.0, &each(&window), &[(2.0, "path and buffer full")])?;
    panel(&panels[1], "packets lost", Some("time, in seconds"), 0.0..2.0, &each(&lost), &[])?;
    root.present()?;
    Ok(())
}

fn series(course: &Course, value: impl Fn(usize) -> f64) -> Points {
    (0..course.queue.len()).map(|index| (course.time(index).as_secs_f64(), value(index))).collect()
}

/// Mbit/s of a flow, each over `window`.
fn rates(course: &Course, flow: usize, window: Duration) -> Points {
    let step = (window.as_nanos() / course.grid.as_nanos()) as usize;
    let times = (step..=course.queue.len()).step_by(step).map(|index| course.grid * index as u32);
    times
        .map(|to| (to.as_secs_f64(), course.arrived(flow, to - window, to) as f64 / 125_000.0 / window.as_secs_f64()))
        .collect()
}

/// Lines over time, with some levels marked.
fn panel(
    area: &DrawingArea<BitMapBackend<'_>, plotters::coord::Shift>,
    what: &str,
    below: Option<&str>,
    seconds: Range<f64>,
    lines: &[(String, Points)],
    levels: &[(f64, &str)],
) -> Done {
    let values = lines.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
    let most = values.chain(levels.iter().map(|(level, _)| *level)).fold(0.0, f64::max) * 1.12;
    let end = seconds.end;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(24)
        .x_label_area_size(if below.is_some() { 48 } else { 28 })
        .y_label_area_size(72)
        .build_cartesian_2d(seconds, 0.0..most.max(1e-3))?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(("sans-serif", 17))
        .axis_desc_style(("sans-serif", 19))
        .y_desc(what)
        .y_labels(6)
        .x_labels(11);
    if let Some(below) = below {
        mesh.x_desc(below);
    }
    mesh.draw()?;
    for (level, name) in levels {
        chart.draw_series(DashedLineSeries::new([(0.0, *level), (end, *level)], 6, 5, GREY.stroke_width(1)))?;
        let style = ("sans-serif", 16).into_font().color(&GREY);
        chart.draw_series([Text::new((*name).to_string(), (end * 0.005, level + most * 0.075), style)])?;
    }
    for ((name, points), colour) in lines.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(name.clone())
            .legend(move |(x, y)| Rectangle::new([(x, y - 2), (x + 22, y + 2)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 17))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}
