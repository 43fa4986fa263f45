//! The pictures of the page.
//!
//! Each is drawn twice, wide and narrow, and the page shows the one that fits: on a telephone, a picture that
//! is scaled down has letters too small to read, and one that is not is cut off. Legends stand beside the
//! pictures as text, where they hide nothing. Colours are readable on a light and on a dark page; the page's
//! style replaces black.

use heapwright::events::{BackgroundWork, CollectionKind, PauseReport, PauseStep};
use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Circle, Color, DrawingArea, IntoDrawingArea, IntoLogRange, LineSeries, RGBColor, Rectangle,
    SVGBackend, TRANSPARENT,
};

use super::history::History;
use super::utilisation::HoldUps;

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
const VIOLET: RGBColor = RGBColor(0x94, 0x67, 0xd6);
const AMBER: RGBColor = RGBColor(0xc9, 0x7a, 0x1e);
/// Of spaces.
const PALETTE: [RGBColor; 8] = [
    BLUE,
    AMBER,
    GREEN,
    VIOLET,
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
    let markings = markings(history);
    let bands = (!markings.is_empty()).then_some(("marking", AMBER));
    let share = share(history, end_ns);
    let works = [("marks", AMBER), ("sweeps", GREEN)];
    vec![
        Chart::new(
            "Heap",
            "Bytes reserved, between collections; what was live after each full one; the goal, at which the next is due; and what is resident. \
             Where the heap is marked beside mutators: when it was, and the trigger, at which that begins so that it ends by the goal.",
            heap.iter().map(|(name, colour, _)| (*name, *colour)).chain(bands),
            |area| lines(area, end_ns, "MiB", &markings, &heap),
        ),
        Chart::new("Pauses", "How long mutators stood still, by the time it began.", kinds, |area| {
            pauses(area, history, end_ns, kinds)
        }),
        Chart::new(
            "Collector's share",
            "Processor time of collections, as a part of that of one processor in the same time: in pauses, and of marking beside mutators.",
            share.iter().map(|(name, colour, _)| (*name, *colour)),
            |area| lines(area, end_ns, "%", &[], &share),
        ),
        Chart::new("Background work", "When the heap's background thread worked beside mutators.", works, |area| {
            background(area, history, end_ns, works)
        }),
        Chart::new(
            "Minimum mutator utilisation",
            "The least part of any window of this length that a mutator had for its program: not held up by a pause, nor by marking or sweeping \
             that it did itself.",
            [],
            |area| utilisation(area, history, end_ns),
        ),
        Chart::new(
            "Spaces",
            "Bytes that each space holds after a collection.",
            spaces.iter().map(|(name, colour, _)| (*name, *colour)),
            |area| lines(area, end_ns, "MiB", &[], &spaces),
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

/// Seconds of a pixel, or a little more: a bar that is narrower is not seen.
fn pixel(area: &Area, end_ns: u64) -> f64 {
    1.25 * seconds(end_ns) / f64::from(area.dim_in_pixel().0)
}

/// Bands are from one time to another.
fn lines(
    area: &Area,
    end_ns: u64,
    unit: &str,
    bands: &[(f64, f64)],
    series: &[(&'static str, RGBColor, Points)],
) -> Drawn {
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
    let top = most.max(1e-9) * 1.08;
    let band = |(from, to): &(f64, f64)| {
        Rectangle::new([(*from, 0.0), (to.max(from + pixel(area, end_ns)), top)], AMBER.mix(0.25).filled())
    };
    chart.draw_series(bands.iter().map(band))?;
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
    // The first pause of a collection that has two decides nothing.
    let ends = |pause: &&PauseReport| pause.kind == CollectionKind::Full && pause.step != PauseStep::Begin;
    let full: Vec<&PauseReport> = pauses.iter().filter(ends).collect();
    let live = full.iter().map(|pause| point(pause.end_ns(), pause.live_bytes));
    // A goal holds from one full collection to the next.
    let ends = full.iter().skip(1).map(|pause| pause.start_ns).chain([end_ns]);
    let goal = full
        .iter()
        .zip(ends)
        .flat_map(|(pause, end)| [point(pause.end_ns(), pause.goal_bytes), point(end, pause.goal_bytes)]);
    let resident = pauses.iter().map(|pause| point(pause.end_ns(), pause.resident_bytes));
    let mut lines = vec![
        ("reserved", BLUE, reserved.collect()),
        ("live", GREEN, live.collect()),
        ("resident", GREY, resident.collect()),
        ("goal", RED, goal.collect()),
    ];
    // Where the heap is marked in pauses, the trigger is the goal.
    if pauses.iter().any(|pause| pause.step == PauseStep::Begin) {
        let ends = history.triggers.iter().skip(1).map(|(at_ns, _)| *at_ns).chain([end_ns]);
        let trigger = history.triggers.iter().zip(ends).flat_map(|((from_ns, bytes), to_ns)| {
            let bytes = *bytes as usize;
            [point(*from_ns, bytes), point(to_ns, bytes)]
        });
        lines.push(("trigger", VIOLET, trigger.collect()));
    }
    lines
}

/// When the heap was marked beside mutators: from the begin of the first pause to the end of the second.
fn markings(history: &History) -> Vec<(f64, f64)> {
    let band = |pause: &PauseReport| {
        let end_ns = pause.end_ns();
        pause.marking.map(|marking| (seconds(end_ns.saturating_sub(marking.duration_ns)), seconds(end_ns)))
    };
    history.pauses.iter().filter_map(band).collect()
}

/// A row for each kind of work.
fn background(area: &Area, history: &History, end_ns: u64, works: [(&'static str, RGBColor); 2]) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..seconds(end_ns).max(1e-9), 0.0..works.len() as f64)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_labels(0)
        .x_labels(x_labels(area))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 14))
        .draw()?;
    let kinds = [BackgroundWork::Mark, BackgroundWork::Sweep];
    for (row, (kind, (_, colour))) in kinds.into_iter().zip(works).enumerate() {
        let of_kind = history.worked_beside.iter().filter(|worked| worked.work == kind);
        let bars = of_kind.map(|worked| {
            let from = seconds(worked.start_ns);
            let to = seconds(worked.end_ns()).max(from + pixel(area, end_ns));
            Rectangle::new([(from, row as f64 + 0.2), (to, row as f64 + 0.8)], colour.filled())
        });
        chart.draw_series(bars)?;
    }
    Ok(())
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
    let at = |(index, cpu): (usize, &f64)| (seconds(window * index as u64), 100.0 * *cpu / window as f64);
    let (mut in_pauses, mut beside) = ([0.0; WINDOWS], [0.0; WINDOWS]);
    let index_of = |at_ns: u64| ((at_ns / window) as usize).min(WINDOWS - 1);
    for pause in &history.pauses {
        in_pauses[index_of(pause.start_ns)] += pause.cpu_ns as f64;
        if let Some(marking) = pause.marking {
            // Evenly over the time that it took: when within that it was spent is not told.
            let windows = index_of(pause.end_ns().saturating_sub(marking.duration_ns))..=index_of(pause.end_ns());
            let part = marking.cpu_ns as f64 / windows.clone().count() as f64;
            windows.for_each(|window| beside[window] += part);
        }
    }
    let points = |cpu: &[f64; WINDOWS]| cpu.iter().enumerate().map(at).collect();
    vec![("in pauses", BLUE, points(&in_pauses)), ("marking beside", AMBER, points(&beside))]
}

fn utilisation(area: &Area, history: &History, end_ns: u64) -> Drawn {
    // A listener that came late may know pauses alone.
    let held_up = match history.held_up.is_empty() {
        true => HoldUps::of(history.pauses.iter().map(|pause| (0, pause.start_ns, pause.duration_ns))),
        false => HoldUps::of(history.held_up.iter().map(|held| (held.thread, held.start_ns, held.duration_ns))),
    };
    let most = (end_ns as f64 / 1e6).max(1.0);
    // From 0.1 ms to the whole run, evenly in the logarithm.
    let window = |step: u32| 0.1 * (most / 0.1).powf(f64::from(step) / 60.0);
    let points = (0..=60).map(|step| {
        let ms = window(step);
        (ms, held_up.utilisation((ms * 1e6) as u64, end_ns))
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
