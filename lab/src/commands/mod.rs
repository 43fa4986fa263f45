//! The commands: each reads its part of the command line, and prints.

mod bench;
mod compare;
mod count;
mod list;
mod minheap;
pub(crate) mod pacer;
mod rates;
mod references;
mod refusals;
mod run;

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::limits;

/// Executes the command.
///
/// # Errors
/// What is wrong with the arguments, or went wrong.
pub fn execute(cli: Cli) -> Result<(), Failure> {
    cli.check()?;
    let Cli { run: options, command } = cli;
    match command {
        Command::Run { workload } => run::run(&options, &workload),
        Command::List { part } => list::list(part, options.json),
        Command::Compare(how) => compare::compare(&options, &how),
        Command::Bench(how) => bench::bench(&options, &how),
        Command::Minheap { workload, timeout_s } => minheap::minheap(&options, &workload, timeout_s),
        Command::Count { workload } => count::count(&options, &workload),
        Command::Rates => rates::rates(&options.plan, options.json),
        Command::References { entries } => references::references(&options.plan, &entries, options.json),
        Command::Pacer { command } => pacer::pacer(&options, &command),
        Command::Limits { groups } => limits::run(&groups, options.json),
    }
}
