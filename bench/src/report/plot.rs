//! A plot as SVG: lines over two logarithmic axes.

use std::fmt::Write as _;

pub struct Plot<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub lines: Vec<Line<'a>>,
}

pub struct Line<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Told apart also by those who see few colours (Okabe and Ito).
const COLOURS: [&str; 8] = ["#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999"];

/// A logarithmic axis from one power of ten to another.
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor() as i32;
        let high = values.fold(f64::NEG_INFINITY, f64::max).log10().ceil() as i32;
        Self { low, high: high.max(low + 1), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + share * (self.to - self.from)
    }
}

/// A power of ten, as people write it.
fn power(exponent: i32) -> String {
    match exponent {
        6.. => format!("{} M", 10i64.pow(exponent.min(18) as u32 - 6)),
        3.. => format!("{},000", 10i64.pow(exponent as u32 - 3)),
        0.. => format!("{}", 10i64.pow(exponent as u32)),
        _ => format!("{:.*}", -exponent as usize, 10f64.powi(exponent)),
    }
}

impl Plot<'_> {
    pub fn to_svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let x = Axis::over(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::over(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        let put = |at: (f64, f64), anchor: &str, colour: &str, text: &str| {
            format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>\n",
                at.0, at.1
            )
        };
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        svg += &put((middle, 22.0), "middle", "black", self.title);
        svg += &put((middle, HEIGHT - 10.0), "middle", "black", self.x);
        svg += &put((LEFT - 8.0, TOP - 12.0), "end", "black", self.y);
        let rule = |from: (f64, f64), to: (f64, f64)| {
            format!(
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#dddddd\"/>\n",
                from.0, from.1, to.0, to.1
            )
        };
        for exponent in x.low..=x.high {
            let at = x.at(10f64.powi(exponent));
            svg += &rule((at, TOP), (at, HEIGHT - BOTTOM));
            svg += &put((at, HEIGHT - BOTTOM + 18.0), "middle", "black", &power(exponent));
        }
        for exponent in y.low..=y.high {
            let at = y.at(10f64.powi(exponent));
            svg += &rule((LEFT, at), (WIDTH - RIGHT, at));
            svg += &put((LEFT - 8.0, at + 4.0), "end", "black", &power(exponent));
        }
        let mut labels: Vec<(f64, &str, &str)> = Vec::new();
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let points: Vec<_> = line.points.iter().map(|point| (x.at(point.0), y.at(point.1))).collect();
            let path = points.iter().fold(String::new(), |mut path, (x, y)| {
                let _ = write!(path, "{x:.1},{y:.1} ");
                path
            });
            let width = if labels.is_empty() { 2.5 } else { 1.5 };
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
                path.trim_end()
            );
            for (x, y) in &points {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
            labels.push((points.last().map_or(TOP, |point| point.1), line.name, colour));
        }
        // Names stand where lines end, and do not cover each other.
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut above = TOP - 14.0;
        let needed = 14.0 * labels.len() as f64;
        for (number, (wanted, name, colour)) in labels.iter().enumerate() {
            let room_below = HEIGHT - BOTTOM - (needed - 14.0 * number as f64) + 14.0;
            above = wanted.min(room_below).max(above + 14.0);
            svg += &put((WIDTH - RIGHT + 12.0, above + 4.0), "start", colour, name);
        }
        svg + "</svg>\n"
    }
}
