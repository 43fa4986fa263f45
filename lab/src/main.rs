//! The command `mmtk`: run a workload on any collector, compare collectors, find the smallest heap.

use clap::Parser;

fn main() {
    if let Err(failure) = lab::commands::execute(lab::cli::Cli::parse()) {
        eprintln!("mmtk: {failure}");
        std::process::exit(failure.status());
    }
}
