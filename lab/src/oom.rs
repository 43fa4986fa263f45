//! Out of memory ends a run with a message, a JSON line under `--json`, and its own exit status: never a
//! crash.
//!
//! Adapters call [`exit`] from wherever their collector reports exhaustion, even from deep inside a mutator's
//! allocation.

use std::io::IsTerminal;
use std::sync::OnceLock;

use serde_json::json;

use crate::failure::OUT_OF_MEMORY_STATUS;
use crate::output;
use crate::request::Request;

/// What the report says about the run. A process makes one run.
static CONTEXT: OnceLock<Context> = OnceLock::new();

struct Context {
    plan: String,
    workload: &'static str,
    heap_bytes: usize,
    json: bool,
}

/// What a run still has to write when memory has run out.
static LAST_WORDS: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Calls `f` before the process ends for want of memory, on the thread that met it. Later calls change
/// nothing.
pub fn on_exit(f: impl Fn() + Send + Sync + 'static) {
    LAST_WORDS.get_or_init(|| Box::new(f));
}

/// Says which run the process makes. Later calls change nothing.
pub fn expect_in(request: &Request) {
    CONTEXT.get_or_init(|| Context {
        plan: request.collector.name.clone(),
        workload: request.spec.name,
        heap_bytes: request.heap_bytes(),
        json: request.json,
    });
}

/// Reports and ends the process. Other threads are not waited for: they may be stopped at a safepoint.
pub fn exit(detail: &str) -> ! {
    if let Some(context) = CONTEXT.get() {
        report(context, detail);
    } else {
        output::note(format!("mmtk: out of memory: {detail}"));
    }
    if let Some(last_words) = LAST_WORDS.get() {
        last_words();
    }
    // SAFETY: ends the process at once. Handlers registered with `atexit` must not run beside stopped
    // threads.
    unsafe { libc::_exit(OUT_OF_MEMORY_STATUS) }
}

fn report(context: &Context, detail: &str) {
    let Context { plan, workload, heap_bytes, json } = context;
    let heap = heapwright::options::format_bytes(*heap_bytes);
    // A progress line may be on the terminal's last line.
    let clear = if std::io::stderr().is_terminal() { "\r\x1b[2K" } else { "" };
    // The detail begins by itself with what has happened.
    let detail = detail.strip_prefix("out of memory: ").unwrap_or(detail);
    output::note(format!("{clear}mmtk: out of memory: {workload} on {plan} with a heap of {heap}: {detail}"));
    if *json {
        let line = json!({
            "error": "oom", "plan": plan, "workload": workload, "heap_bytes": heap_bytes, "detail": detail,
        });
        // Nobody reads it if this fails.
        let _ = output::line(line);
    }
}
