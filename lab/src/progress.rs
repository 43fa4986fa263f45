//! Progress on standard error: a bar where that is a terminal, plain lines or nothing where it is not.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Progress of the iterations of one run.
#[derive(Debug)]
pub struct Iterations {
    bar: ProgressBar,
    total: usize,
    /// Standard error is a file: one line per iteration, for people who read it later.
    lines: bool,
}

/// A display for `total` iterations; a quiet one shows nothing and starts no thread that would be measured.
pub fn iterations(what: &str, total: usize, quiet: bool) -> Iterations {
    let lines = !quiet && !std::io::stderr().is_terminal();
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total as u64), target)
        .with_style(style("{spinner} {prefix}: iteration {msg} [{elapsed_precise}]"));
    bar.set_prefix(what.to_owned());
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    Iterations { bar, total, lines }
}

impl Iterations {
    /// Iteration `iter` begins.
    pub fn start(&self, iter: usize) {
        self.bar.set_message(format!("{}/{}", iter + 1, self.total));
    }

    /// Iteration `iter` has ended.
    pub fn finish(&self, iter: usize, wall: Duration) {
        if self.lines {
            let ms = wall.as_secs_f64() * 1e3;
            output::note(format!("{}: iteration {}/{}: {ms:.0} ms", self.bar.prefix(), iter + 1, self.total));
        }
        self.bar.inc(1);
    }

    /// Removes the display.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar for `total` child processes, or other things to do.
pub fn children(total: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr())
        .with_style(style("{bar:24} {pos}/{len} [{elapsed_precise}, {eta} left] {msg}"));
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(500));
    }
    bar
}

/// A spinner for work of unknown length.
pub fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_style(style("{spinner} [{elapsed_precise}] {msg}"));
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(500));
    }
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant of this file")
}
