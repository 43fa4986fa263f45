//! The pictures of the page.
//!
//! Each is drawn twice, wide and narrow, and the page shows the one that fits: on a telephone, a picture that
//! is scaled down has letters too small to read, and one that is not is cut off. Legends stand beside the
//! pictures as text, where they hide nothing. Colours are readable on a light and on a dark page; the page's
//! style replaces black.

use heapwright::events::{CollectionKind, PauseReport};
use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Circle, Color, DrawingArea, IntoDrawingArea, IntoLogRange, LineSeries, RGBColor, SVGBackend,
    TRANSPARENT,
};

use super::history::History;
use super::utilisation::minimum_utilisation;

const MIB: f64 = 1048576.0;
/// Pixels; the page shows the narrow one below [`super::NARROW_PX`].
const WIDE: (u32, u32) = (900, 320);
const NARROW: (u32, u32) = (420, 300);
/// Windows of time over which shares are taken.
const WINDOWS: usize = 100;

const BLUE: RGBColor = RGBColor(0x3b, 0x82, 0xd6);
const GREEN: RGBColor = RGBColor(0x2e, 0x9e, 0x4f);
/// The page's style dashes lines of this colour: the goal often lies on the line of what is resident.
const RED: RGBColor = RGBColor(0xe0, 0x48, 0x3d);
const GREY: RGBColor = RGBColor(0x85, 0x8b, 0x94);
/// Of spaces.
const PALETTE: [RGBColor; 8] = [
    BLUE,
    RGBColor(0xc9, 0x7a, 0x1e),
    GREEN,
    RGBColor(0x94, 0x67, 0xd6),
    RGBColor(0xd6, 0x5f, 0xa8),
    RGBColor(0x1f, 0x9a, 0xa0),
    RGBColor(0xa0, 0x71, 0x4a),
    GREY,
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;
type Points = Vec<(f64, f64)>;

/// A picture in both sizes, with the words around it.
pub(super) struct Chart {
    pub title: &'static str,
    pub about: &'static str,
    /// Names with their colours, such as `#3b82d6`. Empty where there is one line.
    pub legend: Vec<(&'static str, String)>,
    pub wide: String,
    pub narrow: String,
}

pub(super) fn charts(history: &History, end_ns: u64) -> Vec<Chart> {
    let heap = heap(history, end_ns);
    let spaces = spaces(history);
    let kinds = [("minor", BLUE), ("full", RED)];
    vec![
        Chart::new(
            "Heap",
            "Bytes reserved, between collections; what was live after each full one; the goal, at which the next is due; and what is resident.",
            heap.iter().map(|(name, colour, _)| (*name, *colour)),
            |area| lines(area, end_ns, "MiB", &heap),
        ),
        Chart::new("Pauses", "How long mutators stood still, by the time it began.", kinds, |area| {
            pauses(area, history, end_ns, kinds)
        }),
        Chart::new(
            "Collector's share",
            "Processor time of collections, as a part of that of one processor in the same time.",
            [],
            |area| lines(area, end_ns, "%", &share(history, end_ns)),
        ),
        Chart::new(
            "Minimum mutator utilisation",
            "The least part of any window of this length in which mutators ran.",
            [],
            |area| utilisation(area, history, end_ns),
        ),
        Chart::new(
            "Spaces",
            "Bytes that each space holds after a collection.",
            spaces.iter().map(|(name, colour, _)| (*name, *colour)),
            |area| lines(area, end_ns, "MiB", &spaces),
        ),
    ]
}

impl Chart {
    fn new(
        title: &'static str,
        about: &'static str,
        legend: impl IntoIterator<Item = (&'static str, RGBColor)>,
        draw: impl Fn(&Area) -> Drawn,
    ) -> Chart {
        let hexadecimal = |RGBColor(r, g, b)| format!("#{r:02x}{g:02x}{b:02x}");
        let legend = legend.into_iter().map(|(name, colour)| (name, hexadecimal(colour))).collect();
        Chart { title, about, legend, wide: svg(WIDE, &draw), narrow: svg(NARROW, &draw) }
    }
}

fn svg(size: (u32, u32), draw: impl Fn(&Area) -> Drawn) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn = draw(&area).and_then(|()| Ok(area.present()?));
        drawn.expect("a picture in memory can be drawn");
    }
    text
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Labels on an axis, so that they stand apart.
fn x_labels(area: &Area) -> usize {
    if area.dim_in_pixel().0 < WIDE.0 { 5 } else { 10 }
}

fn lines(area: &Area, end_ns: u64, unit: &str, series: &[(&'static str, RGBColor, Points)]) -> Drawn {
    let most = series.iter().flat_map(|(.., points)| points).map(|(_, y)| *y).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..seconds(end_ns).max(1e-9), 0.0..most.max(1e-9) * 1.08)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc(unit)
        .x_labels(x_labels(area))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (_, colour, points) in series {
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
    }
    Ok(())
}

fn heap(history: &History, end_ns: u64) -> Vec<(&'static str, RGBColor, Points)> {
    let pauses = &history.pauses;
    let point = |ns: u64, bytes: usize| (seconds(ns), bytes as f64 / MIB);
    let reserved = pauses.iter().flat_map(|pause| {
        [point(pause.start_ns, pause.reserved_before_bytes), point(pause.end_ns(), pause.reserved_after_bytes)]
    });
    let full: Vec<&PauseReport> = pauses.iter().filter(|pause| pause.kind == CollectionKind::Full).collect();
    let live = full.iter().map(|pause| point(pause.end_ns(), pause.live_bytes));
    // A goal holds from one full collection to the next.
    let ends = full.iter().skip(1).map(|pause| pause.start_ns).chain([end_ns]);
    let goal = full
        .iter()
        .zip(ends)
        .flat_map(|(pause, end)| [point(pause.end_ns(), pause.goal_bytes), point(end, pause.goal_bytes)]);
    let resident = pauses.iter().map(|pause| point(pause.end_ns(), pause.resident_bytes));
    vec![
        ("reserved", BLUE, reserved.collect()),
        ("live", GREEN, live.collect()),
        ("resident", GREY, resident.collect()),
        ("goal", RED, goal.collect()),
    ]
}

fn pauses(area: &Area, history: &History, end_ns: u64, kinds: [(&'static str, RGBColor); 2]) -> Drawn {
    let most = history.pauses.iter().map(|pause| pause.duration_ns).max().unwrap_or(1) as f64 / 1e6;
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..seconds(end_ns).max(1e-9), 0.0..most.max(1e-6) * 1.08)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("ms")
        .x_labels(x_labels(area))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (kind, (_, colour)) in [CollectionKind::Minor, CollectionKind::Full].into_iter().zip(kinds) {
        let of_kind = history.pauses.iter().filter(|pause| pause.kind == kind);
        let dots = of_kind.map(|pause| {
            Circle::new((seconds(pause.start_ns), pause.duration_ns as f64 / 1e6), 3, colour.mix(0.6).filled())
        });
        chart.draw_series(dots)?;
    }
    Ok(())
}

fn share(history: &History, end_ns: u64) -> Vec<(&'static str, RGBColor, Points)> {
    let window = (end_ns / WINDOWS as u64).max(1);
    let mut cpu = [0u64; WINDOWS];
    for pause in &history.pauses {
        cpu[((pause.start_ns / window) as usize).min(WINDOWS - 1)] += pause.cpu_ns;
    }
    let at = |(index, cpu): (usize, &u64)| (seconds(window * index as u64), 100.0 * *cpu as f64 / window as f64);
    vec![("collecting", BLUE, cpu.iter().enumerate().map(at).collect())]
}

fn utilisation(area: &Area, history: &History, end_ns: u64) -> Drawn {
    let pauses: Vec<(u64, u64)> = history.pauses.iter().map(|pause| (pause.start_ns, pause.duration_ns)).collect();
    let most = (end_ns as f64 / 1e6).max(1.0);
    // From 0.1 ms to the whole run, evenly in the logarithm.
    let window = |step: u32| 0.1 * (most / 0.1).powf(f64::from(step) / 60.0);
    let points = (0..=60).map(|step| {
        let ms = window(step);
        (ms, minimum_utilisation(&pauses, (ms * 1e6) as u64, end_ns))
    });
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d((0.1..most).log_scale(), 0.0..1.0)?;
    chart
        .configure_mesh()
        .x_desc("window, ms")
        .y_desc("mutators' part")
        .x_labels(x_labels(area))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 14))
        .draw()?;
    chart.draw_series(LineSeries::new(points, BLUE.stroke_width(2)))?;
    Ok(())
}

fn spaces(history: &History) -> Vec<(&'static str, RGBColor, Points)> {
    let mut names: Vec<&'static str> = Vec::new();
    for space in history.pauses.iter().flat_map(|pause| &pause.spaces).filter(|space| space.reserved_bytes > 0) {
        if !names.contains(&space.name) {
            names.push(space.name);
        }
    }
    let points = |name: &str| {
        let of = |pause: &PauseReport| pause.spaces.iter().find(|space| space.name == name).map(|s| s.reserved_bytes);
        let point = |pause: &PauseReport| (seconds(pause.end_ns()), of(pause).unwrap_or(0) as f64 / MIB);
        history.pauses.iter().map(point).collect::<Points>()
    };
    let coloured = names.into_iter().enumerate();
    coloured.map(|(index, name)| (name, PALETTE[index % PALETTE.len()], points(name))).collect()
}
