//! The command line.
//!
//! The options of a run are global: every command that makes runs takes them, with the same meaning. The
//! toolkit's options are read from these sources, where a later one wins: the lab's defaults, `--config`,
//! `MMTK_*` variables, the flags, `--set`.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use heapwright::options::Options;

use crate::collector::{Collector, Kind};
use crate::failure::Failure;
use crate::request::Request;
use crate::suggest;
use workloads::{self, OPS_MAX, SPECS, Spec};

/// Heap limit of a run when nobody sets one: enough for each workload on a collector that reuses memory well.
const DEFAULT_HEAP_BYTES: usize = 256 << 20;

/// Iterations of a run when nobody says: one to warm up and two to measure.
const DEFAULT_ITERS: usize = 3;

/// Runs workloads on garbage collectors, and compares them.
#[derive(Clone, Debug, Parser)]
#[command(name = "mmtk", version)]
pub struct Cli {
    /// Options of a run.
    #[command(flatten)]
    pub run: RunOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of a run, understood by each command that makes runs.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of a run")]
pub struct RunOptions {
    /// Collector, see `mmtk list`; `compare` takes several, separated by commas. NAME@key=value adds a
    /// setting
    #[arg(long, short, global = true, visible_alias = "plans", value_delimiter = ',', value_name = "NAME")]
    pub plan: Vec<String>,
    /// Heap limit, such as 128M or 1.5G [default: 256M]; `compare` takes several
    #[arg(long, short = 'H', global = true, visible_alias = "heaps", value_delimiter = ',', value_name = "SIZE")]
    pub heap: Vec<String>,
    /// Mutator threads, at most 4096
    #[arg(long, global = true, default_value_t = 1, value_name = "N", value_parser = mutators, allow_negative_numbers = true)]
    pub mutators: usize,
    /// Threads that work in a pause [default: the processors available]
    #[arg(long, global = true, value_name = "N", allow_hyphen_values = true)]
    pub gc_threads: Option<String>,
    /// Iterations in one process [default: 3, minheap: 1]
    #[arg(long, global = true, value_name = "N", value_parser = iterations, allow_negative_numbers = true)]
    pub iters: Option<usize>,
    /// Size of the workload; 0 is its default, see `mmtk list`
    #[arg(long, global = true, default_value_t = 0, value_name = "N", value_parser = amount, allow_negative_numbers = true)]
    pub size: usize,
    /// Amount of work of the workload; 0 is its default
    #[arg(long, global = true, default_value_t = 0, value_name = "N", value_parser = amount, allow_negative_numbers = true)]
    pub ops: usize,
    /// Sets an option of our plans, see `mmtk list`; in `run` and `minheap` also of a peer. Can be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Reads options from a TOML file
    #[arg(long, global = true, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Prints JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Writes the pacer's decisions and what they were made from, a line of JSON each (`run` on our plans,
    /// `pacer drive`)
    #[arg(long, global = true, value_name = "FILE.jsonl")]
    pub pacer_log: Option<PathBuf>,
    /// Writes a line about each pause to standard error, as --set log.gc=true (`run` on our plans)
    #[arg(long, global = true)]
    pub log_gc: bool,
    /// Writes a page about the heap over time (`run` on our plans: HTML), or the chapter of measurements
    /// (`bench`: Markdown, with its charts in a folder of the same name)
    #[arg(long, global = true, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Writes a Chrome trace, which opens in Perfetto (`run` only)
    #[arg(long, global = true, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Runs a workload on one collector.
    #[command(after_long_help = options_help())]
    Run {
        /// Workload, see `mmtk list`.
        workload: String,
    },
    /// Lists collectors, workloads and options.
    List {
        /// Only this part.
        #[arg(value_enum)]
        part: Option<Part>,
    },
    /// Compares collectors on workloads and heaps, interleaved over child processes.
    Compare(CompareOptions),
    /// Makes the measurements of the book's chapter "Measured", and draws the chapter.
    Bench(BenchOptions),
    /// Finds the smallest heap in which a workload completes.
    Minheap {
        /// Workload, see `mmtk list`.
        workload: String,
        /// Seconds after which a run counts as not completing.
        #[arg(long, default_value_t = 60, value_parser = seconds, allow_negative_numbers = true)]
        timeout_s: u64,
    },
    /// Counts what a workload allocates, reads and writes.
    Count {
        /// Workload, see `mmtk list`.
        workload: String,
    },
    /// Measures how fast our plans trace and allocate, beside the loops by hand of `limits`.
    Rates,
    /// Measures what native weak references and ephemerons add to a pause.
    References {
        /// Entries of each kind, one number a row.
        #[arg(long, value_delimiter = ',', default_value = "1000000", value_parser = entries, allow_negative_numbers = true)]
        entries: Vec<usize>,
    },
    /// The pacer without a heap: simulates what it does to programs.
    Pacer {
        /// What to do with it.
        #[command(subcommand)]
        command: PacerCommand,
    },
    /// Measures the physical limits of this machine.
    Limits {
        /// Groups of figures: bandwidth, chase, faults, bump, trace, sync [default: all].
        groups: Vec<String>,
    },
}

/// What to do with the pacer.
#[derive(Clone, Debug, Subcommand)]
pub enum PacerCommand {
    /// Simulates a heap that is marked beside its mutators, with a policy in control.
    #[command(after_long_help = scenarios_help())]
    Simulate(Simulation),
    /// Runs scenarios on a heap of ours: threads that allocate at their rates. Sizes and times are a tenth of
    /// the simulator's.
    #[command(after_long_help = scenarios_help())]
    Drive {
        /// Scenarios, see below.
        scenarios: Vec<String>,
        /// Measures the heap by the table of what it must do.
        #[arg(long)]
        all: bool,
    },
    /// Makes the decisions of a log (`run --pacer-log`) once more, by the policy that made them or by
    /// another.
    Replay {
        /// The log.
        file: PathBuf,
        /// The policy [default: the one in the log]
        #[arg(long, value_name = "NAME")]
        policy: Option<String>,
    },
    /// Says from logs (`run --plan ConcurrentImmix --pacer-log`) which share of the machine marking beside
    /// mutators needs, and whether mutators have to help or to wait.
    Tax {
        /// The logs, each of one run.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// What is simulated.
#[derive(Clone, Debug, Args)]
pub struct Simulation {
    /// Scenarios, see below.
    pub scenarios: Vec<String>,
    /// Policies: adaptive, go, zgc-director, static-50, membalancer, mplr23 [default: adaptive]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub policy: Vec<String>,
    /// Writes a picture of each policy's run to a file.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Measures the adaptive policy by the table of what it must do; with --equal-memory all scenarios.
    #[arg(long)]
    pub all: bool,
    /// Gives each further policy the headroom with which its mean peak is that of the first.
    #[arg(long)]
    pub equal_memory: bool,
    /// Shares the machine at will, instead of in whole workers each ms.
    #[arg(long)]
    pub fluid: bool,
}

fn scenarios_help() -> String {
    format!("Scenarios:\n{}", crate::simulate::describe())
}

/// A part of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Collectors by name.
    Plans,
    /// Workloads.
    Workloads,
    /// Options of our plans.
    Options,
}

/// How a comparison is made and shown.
#[derive(Clone, Debug, Args)]
pub struct CompareOptions {
    /// Workloads, separated by blanks or commas.
    #[arg(value_delimiter = ',', default_values = ["gcbench", "binary-trees"])]
    pub workloads: Vec<String>,
    /// More collectors, as --plan.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub peers: Vec<String>,
    /// Collector that the ratios refer to [default: the first]. `upstream` pairs each plan P with upstream:P.
    #[arg(long, value_name = "NAME")]
    pub base: Option<String>,
    /// Heaps as multiples of the smallest minimum heap of the compared collectors, such as 1.5,2,3,6.
    #[arg(long, value_delimiter = ',', conflicts_with = "heap", value_name = "X")]
    pub heap_x: Vec<f64>,
    /// Minimum heaps that are known, so that they need not be searched for: gcbench=69M,splay=79M.
    #[arg(long, value_delimiter = ',', requires = "heap_x", value_name = "WORKLOAD=SIZE")]
    pub min: Vec<String>,
    /// Child processes per cell.
    #[arg(long, default_value_t = 3, value_parser = processes, allow_negative_numbers = true)]
    pub reps: usize,
    /// Iterations per process that are not counted [default: 1, or 0 with --iters 1].
    #[arg(long, value_name = "N")]
    pub warmup: Option<usize>,
    /// Seconds after which a child process is given up.
    #[arg(long, default_value_t = 120, value_parser = seconds, allow_negative_numbers = true)]
    pub timeout_s: u64,
    /// Format of the report.
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    pub format: Format,
    /// Writes the report to a file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Appends each iteration as a JSON line to a file, while the comparison runs.
    #[arg(long, value_name = "FILE.jsonl")]
    pub raw: Option<PathBuf>,
}

/// Which measurements are made, and where their results are.
#[derive(Clone, Debug, Args)]
pub struct BenchOptions {
    /// Only these, see --list.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub only: Vec<String>,
    /// Lists the measurements, with the number of runs and what they need.
    #[arg(long)]
    pub list: bool,
    /// Runs less of everything: one process a cell, two workloads, one heap. To see that all works here.
    #[arg(long)]
    pub quick: bool,
    /// Draws from the results that are there, and runs nothing.
    #[arg(long, conflicts_with = "quick", conflicts_with = "only")]
    pub draw: bool,
    /// Where results are kept while they are made; a call continues from what is there [default: bench.jsonl,
    /// with --quick bench-quick.jsonl].
    #[arg(long, value_name = "FILE.jsonl")]
    pub results: Option<PathBuf>,
}

/// Format of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables to read.
    Markdown,
    /// A row a cell.
    Csv,
    /// Everything.
    Json,
}

fn options_help() -> String {
    let mut text = String::from("Options for --set, --config and the environment:\n");
    for row in Options::table() {
        text += &format!("  {} [{}] {}: {}\n", row.key, row.default, row.env_name, row.why_and_needs());
    }
    text
}

/// The workload of this name.
///
/// # Errors
/// An unknown name, with the one that was probably meant.
pub fn workload(name: &str) -> Result<&'static Spec, Failure> {
    let known = SPECS.iter().flat_map(|spec| [Some(spec.name), spec.alias]).flatten();
    workloads::find(name).ok_or_else(|| suggest::unknown("workload", name, known))
}

fn one<'a>(what: &str, given: &'a [String]) -> Result<Option<&'a str>, Failure> {
    match given {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(Failure::Usage(format!("--{what} {}: must be one", several.join(",")))),
    }
}

/// A whole number in a range, as a flag's value.
fn whole(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let (least, most) = (range.start(), range.end());
    let value = text.parse::<u64>().ok().filter(|value| range.contains(value));
    value.ok_or_else(|| format!("must be {least}..={most}"))
}

/// As with more GC workers than that, nobody gains by more; and beyond some ten thousand the system has no
/// mappings left for their stacks.
fn mutators(text: &str) -> Result<usize, String> {
    whole(text, 1..=4096).map(|n| n as usize)
}

fn iterations(text: &str) -> Result<usize, String> {
    whole(text, 1..=1_000_000).map(|n| n as usize)
}

fn processes(text: &str) -> Result<usize, String> {
    whole(text, 1..=10_000).map(|n| n as usize)
}

/// What a workload allows is checked when the workload is known.
fn amount(text: &str) -> Result<usize, String> {
    whole(text, 0..=OPS_MAX as u64).map(|n| n as usize)
}

/// A day at most.
fn seconds(text: &str) -> Result<u64, String> {
    whole(text, 1..=86_400)
}

/// The heap that they need is within the largest limit.
fn entries(text: &str) -> Result<usize, String> {
    whole(text, 1..=1_000_000_000).map(|n| n as usize)
}

/// An error with the flag that it came from in front.
fn by<E: Display>(flag: &str) -> impl Fn(E) -> Failure {
    move |error| Failure::Usage(format!("{flag}: {error}"))
}

impl Cli {
    /// Refuses options of a run that the command does not read: a user would take them for obeyed.
    ///
    /// # Errors
    /// Names the option.
    pub fn check(&self) -> Result<(), Failure> {
        let reads = self.command.reads();
        match self.run.given().into_iter().find(|flag| !reads.contains(flag)) {
            None => Ok(()),
            Some(flag) => {
                let reads = if reads.is_empty() {
                    "no option of a run".to_owned()
                } else {
                    format!("--{}", reads.join(", --"))
                };
                Err(Failure::Usage(format!(
                    "--{flag}: `mmtk {}` does not read it; it reads {reads}",
                    self.command.name()
                )))
            }
        }
    }
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Run { .. } => "run",
            Self::List { .. } => "list",
            Self::Compare(_) => "compare",
            Self::Bench(_) => "bench",
            Self::Minheap { .. } => "minheap",
            Self::Count { .. } => "count",
            Self::Rates => "rates",
            Self::References { .. } => "references",
            Self::Pacer { command: PacerCommand::Simulate(_) } => "pacer simulate",
            Self::Pacer { command: PacerCommand::Drive { .. } } => "pacer drive",
            Self::Pacer { command: PacerCommand::Replay { .. } } => "pacer replay",
            Self::Pacer { command: PacerCommand::Tax { .. } } => "pacer tax",
            Self::Limits { .. } => "limits",
        }
    }

    /// The options of a run that it reads, by their flags.
    fn reads(&self) -> &'static [&'static str] {
        match self {
            Self::Run { .. } => &FLAGS,
            Self::Compare(_) | Self::Minheap { .. } => {
                &["plan", "heap", "mutators", "gc-threads", "iters", "size", "ops", "set", "config", "json"]
            }
            Self::Bench(_) => &["report"],
            Self::Count { .. } => &["mutators", "size", "ops", "json"],
            Self::Rates | Self::References { .. } => &["plan", "json"],
            Self::Pacer { command: PacerCommand::Simulate(_) } => &["set", "config", "json"],
            Self::Pacer { command: PacerCommand::Drive { .. } } => {
                &["plan", "heap", "mutators", "gc-threads", "set", "config", "json", "pacer-log"]
            }
            Self::List { .. }
            | Self::Limits { .. }
            | Self::Pacer { command: PacerCommand::Replay { .. } | PacerCommand::Tax { .. } } => &["json"],
        }
    }
}

/// The flags of [`RunOptions`].
const FLAGS: [&str; 14] = [
    "plan",
    "heap",
    "mutators",
    "gc-threads",
    "iters",
    "size",
    "ops",
    "set",
    "config",
    "json",
    "pacer-log",
    "log-gc",
    "report",
    "trace",
];

impl RunOptions {
    /// Options of the toolkit from all sources but `--set`.
    fn toolkit_options(&self) -> Result<Options, Failure> {
        self.options_over(Options { heap_limit: DEFAULT_HEAP_BYTES, ..Options::default() })
    }

    /// `options`, with all sources but `--set` written over them.
    fn options_over(&self, mut options: Options) -> Result<Options, Failure> {
        if let Some(path) = &self.config {
            reports::apply_toml_file(&mut options, path).map_err(by("--config"))?;
        }
        options.apply_process_env()?;
        if let Some(heap) = one("heap", &self.heap)? {
            options.set("heap.limit", heap).map_err(by("--heap"))?;
        }
        if let Some(threads) = &self.gc_threads {
            options.set("gc.workers", threads).map_err(by("--gc-threads"))?;
        }
        options.log_gc |= self.log_gc;
        Ok(options)
    }

    /// Options of the toolkit from all sources, where no heap is made: `options` are the defaults.
    ///
    /// # Errors
    /// What is wrong with one.
    pub fn settings_over(&self, options: Options) -> Result<Options, Failure> {
        let mut options = self.options_over(options)?;
        for set in &self.set {
            options.apply_assignment(set).map_err(by("--set"))?;
        }
        options.validate()?;
        Ok(options)
    }

    /// One run of a workload on the one collector that is named.
    ///
    /// # Errors
    /// What is wrong with an option, a name or a value.
    pub fn request(&self, workload_name: &str) -> Result<Request, Failure> {
        let mut options = self.toolkit_options()?;
        let name = one("plan", &self.plan)?.unwrap_or(&options.plan);
        let collector = Collector::parse(name)?;
        if collector.kind == Kind::Ours {
            options.plan = collector.base.clone();
        }
        let is_plan = |set: &&String| set.split('=').next().is_some_and(|key| key.trim() == "plan");
        if let Some(set) = self.set.iter().find(is_plan) {
            return Err(Failure::Usage(format!("--set {set}: choose the collector by --plan")));
        }
        if self.log_gc && collector.kind != Kind::Ours {
            let name = collector.base;
            return Err(Failure::Usage(format!(
                "--log-gc: {name} has none: choose a plan of ours (`mmtk list plans`)"
            )));
        }
        let spec = workload(workload_name)?;
        self.check_amounts(spec)?;
        let mut request = Request {
            collector,
            spec,
            options,
            peer_settings: Vec::new(),
            mutators: self.mutators,
            iters: self.iters(),
            size: self.size,
            ops: self.ops,
            json: self.json,
            trace: self.trace.clone(),
            pacer_log: self.pacer_log.clone(),
            report: self.report.clone(),
        };
        request.apply_settings(&self.set)?;
        request.options.validate()?;
        Ok(request)
    }

    /// Iterations of a run.
    pub fn iters(&self) -> usize {
        self.iters.unwrap_or(DEFAULT_ITERS)
    }

    /// Refuses a size for which the workload would not compute what it says.
    ///
    /// # Errors
    /// Names the workload, and what is allowed.
    pub fn check_amounts(&self, spec: &Spec) -> Result<(), Failure> {
        let (sizes, size) = (spec.sizes(), self.size);
        if size == 0 || sizes.contains(&size) {
            return Ok(());
        }
        let (name, what) = (spec.name, spec.what);
        Err(Failure::Usage(format!("--size {size}: {name} takes {}..={} ({what})", sizes.start(), sizes.end())))
    }

    /// The flags whose values are not the defaults.
    fn given(&self) -> Vec<&'static str> {
        let Self {
            plan,
            heap,
            mutators,
            gc_threads,
            iters,
            size,
            ops,
            set,
            config,
            json,
            pacer_log,
            log_gc,
            report,
            trace,
        } = self;
        let given = [
            !plan.is_empty(),
            !heap.is_empty(),
            *mutators != 1,
            gc_threads.is_some(),
            iters.is_some(),
            *size != 0,
            *ops != 0,
            !set.is_empty(),
            config.is_some(),
            *json,
            pacer_log.is_some(),
            *log_gc,
            report.is_some(),
            trace.is_some(),
        ];
        FLAGS.into_iter().zip(given).filter_map(|(flag, given)| given.then_some(flag)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn request(line: &str) -> Result<Request, Failure> {
        let cli = parse(line).expect("the line is well-formed");
        let Command::Run { workload } = cli.command else { panic!("not a run: {line}") };
        cli.run.request(&workload)
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_run_takes_its_options_before_and_after_the_command() {
        let line = "mmtk --heap 128M run lru --plan Immix --mutators 2 --gc-threads 3 --set verify.trace=true --json";
        let request = request(line).unwrap();
        assert_eq!((request.heap_bytes(), request.gc_threads(), request.mutators), (128 << 20, 3, 2));
        assert_eq!((request.spec.name, request.options.plan.as_str()), ("lru-cache", "Immix"));
        assert!(request.options.verify && request.json);
        assert_eq!(request.iters, DEFAULT_ITERS);
    }

    #[test]
    fn the_log_of_collections_has_a_flag() {
        let logs = |line| request(line).unwrap().options.log_gc;
        assert!(logs("mmtk run list --log-gc") && logs("mmtk run list --set log.gc=true"));
        assert!(!logs("mmtk run list") && !logs("mmtk run list --log-gc --set log.gc=false"));
        let error = request("mmtk run list --plan malloc --log-gc").unwrap_err().to_string();
        assert!(error.starts_with("--log-gc: malloc has none"), "{error}");
        let error = parse("mmtk compare list --log-gc").unwrap().check().unwrap_err().to_string();
        assert!(error.starts_with("--log-gc: `mmtk compare`"), "{error}");
    }

    #[test]
    fn heap_sizes_have_units() {
        let heap = |text: &str| request(&format!("mmtk run list --plan malloc --heap {text}"));
        assert_eq!(heap("1.5G").unwrap().heap_bytes(), 3 << 29);
        assert_eq!(heap("64MiB").unwrap().heap_bytes(), 64 << 20);
        assert_eq!(heap("33554432").unwrap().heap_bytes(), 32 << 20);
        let error = heap("64").unwrap_err().to_string();
        assert!(error.starts_with("--heap: heap.limit=64: must be 1M..=1T"), "{error}");
        assert!(heap("64MB").is_err());
        assert!(heap("64M,128M").unwrap_err().to_string().contains("must be one"));
    }

    #[test]
    fn settings_of_a_peer_are_kept_apart_from_ours() {
        let request_of = |line| request(line).unwrap();
        let peer = request_of("mmtk run list --plan upstream:GenImmix@threads=1 --set nursery=Fixed:4194304");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(peer.peer_settings, [pair("nursery", "Fixed:4194304"), pair("threads", "1")]);
        let ours = request_of("mmtk run list --plan Immix@immix.defrag=false --set immix.defrag=true");
        assert!(!ours.options.immix_defrag && ours.peer_settings.is_empty());
    }

    #[test]
    fn wrong_names_and_values_are_refused() {
        let error = |line| request(line).unwrap_err().to_string();
        assert_eq!(error("mmtk run gcbnch"), "unknown workload gcbnch: did you mean gcbench?");
        assert_eq!(error("mmtk run list --plan Imix"), "unknown plan Imix: did you mean Immix?");
        assert!(error("mmtk run list --gc-threads 0").starts_with("--gc-threads: gc.workers=0: must be"));
        assert!(error("mmtk run list --gc-threads -1").starts_with("--gc-threads: gc.workers=-1: negative; must be"));
        assert!(error("mmtk run list --set heap.limt=1G").contains("did you mean heap.limit?"));
        assert!(error("mmtk run list --set plan=NoGC").contains("by --plan"));
        assert!(parse("mmtk compare --heap 1M --heap-x 2").is_err());
        assert!(parse("mmtk compare --min list=1M").is_err());
    }

    #[test]
    fn every_number_is_refused_out_of_its_range_with_the_range() {
        let flags = [
            ("run list --mutators", "1..=4096"),
            ("run list --iters", "1..=1000000"),
            ("minheap list --timeout-s", "1..=86400"),
            ("compare list --timeout-s", "1..=86400"),
            ("compare list --reps", "1..=10000"),
            ("references --entries", "1..=1000000000"),
        ];
        for (flag, range) in flags {
            for value in ["0", "-1", "18446744073709551615", "99999999999999999999", "1.5", "x"] {
                let error = parse(&format!("mmtk {flag} {value}")).unwrap_err().to_string();
                assert!(error.contains(&format!("must be {range}")), "{flag} {value}: {error}");
            }
            parse(&format!("mmtk {flag} 1")).unwrap();
        }
        for value in ["-1", "18446744073709551615", "x"] {
            for flag in ["size", "ops"] {
                let error = parse(&format!("mmtk run list --{flag} {value}")).unwrap_err().to_string();
                assert!(error.contains("must be 0..=1000000000"), "{flag} {value}: {error}");
            }
        }
        let error = |line| request(line).unwrap_err().to_string();
        assert!(error("mmtk run gcbench --size 33").starts_with("--size 33: gcbench takes 1..=32 (size = depth"));
        assert!(
            error("mmtk run wide --size 100000001").starts_with("--size 100000001: wide takes 1..=100000000 (size =")
        );
    }

    #[test]
    fn an_option_that_a_command_does_not_read_is_refused() {
        let check = |line| parse(line).unwrap().check();
        let error = |line| check(line).unwrap_err().to_string();
        assert_eq!(
            error("mmtk limits --report page.html"),
            "--report: `mmtk limits` does not read it; it reads --json"
        );
        assert!(error("mmtk list --heap 3M").starts_with("--heap: `mmtk list`"));
        assert!(error("mmtk rates --heap 4M").contains("it reads --plan, --json"));
        assert!(error("mmtk minheap list --trace x").starts_with("--trace: `mmtk minheap`"));
        assert!(error("mmtk compare list --pacer-log x").starts_with("--pacer-log: `mmtk compare`"));
        assert!(error("mmtk count list --report x").starts_with("--report: `mmtk count`"));
        assert!(error("mmtk pacer simulate steady --plan NoGC").starts_with("--plan: `mmtk pacer simulate`"));
        assert!(error("mmtk pacer drive steady --report x").starts_with("--report: `mmtk pacer drive`"));
        assert!(error("mmtk pacer replay x --set a=b").starts_with("--set: `mmtk pacer replay`"));
        assert_eq!(check("mmtk limits --json sync"), Ok(()));
        let all = "mmtk run list --plan Immix --heap 1G --mutators 2 --gc-threads 2 --iters 2 --size 5 --ops 5 --set a=b --config c --json \
                   --pacer-log d --log-gc --report e --trace f";
        assert_eq!(check(&all.split_whitespace().collect::<Vec<_>>().join(" ")), Ok(()));
    }

    #[test]
    fn a_comparison_takes_lists() {
        let line =
            "mmtk compare gcbench,list splay --plans Immix,SemiSpace --peers bdwgc --heap-x 1.5,2 --min list=64M";
        let cli = parse(line).unwrap();
        let Command::Compare(options) = cli.command else { panic!("not a comparison") };
        assert_eq!(options.workloads, ["gcbench", "list", "splay"]);
        assert_eq!((cli.run.plan, options.peers), (vec!["Immix".into(), "SemiSpace".into()], vec!["bdwgc".into()]));
        assert_eq!((options.heap_x, options.min), (vec![1.5, 2.0], vec!["list=64M".to_owned()]));
    }
}
