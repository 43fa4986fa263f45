//! The command `mmtk`: run a workload on any collector, compare collectors, find the smallest heap.

use clap::Parser;
use lab::failure::Failure;
use lab::output;

fn main() {
    if let Err(failure) = lab::commands::execute(lab::cli::Cli::parse()) {
        if failure != Failure::NoReader {
            output::note(format!("mmtk: {failure}"));
        }
        std::process::exit(failure.status());
    }
}
