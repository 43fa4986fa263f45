//! Runs a script on boa_engine, whose heap is the toolkit's.
//!
//! Built without the feature `toolkit` and without the patch (see `compare.sh`) it is the same runner on
//! stock Boa.

use boa_engine::object::ObjectInitializer;
use boa_engine::property::Attribute;
use boa_engine::{Context, JsResult, JsValue, NativeFunction, Source, js_string};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(feature = "toolkit")]
mod statistics;
#[cfg(not(feature = "toolkit"))]
mod stock_pauses;

/// Runs JavaScript on boa_engine with its heap in the toolkit.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Arguments {
    /// The script.
    script: PathBuf,
    #[cfg(feature = "toolkit")]
    #[command(flatten)]
    heap: statistics::HeapArguments,
    /// Prints the longest pause, as seen from outside the collector.
    #[cfg(not(feature = "toolkit"))]
    #[arg(long)]
    heap_stats: bool,
    /// Prints CPU seconds and peak resident KiB as the last line of standard error.
    #[arg(long)]
    usage: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = run(&arguments);
    if arguments.usage {
        print_usage();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("mmtk-boa: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let source =
        Source::from_filepath(&arguments.script).map_err(|error| format!("{}: {error}", arguments.script.display()))?;
    #[cfg(feature = "toolkit")]
    let statistics = arguments.heap.configure()?;
    #[cfg(not(feature = "toolkit"))]
    if arguments.heap_stats {
        stock_pauses::watch();
    }
    let mut context = Context::default();
    add_console(&mut context);
    let outcome = context.eval(source).and_then(|_| context.run_jobs()).map_err(|error| error.to_string());
    #[cfg(feature = "toolkit")]
    statistics.print();
    #[cfg(not(feature = "toolkit"))]
    if arguments.heap_stats {
        stock_pauses::print();
    }
    outcome
}

/// `console.log`, which is not part of the language and so not of the engine.
fn add_console(context: &mut Context) {
    let console =
        ObjectInitializer::new(context).function(NativeFunction::from_fn_ptr(log), js_string!("log"), 0).build();
    context
        .register_global_property(js_string!("console"), console, Attribute::all())
        .expect("a new context has no console");
}

fn log(_this: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let words: JsResult<Vec<String>> =
        arguments.iter().map(|value| Ok(value.to_string(context)?.to_std_string_escaped())).collect();
    println!("{}", words?.join(" "));
    Ok(JsValue::undefined())
}

fn print_usage() {
    // SAFETY: plain data that the call fills in.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    eprintln!("usage {:.3} {}", seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss);
}
