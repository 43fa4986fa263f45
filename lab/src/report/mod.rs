//! `mmtk run --report`: one page about a heap over time. Nothing is loaded from elsewhere: pictures are
//! inline SVG.

mod charts;
mod history;
mod utilisation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use heapwright::events::{CollectionKind, Event, Listener, PauseStep};

use crate::failure::Failure;
use crate::table::number;
use charts::Chart;
use parking_lot::Mutex;

pub use history::History;
pub use utilisation::HoldUps;

/// Collects what a page needs, and writes it at the end.
#[derive(Clone)]
pub struct Page {
    path: PathBuf,
    title: String,
    history: Arc<Mutex<History>>,
}

impl Page {
    /// A page for a file, which must be writable now: a run that ends without its report is a run in vain.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(path: &Path, title: String) -> Result<Page, Failure> {
        std::fs::write(path, "").map_err(|error| cannot_write(path, &error))?;
        Ok(Page { path: path.to_owned(), title, history: Arc::default() })
    }

    /// Listens to the heap.
    pub fn listener(&self) -> Box<dyn Listener> {
        let history = self.history.clone();
        Box::new(move |event: &Event| {
            let mut history = history.lock();
            match event {
                Event::HeapCreated { plan, limit_bytes, workers } => {
                    history.heap = Some((plan, *limit_bytes, *workers));
                }
                Event::Pause(pause) => history.pauses.push((**pause).clone()),
                Event::Paced(paced) => history.triggers.push((paced.end_ns, paced.decision.trigger)),
                Event::HeldUp(held) => history.held_up.push(*held),
                Event::WorkedBeside(worked) => history.worked_beside.push(*worked),
                Event::OutOfMemory { requested_bytes, reserved_bytes, .. } => {
                    history.out_of_memory = Some((*requested_bytes, *reserved_bytes));
                }
                _ => {}
            }
        })
    }

    /// Writes the page; `end_ns` is now, on the heap's clock.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, end_ns: u64) -> Result<(), Failure> {
        let history = self.history.lock();
        std::fs::write(&self.path, html(&self.title, &history, end_ns))
            .map_err(|error| cannot_write(&self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: cannot write the report: {error}", path.display()))
}

/// Below this width of the page the narrow pictures are shown.
const NARROW_PX: u32 = 640;

const STYLE: &str = "
:root { color-scheme: light dark; --page: #fff; --ink: #222; --faint: #555; --box: #f3f4f6; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --ink: #e6e6e6; --faint: #a8adb5; --box: #24272d; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem; color: var(--ink); background: var(--page); }
h1 { font-size: 1.4rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 .25rem; }
p { margin: .25rem 0; color: var(--faint); }
figure { margin: 0; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); }
svg [stroke=\"#000000\"] { stroke: var(--ink); }
svg polyline[stroke=\"#E0483D\"] { stroke-dasharray: 6 4; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; list-style: none; margin: .25rem 0; padding: 0; }
.legend i { border-radius: .2rem; display: inline-block; height: .5rem; margin-right: .4rem; width: 1rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .5rem; margin: 1rem 0; }
dl div { background: var(--box); border-radius: .4rem; padding: .4rem .6rem; }
dt { font-size: .8rem; color: var(--faint); } dd { margin: 0; font-weight: 600; }
";

/// The page.
pub fn html(title: &str, history: &History, end_ns: u64) -> String {
    let title = escape(title);
    let mut body = format!("<h1>{title}</h1>\n<dl>\n");
    for (name, value) in figures(history, end_ns) {
        body += &format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(&value));
    }
    body += "</dl>\n";
    if let Some((requested, reserved)) = history.out_of_memory {
        body += &format!(
            "<p><strong>Out of memory</strong>: {requested} bytes were requested when {reserved} were reserved.</p>\n"
        );
    }
    if history.pauses.is_empty() {
        body += "<p>There was no collection.</p>\n";
    } else {
        for Chart { title, about, legend, wide, narrow } in charts::charts(history, end_ns) {
            body += &format!("<h2>{title}</h2>\n<p>{about}</p>\n<figure>\n");
            if !legend.is_empty() {
                let item = |(name, colour): &(&str, String)| {
                    format!("<li><i style=\"background: {colour}\"></i>{}</li>", escape(name))
                };
                body += &format!("<ul class=\"legend\">{}</ul>\n", legend.iter().map(item).collect::<String>());
            }
            body += &format!("<div class=\"wide\">{wide}</div>\n<div class=\"narrow\">{narrow}</div>\n</figure>\n");
        }
    }
    let fitting = format!(
        "@media (min-width: {NARROW_PX}px) {{ .narrow {{ display: none; }} }}\n\
         @media not all and (min-width: {NARROW_PX}px) {{ .wide {{ display: none; }} }}\n"
    );
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}{fitting}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn figures(history: &History, end_ns: u64) -> Vec<(&'static str, String)> {
    let pauses = &history.pauses;
    let ms = |ns: u64| format!("{} ms", number(ns as f64 / 1e6));
    let mib = |bytes: usize| format!("{} MiB", number(bytes as f64 / 1048576.0));
    let mut lengths: Vec<u64> = pauses.iter().map(|pause| pause.duration_ns).collect();
    lengths.sort_unstable();
    let minor = pauses.iter().filter(|pause| pause.kind == CollectionKind::Minor).count();
    // The first pause of a collection that has two frees nothing, and is not counted.
    let full = pauses.iter().filter(|pause| pause.step != PauseStep::Begin).count() - minor;
    let cpu: u64 = pauses.iter().map(|pause| pause.cpu_ns + pause.marking.map_or(0, |marking| marking.cpu_ns)).sum();
    let held_up = history.held_up.iter().map(|held| held.duration_ns).max();
    let (plan, limit, workers) = history.heap.unwrap_or(("?", 0, 0));
    let mut figures = vec![
        ("plan", plan.to_owned()),
        ("limit", mib(limit)),
        ("GC workers", workers.to_string()),
        ("time", format!("{} s", number(end_ns as f64 / 1e9))),
        ("collections", format!("{full} full, {minor} minor")),
        ("collecting, processor time", ms(cpu)),
        ("in pauses", ms(lengths.iter().sum())),
    ];
    if let (Some(middle), Some(longest)) = (lengths.get(lengths.len() / 2), lengths.last()) {
        figures.push(("pause, median", ms(*middle)));
        figures.push(("pause, longest", ms(*longest)));
        let peak = pauses.iter().map(|pause| pause.reserved_before_bytes).max().unwrap_or(0);
        figures.push(("peak", mib(peak)));
    }
    if let Some(longest) = held_up {
        figures.push(("mutator held up, longest", ms(longest)));
    }
    figures
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
