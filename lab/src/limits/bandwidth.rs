//! Memory bandwidth: fill, read, copy.

use std::hint::black_box;

use super::measure::{Report, cpu_seconds, on_two_threads, repeat, try_repeat};
use super::region::{Pages, Region};
use crate::failure::Failure;

const BYTES: usize = 512 << 20;
const HALF: usize = BYTES / 2;

/// Adds up all words, in eight sums so that additions do not wait for each other.
fn sum(region: &Region, offset: usize, bytes: usize) {
    let mut sums = [0usize; 8];
    for line in (offset..offset + bytes).step_by(64) {
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum = sum.wrapping_add(region.read(line + j * 8));
        }
    }
    black_box(sums);
}

pub(super) fn measure(report: &mut Report) -> Result<(), Failure> {
    let region = Region::new(BYTES, Pages::Huge);
    region.fill(0, BYTES, 1);
    let gb = BYTES as f64 / 1e9;

    let times = repeat(7, || cpu_seconds(|| region.fill(0, BYTES, 0)));
    report.rate("memset 512 MB, 1 thread", "GB/s", gb, times)?;
    let times = try_repeat(7, || on_two_threads(|i| region.fill(i * HALF, HALF, 0)))?;
    report.rate("memset 512 MB, 2 threads", "GB/s", gb, times)?;

    let times = repeat(7, || cpu_seconds(|| sum(&region, 0, BYTES)));
    report.rate("read 512 MB, 1 thread", "GB/s", gb, times)?;
    let times = try_repeat(7, || on_two_threads(|i| sum(&region, i * HALF, HALF)))?;
    report.rate("read 512 MB, 2 threads", "GB/s", gb, times)?;

    let times = repeat(7, || cpu_seconds(|| region.copy(0, HALF, HALF)));
    report.rate("memcpy 256 MB, 1 thread (bytes copied)", "GB/s", gb / 2.0, times)?;
    let quarter = HALF / 2;
    let copy = |i: usize| region.copy(i * quarter, HALF + i * quarter, quarter);
    let times = try_repeat(7, || on_two_threads(copy))?;
    report.rate("memcpy 256 MB, 2 threads (bytes copied)", "GB/s", gb / 2.0, times)?;

    for kb in [32usize, 256, 1024, 8192] {
        let bytes = kb << 10;
        let rounds = HALF / bytes;
        let again_and_again = || {
            for _ in 0..rounds {
                black_box(&region).fill(0, bytes, 0);
            }
        };
        let times = repeat(5, || cpu_seconds(again_and_again));
        let what = format!("memset {kb} KB again and again, 1 thread");
        report.rate(&what, "GB/s", (bytes * rounds) as f64 / 1e9, times)?;
    }
    Ok(())
}
