//! Latency of memory: loads that depend on each other, and loads that do not.

use std::hint::black_box;

use super::measure::{Report, cpu_seconds, repeat};
use super::region::{Pages, Region};
use crate::failure::Failure;
use workloads::rng::Rng;

const LINE_BYTES: usize = 64;

/// Links the lines of a region into one ring in random order. Each line holds the offset of the next.
fn link(region: &Region, lines: usize, rng: &mut Rng) {
    let mut order: Vec<u32> = (0..lines as u32).collect();
    for i in (1..lines).rev() {
        order.swap(i, rng.below(i + 1));
    }
    for i in 0..lines {
        let next = order[(i + 1) % lines] as usize * LINE_BYTES;
        region.write(order[i] as usize * LINE_BYTES, next);
    }
}

pub(super) fn measure(report: &mut Report) -> Result<(), Failure> {
    use Pages::{Huge, Small};
    for (mb, pages) in [(1, Small), (16, Small), (64, Small), (256, Small), (256, Huge), (1024, Small)] {
        let lines = (mb << 20) / LINE_BYTES;
        let region = Region::new(mb << 20, pages);
        let mut rng = Rng::new(1);
        link(&region, lines, &mut rng);

        let steps = 2_000_000.min(lines * 4);
        let mut at = 0;
        let mut walk = || (0..steps).for_each(|_| at = region.read(at));
        walk();
        let times = repeat(5, || cpu_seconds(&mut walk));
        black_box(at);
        let what = format!("dependent random load, {mb} MB, {}", pages.name());
        report.cost(&what, "ns", steps, 1e9, times)?;

        if mb == 256 {
            // How much of the latency can be hidden.
            let places: Vec<u32> = (0..1_000_000).map(|_| rng.below(lines) as u32).collect();
            let load_all = || {
                let loads = places.iter().map(|&line| region.read(line as usize * LINE_BYTES));
                black_box(loads.fold(0, usize::wrapping_add));
            };
            let times = repeat(5, || cpu_seconds(load_all));
            let what = format!("independent random load, {mb} MB, {}", pages.name());
            report.cost(&what, "ns", places.len(), 1e9, times)?;
        }
    }
    Ok(())
}
