//! What the kernel takes for memory: first touch, giving back, protection.

use super::measure::{Report, Times, cpu_seconds, on_two_threads, repeat, try_repeat};
use super::region::{PAGE_BYTES, Pages, Region};
use crate::failure::Failure;

const BYTES: usize = 512 << 20;
const HALF: usize = BYTES / 2;
const MB: usize = BYTES >> 20;
const GB: f64 = BYTES as f64 / 1e9;

pub(super) fn measure(report: &mut Report) -> Result<(), Failure> {
    for pages in [Pages::Small, Pages::Huge] {
        first_touch(report, pages)?;
        give_back(report, pages)?;
    }
    let populate = || {
        let region = Region::new(BYTES, Pages::Small);
        cpu_seconds(|| region.advise(libc::MADV_POPULATE_WRITE))
    };
    report.rate("MADV_POPULATE_WRITE, 4 KB pages", "GB/s", GB, repeat(3, populate))?;
    protect(report)
}

fn first_touch(report: &mut Report, pages: Pages) -> Result<(), Failure> {
    let name = pages.name();
    let mut unmap_seconds = vec![];
    let touch = || {
        let region = Region::new(BYTES, pages);
        let seconds = cpu_seconds(|| region.touch(0, BYTES));
        unmap_seconds.push(cpu_seconds(|| drop(region)));
        seconds
    };
    let times = repeat(5, touch);
    match pages {
        Pages::Small => {
            let what = format!("first touch, {name}, per 4 KB");
            report.cost(&what, "us", BYTES / PAGE_BYTES, 1e6, times)?;
        }
        Pages::Huge => {
            let what = format!("first touch, {name}, per 2 MB");
            report.cost(&what, "us", BYTES >> 21, 1e6, times)?;
        }
    }
    report.rate(&format!("first touch, {name}, 1 thread"), "GB/s", GB, times)?;
    let what = format!("munmap of touched memory, {name}, per MB");
    report.cost(&what, "us", MB, 1e6, Times::of(unmap_seconds))?;

    let on_two = || {
        let region = Region::new(BYTES, pages);
        on_two_threads(|i| region.touch(i * HALF, HALF))
    };
    report.rate(&format!("first touch, {name}, 2 threads"), "GB/s", GB, try_repeat(3, on_two)?)?;
    Ok(())
}

fn give_back(report: &mut Report, pages: Pages) -> Result<(), Failure> {
    let name = pages.name();
    let region = Region::new(BYTES, pages);
    region.touch(0, BYTES);
    let mut discard_seconds = vec![];
    let discard_and_touch = || {
        discard_seconds.push(cpu_seconds(|| region.advise(libc::MADV_DONTNEED)));
        cpu_seconds(|| region.touch(0, BYTES))
    };
    let times = repeat(3, discard_and_touch);
    report.rate(&format!("touch again after MADV_DONTNEED, {name}"), "GB/s", GB, times)?;
    let what = format!("MADV_DONTNEED of touched memory, {name}, per MB");
    report.cost(&what, "us", MB, 1e6, Times::of(discard_seconds))?;
    Ok(())
}

fn protect(report: &mut Report) -> Result<(), Failure> {
    let region = Region::new(BYTES, Pages::Small);
    region.touch(0, BYTES);
    let each_mb_twice = || {
        for mb in 0..MB {
            region.protect_page(mb << 20, libc::PROT_READ);
            region.protect_page(mb << 20, libc::PROT_READ | libc::PROT_WRITE);
        }
    };
    let times = repeat(5, || cpu_seconds(each_mb_twice));
    report.cost("mprotect of one page", "us", 2 * MB, 1e6, times)?;
    Ok(())
}
