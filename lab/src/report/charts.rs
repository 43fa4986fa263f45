//! The pictures of the page.

use mmtk_core::events::{CollectionKind, PauseReport};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::{History, minimum_utilisation};

const MIB: f64 = 1048576.0;
const SIZE: (u32, u32) = (900, 320);
/// Windows of time over which shares are taken.
const WINDOWS: usize = 100;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;
type Points = Vec<(f64, f64)>;

/// Title, a sentence, and the picture.
pub(super) fn charts(history: &History, end_ns: u64) -> Vec<(&'static str, &'static str, String)> {
    vec![
        (
            "Heap",
            "Bytes reserved, between collections; what was live after each full one; the goal, at which the next is due; and what is resident.",
            svg(|area| heap(area, history, end_ns)),
        ),
        ("Pauses", "How long mutators stood still, by the time it began.", svg(|area| pauses(area, history, end_ns))),
        (
            "Collector's share",
            "Processor time of collections, as a part of that of one processor in the same time.",
            svg(|area| share(area, history, end_ns)),
        ),
        (
            "Minimum mutator utilisation",
            "The least part of any window of this length in which mutators ran.",
            svg(|area| utilisation(area, history, end_ns)),
        ),
        ("Spaces", "Bytes that each space holds after a collection.", svg(|area| spaces(area, history, end_ns))),
    ]
}

fn svg(draw: impl FnOnce(&Area) -> Drawn) -> String {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let drawn = draw(&area).and_then(|()| Ok(area.present()?));
        drawn.expect("a picture in memory can be drawn");
    }
    text
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Lines with a legend over time.
fn lines(area: &Area, end_ns: u64, unit: &str, series: Vec<(&str, RGBColor, Points)>) -> Drawn {
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
        .light_line_style(WHITE)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (name, colour, points) in series {
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .label_font(("sans-serif", 14))
        .draw()?;
    Ok(())
}

fn heap(area: &Area, history: &History, end_ns: u64) -> Drawn {
    let pauses = &history.pauses;
    let point = |ns: u64, bytes: usize| (seconds(ns), bytes as f64 / MIB);
    let reserved = pauses.iter().flat_map(|pause| {
        [point(pause.start_ns, pause.reserved_before_bytes), point(pause.end_ns(), pause.reserved_after_bytes)]
    });
    let full: Vec<&PauseReport> = pauses.iter().filter(|pause| pause.kind == CollectionKind::Full).collect();
    let over = |of: fn(&PauseReport) -> usize| full.iter().map(|pause| point(pause.end_ns(), of(pause))).collect();
    // A goal holds from one full collection to the next.
    let ends = full.iter().skip(1).map(|pause| pause.start_ns).chain([end_ns]);
    let goal = full
        .iter()
        .zip(ends)
        .flat_map(|(pause, end)| [point(pause.end_ns(), pause.goal_bytes), point(end, pause.goal_bytes)]);
    let resident = pauses.iter().map(|pause| point(pause.end_ns(), pause.resident_bytes));
    let series = vec![
        ("reserved", BLUE, reserved.collect()),
        ("live", GREEN, over(|pause| pause.live_bytes)),
        ("goal", RED, goal.collect()),
        ("resident", RGBColor(120, 120, 120), resident.collect()),
    ];
    lines(area, end_ns, "MiB", series)
}

fn pauses(area: &Area, history: &History, end_ns: u64) -> Drawn {
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
        .light_line_style(WHITE)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (kind, colour, name) in [(CollectionKind::Minor, BLUE, "minor"), (CollectionKind::Full, RED, "full")] {
        let of_kind = history.pauses.iter().filter(|pause| pause.kind == kind);
        let dots = of_kind.map(|pause| {
            Circle::new((seconds(pause.start_ns), pause.duration_ns as f64 / 1e6), 3, colour.mix(0.6).filled())
        });
        chart.draw_series(dots)?.label(name).legend(move |(x, y)| Circle::new((x + 8, y), 3, colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .label_font(("sans-serif", 14))
        .draw()?;
    Ok(())
}

fn share(area: &Area, history: &History, end_ns: u64) -> Drawn {
    let window = (end_ns / WINDOWS as u64).max(1);
    let mut cpu = [0u64; WINDOWS];
    for pause in &history.pauses {
        cpu[((pause.start_ns / window) as usize).min(WINDOWS - 1)] += pause.cpu_ns;
    }
    let at = |(index, cpu): (usize, &u64)| (seconds(window * index as u64), 100.0 * *cpu as f64 / window as f64);
    lines(area, end_ns, "%", vec![("collecting", BLUE, cpu.iter().enumerate().map(at).collect())])
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
        .light_line_style(WHITE)
        .label_style(("sans-serif", 14))
        .draw()?;
    chart.draw_series(LineSeries::new(points, BLUE.stroke_width(2)))?;
    Ok(())
}

fn spaces(area: &Area, history: &History, end_ns: u64) -> Drawn {
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
    let colour = |index: usize| {
        let (r, g, b) = Palette99::pick(index).rgb();
        RGBColor(r, g, b)
    };
    let series = names.iter().enumerate().map(|(index, name)| (*name, colour(index), points(name))).collect();
    lines(area, end_ns, "MiB", series)
}
