//! A run as a picture: the heap above, the collector's share of the machine below, over time.

use std::path::Path;

use plotters::prelude::*;

use super::plant::{Cycle, Run};
use crate::failure::Failure;

/// Pixels of one policy's picture.
const SIZE: (u32, u32) = (960, 420);
const MIB: f64 = 1048576.0;

/// Writes an SVG with a picture for each run, one below the other. All have the same scales.
///
/// # Errors
/// The file cannot be written.
pub fn plot(path: &Path, scenario: &str, runs: &[(&str, Run)]) -> Result<(), Failure> {
    let area = SVGBackend::new(path, (SIZE.0, SIZE.1 * runs.len() as u32)).into_drawing_area();
    draw(&area, scenario, runs).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(area: &Area, scenario: &str, runs: &[(&str, Run)]) -> Drawn {
    area.fill(&WHITE)?;
    let cycles = || runs.iter().flat_map(|(_, run)| &run.cycles);
    let seconds = runs.iter().map(|(_, run)| run.end).fold(0.0, f64::max) / 1e9;
    let most = cycles().map(|cycle| cycle.peak.max(cycle.goal)).fold(MIB, f64::max) / MIB * 1.05;
    for ((name, run), part) in runs.iter().zip(area.split_evenly((runs.len(), 1))) {
        let (upper, lower) = part.split_vertically(SIZE.1 * 2 / 3);
        heap(&upper, &format!("{scenario}, {name}"), run, seconds, most)?;
        share(&lower, run, seconds)?;
    }
    area.present()?;
    Ok(())
}

fn heap(area: &Area, title: &str, run: &Run, seconds: f64, most: f64) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(4)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..seconds, 0.0..most)?;
    chart.configure_mesh().y_desc("MiB").x_labels(0).light_line_style(WHITE).draw()?;
    let point = |time: f64, bytes: f64| (time / 1e9, bytes / MIB);
    // Each cycle: from what the last retained to the trigger, on to the peak, and down again.
    let ends = [0.0].into_iter().chain(run.cycles.iter().map(|cycle| cycle.end));
    let rise = |(before, cycle): (f64, &Cycle)| {
        [point(before, cycle.retained), point(cycle.end - cycle.length, cycle.trigger), point(cycle.end, cycle.peak)]
    };
    let bytes: Vec<_> = ends.clone().zip(&run.cycles).flat_map(rise).collect();
    let flat = |(before, cycle): (f64, &Cycle)| [point(before, cycle.goal), point(cycle.end, cycle.goal)];
    let goal = ends.zip(&run.cycles).flat_map(flat).collect();
    let live = run.cycles.iter().map(|cycle| point(cycle.end, cycle.traced)).collect();
    for (points, colour, name) in [(bytes, BLUE, "heap"), (goal, RED, "goal"), (live, GREEN, "live")] {
        chart
            .draw_series(LineSeries::new(points, &colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

fn share(area: &Area, run: &Run, seconds: f64) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..seconds, 0.0..1.0)?;
    chart.configure_mesh().x_desc("seconds").y_desc("share").y_labels(5).light_line_style(WHITE).draw()?;
    let bar = |cycle: &Cycle, from: f64, to: f64, colour: RGBColor| {
        let (begin, end) = ((cycle.end - cycle.length) / 1e9, cycle.end / 1e9);
        Rectangle::new([(begin, from), (end, to)], colour.filled())
    };
    chart.draw_series(run.cycles.iter().map(|cycle| bar(cycle, 0.0, cycle.share - cycle.assist, BLUE)))?;
    chart.draw_series(run.cycles.iter().map(|cycle| bar(cycle, cycle.share - cycle.assist, cycle.share, RED)))?;
    Ok(())
}
