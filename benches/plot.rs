//! Plots as SVG: a logarithmic x axis, a linear y axis from 0, readable on light and dark pages.

use std::fmt::Write;

/// A line of a plot.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// In the order of x, which is above 0.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) title: String,
    /// The axes' names, with units.
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) curves: Vec<Curve>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 692.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 318.0;
/// About how wide a letter is.
const LETTER: f64 = 7.0;
/// How many steps the y axis has, at most.
const STEPS: f64 = 6.0;

/// The plot brings its own background, so that it does not matter what page it stands on. The two
/// colours are told apart by the colour-blind as well, and by the markers.
const STYLE: &str = "<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.paper { fill: #ffffff }
.grid { stroke: #d8dee4; stroke-width: 1 }
.axis { stroke: #59636e; stroke-width: 1 }
.c0 { stroke: #0072b2; fill: #0072b2 }
.c1 { stroke: #d55e00; fill: #d55e00 }
path { fill: none !important; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.paper { fill: #0d1117 }
.grid { stroke: #30363d }
.axis { stroke: #9198a1 }
.c0 { stroke: #56b4e9; fill: #56b4e9 }
.c1 { stroke: #e69f00; fill: #e69f00 }
}
</style>
";

impl Plot {
    /// The plot as the text of an SVG file.
    pub(crate) fn svg(&self) -> Result<String, std::fmt::Error> {
        let mut svg = String::new();
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n<title>{}</title>",
            self.title
        )?;
        svg.push_str(STYLE);
        writeln!(
            svg,
            "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\"/>"
        )?;
        let scale = Scale::of(&self.curves);
        self.axes(&mut svg, &scale)?;
        let mut legend = RIGHT;
        for (number, curve) in self.curves.iter().enumerate().rev() {
            write_curve(&mut svg, &scale, number, curve)?;
            if self.curves.len() > 1 {
                legend -= curve.name.chars().count() as f64 * LETTER + 34.0;
                write_marker(&mut svg, number, legend, 24.0)?;
                let x = legend + 12.0;
                writeln!(svg, "<text x=\"{x:.1}\" y=\"28.5\">{}</text>", curve.name)?;
            }
        }
        svg.push_str("</svg>\n");
        Ok(svg)
    }

    fn axes(&self, svg: &mut String, scale: &Scale) -> std::fmt::Result {
        let steps = (scale.highest / scale.step).round() as u32;
        for step in 0..=steps {
            let value = f64::from(step) * scale.step;
            let y = scale.y(value);
            let class = if step == 0 { "axis" } else { "grid" };
            writeln!(
                svg,
                "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.5,
                rounded(value),
            )?;
        }
        for value in &scale.ticks {
            let x = scale.x(*value);
            writeln!(
                svg,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{BOTTOM}\" y2=\"{:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 5.0,
                BOTTOM + 21.0,
                short(*value),
            )?;
        }
        let (middle, below) = ((LEFT + RIGHT) / 2.0, BOTTOM + 46.0);
        writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"16\" y=\"28.5\">{}</text>",
            self.x, self.y
        )
    }
}

fn write_curve(svg: &mut String, scale: &Scale, number: usize, curve: &Curve) -> std::fmt::Result {
    let mut path = String::new();
    for (x, y) in &curve.points {
        let command = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{command}{:.1} {:.1}", scale.x(*x), scale.y(*y))?;
    }
    writeln!(svg, "<path class=\"c{number}\" d=\"{path}\"/>")?;
    curve
        .points
        .iter()
        .try_for_each(|(x, y)| write_marker(svg, number, scale.x(*x), scale.y(*y)))
}

fn write_marker(svg: &mut String, number: usize, x: f64, y: f64) -> std::fmt::Result {
    match number {
        0 => writeln!(
            svg,
            "<circle class=\"c0\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"
        ),
        _ => writeln!(
            svg,
            "<rect class=\"c{number}\" x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\"/>",
            x - 4.0,
            y - 4.0
        ),
    }
}

/// From values to places.
struct Scale {
    /// All values of x, each once.
    ticks: Vec<f64>,
    highest: f64,
    step: f64,
}

impl Scale {
    fn of(curves: &[Curve]) -> Self {
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let mut ticks: Vec<_> = points().map(|(x, _)| *x).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let highest = points().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max);
        let power = 10_f64.powf((highest / STEPS).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|step| highest / step <= STEPS);
        let step = step.unwrap_or(highest);
        Self {
            ticks,
            highest: (highest / step).ceil() * step,
            step,
        }
    }

    fn x(&self, value: f64) -> f64 {
        let first = self.ticks.first().map_or(0.0, |x| x.log10());
        let last = self.ticks.last().map_or(1.0, |x| x.log10());
        let (left, right) = (LEFT + 24.0, RIGHT - 24.0);
        left + (value.log10() - first) / (last - first).max(f64::MIN_POSITIVE) * (right - left)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - value / self.highest * (BOTTOM - TOP)
    }
}

/// A number with a word for its thousands.
pub(crate) fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", rounded(value / 1e6)),
        1e3.. => format!("{} k", rounded(value / 1e3)),
        _ => rounded(value),
    }
}

/// Three digits, without zeros at the end.
fn rounded(value: f64) -> String {
    let places = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}
