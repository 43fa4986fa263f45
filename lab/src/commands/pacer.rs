//! `mmtk pacer`: the pacer without a heap.

use std::path::{Path, PathBuf};

use heapwright::Options;
use heapwright::events::Paced;
use pacer::{Decision, HeapMode, PacerConfig, PolicyName};
use reports::Decided;
use serde::Serialize;
use serde_json::json;

use crate::cli::{PacerCommand, RunOptions, Simulation};
use crate::drive::{self, Drive};
use crate::failure::Failure;
use crate::simulate::{
    Kept, Metrics, Outcome, Plant, Quantum, Replayed, Row, Run, SCENARIOS, Scenario, Tax, acceptance, describe,
    headroom_for_equal_memory, kept, plot, read_cycles, read_log, replay, run, same, scenario,
};
use crate::table::{Table, number};
use crate::{output, progress, suggest};

pub(super) fn pacer(options: &RunOptions, command: &PacerCommand) -> Result<(), Failure> {
    match command {
        PacerCommand::Simulate(how) => simulate(options, how),
        PacerCommand::Drive { scenarios, all } => drive(options, scenarios, *all),
        PacerCommand::Replay { file, policy } => replay_log(options, file, policy.as_ref()),
        PacerCommand::Tax { files } => tax(options.json, files),
    }
}

/// A line of the result.
#[derive(Serialize)]
struct Line {
    scenario: &'static str,
    policy: &'static str,
    headroom: f64,
    outcome: &'static str,
    #[serde(flatten)]
    metrics: Metrics,
}

fn simulate(options: &RunOptions, how: &Simulation) -> Result<(), Failure> {
    if how.all && how.scenarios.is_empty() && !how.equal_memory {
        return table(options.json);
    }
    let config = config(options)?;
    let policies = policies(&how.policy)?;
    let scenarios = scenarios(how)?;
    let quantum = if how.fluid { Quantum::Fluid } else { Quantum::Workers };
    let mut lines = Vec::new();
    let bar = progress::spinner();
    for scenario in &scenarios {
        let plant = Plant::new(scenario, quantum);
        let mut runs = Vec::new();
        let mut peak = None;
        for &policy in &policies {
            bar.set_message(format!("{}: {policy}", scenario.name));
            let mut headroom = config.headroom;
            // The first policy sets the memory; a hard limit already does.
            if let (Some(peak), true, None) = (peak, how.equal_memory, scenario.limit) {
                headroom = headroom_for_equal_memory(&plant, policy, config, peak).0;
            }
            let result = run(&plant, policy, PacerConfig { headroom, ..config });
            let metrics = Metrics::of(&result);
            peak = peak.or(Some(metrics.peak_mean));
            let outcome = outcome(&result);
            lines.push(Line { scenario: scenario.name, policy: policy.name(), headroom, outcome, metrics });
            runs.push((policy.name(), result));
        }
        if let Some(path) = &how.plot {
            plot(Path::new(path), scenario.name, &runs)?;
        }
    }
    bar.finish_and_clear();
    print_lines(&lines, options.json)
}

fn print_lines(lines: &[Line], as_json: bool) -> Result<(), Failure> {
    if as_json { output::line(json!(lines)) } else { output::text(&markdown(lines)) }
}

fn outcome(run: &Run) -> &'static str {
    match run.outcome {
        Outcome::Completed => "completed",
        Outcome::OutOfMemory => "out of memory",
        Outcome::GaveUp => "limit exceeded",
    }
}

/// The settings, from the same sources as those of a run.
fn config(options: &RunOptions) -> Result<PacerConfig, Failure> {
    // A heap as large as its limit has nothing to pace.
    let options = options.settings_over(Options { heap_mode: HeapMode::Proportional, ..Options::default() })?;
    Ok(PacerConfig { headroom: f64::from(options.heap_headroom_percent) / 100.0, ..options.pacer_config(usize::MAX) })
}

fn policies(names: &[String]) -> Result<Vec<PolicyName>, Failure> {
    if names.is_empty() {
        return Ok(vec![PolicyName::Adaptive]);
    }
    let find = |name: &String| {
        let known = PolicyName::ALL.iter().map(|policy| policy.name());
        let found = PolicyName::ALL.iter().find(|policy| policy.name() == name);
        found.copied().ok_or_else(|| suggest::unknown("policy", name, known))
    };
    names.iter().map(find).collect()
}

fn scenarios(how: &Simulation) -> Result<Vec<&'static Scenario>, Failure> {
    if how.scenarios.is_empty() {
        if how.all || how.equal_memory {
            return Ok(SCENARIOS.iter().collect());
        }
        return Err(Failure::Usage(format!("name a scenario, or --all. There are:\n{}", describe())));
    }
    if how.plot.is_some() && how.scenarios.len() > 1 {
        return Err(Failure::Usage("--plot: takes one scenario".to_owned()));
    }
    find_scenarios(&how.scenarios)
}

fn find_scenarios(names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
    let known = SCENARIOS.iter().map(|scenario| scenario.name);
    let find = |name: &String| scenario(name).ok_or_else(|| suggest::unknown("scenario", name, known.clone()));
    names.iter().map(find).collect()
}

fn markdown(lines: &[Line]) -> String {
    let header = [
        "scenario",
        "policy",
        "cycles",
        "peak/live",
        "max",
        "overshoot %",
        "share",
        "assist %",
        "max",
        "GC cpu %",
        "MMU 10 ms",
        "stall ms",
        "over limit",
        "headroom",
        "end",
    ];
    let mut table = Table::new(header);
    for line in lines {
        let m = &line.metrics;
        table.row([
            line.scenario.to_owned(),
            line.policy.to_owned(),
            m.cycles.to_string(),
            decimals(m.peak_mean, 2),
            decimals(m.peak_max, 2),
            decimals(100.0 * m.overshoot_max, 1),
            decimals(m.share, 3),
            decimals(100.0 * m.assist_mean, 2),
            decimals(100.0 * m.assist_max, 1),
            decimals(100.0 * m.gc_share, 2),
            decimals(m.utilisation, 2),
            number(m.stall_ns / 1e6),
            m.violations.to_string(),
            format!("{:.2}", line.headroom),
            line.outcome.to_owned(),
        ]);
    }
    table.markdown()
}

/// A figure; none where a run had no cycle to take it from.
fn decimals(value: f64, places: usize) -> String {
    if value.is_finite() { format!("{value:.places$}") } else { "-".to_owned() }
}

/// Runs scenarios on real threads.
fn drive(options: &RunOptions, names: &[String], all: bool) -> Result<(), Failure> {
    let settings = drive_settings(options)?;
    if options.pacer_log.is_some() && (all || names.len() > 1) {
        return Err(Failure::Usage("--pacer-log: takes one scenario".to_owned()));
    }
    if all {
        let bar = progress::children(drive::rows());
        let mut rows = Vec::new();
        drive::acceptance(&settings, options.mutators, |row| {
            bar.inc(1);
            rows.push(row);
        })?;
        bar.finish_and_clear();
        return print_rows(&rows, options.json);
    }
    if names.is_empty() {
        return Err(Failure::Usage(format!("name a scenario, or --all. There are:\n{}", describe())));
    }
    let mut lines = Vec::new();
    let bar = progress::spinner();
    for scenario in find_scenarios(names)? {
        bar.set_message(scenario.name);
        let drive = Drive { scenario, options: settings.clone(), mutators: options.mutators, time: drive::SCALE };
        let run = drive.run(options.pacer_log.as_deref())?;
        let (metrics, outcome) = (Metrics::of(&run), outcome(&run));
        let headroom = f64::from(settings.heap_headroom_percent) / 100.0;
        lines.push(Line { scenario: scenario.name, policy: settings.pacer_policy.name(), headroom, outcome, metrics });
    }
    bar.finish_and_clear();
    print_lines(&lines, options.json)
}

/// Unless told otherwise, the heap follows what is live, and the limit does not matter.
fn drive_settings(options: &RunOptions) -> Result<Options, Failure> {
    let defaults =
        Options { heap_mode: HeapMode::Proportional, heap_limit: 2 << 30, heap_min: 1 << 20, ..Options::default() };
    let mut settings = options.settings_over(defaults)?;
    match &options.plan[..] {
        [] => (),
        [plan] => settings.plan.clone_from(plan),
        _ => return Err(Failure::Usage("--plan: takes one plan".to_owned())),
    }
    Ok(settings)
}

/// The acceptance table.
fn table(as_json: bool) -> Result<(), Failure> {
    print_rows(&acceptance(), as_json)
}

fn print_rows(rows: &[Row], as_json: bool) -> Result<(), Failure> {
    let failed = rows.iter().filter(|row| !row.passes()).count();
    if as_json {
        let check = |check: &crate::simulate::Check| json!({"what": check.what, "found": check.found, "must_be": check.bound(), "passes": check.passes()});
        let row = |row: &Row| json!({"scenario": row.name, "checks": row.checks.iter().map(check).collect::<Vec<_>>()});
        output::line(json!(rows.iter().map(row).collect::<Vec<_>>()))?;
    } else {
        let mut table = Table::new(["scenario", "what", "found", "must be", ""]);
        for row in rows {
            for check in &row.checks {
                let verdict = if check.passes() { "ok" } else { "FAILS" };
                let found = format!("{:.4}", check.found);
                table.row([row.name.clone(), check.what.to_owned(), found, check.bound(), verdict.to_owned()]);
            }
        }
        output::text(&table.markdown())?;
        output::line(format!("\n{} of {} scenarios do what they must.", rows.len() - failed, rows.len()))?;
    }
    if failed > 0 {
        return Err(Failure::Failed(format!("{failed} scenarios do not do what they must")));
    }
    Ok(())
}

/// Replays a log, decision by decision.
fn replay_log(options: &RunOptions, file: &Path, policy: Option<&String>) -> Result<(), Failure> {
    let policy = match policy {
        Some(name) => Some(policies(std::slice::from_ref(name))?[0]),
        None => None,
    };
    let log = read_log(file)?;
    let replayed = replay(&log, policy)?;
    let differ = log.iter().zip(&replayed).filter(|(logged, replayed)| !same(logged, replayed)).count();
    let name = |logged: &Decided| match logged {
        Decided::Cycle(paced) => paced.policy.clone(),
        Decided::Tick(ticked) => ticked.policy.clone(),
    };
    let by_itself = policy.is_none_or(|policy| log.iter().all(|logged| name(logged) == policy.name()));
    let (mut cycles, mut ticks) = (Vec::new(), 0);
    for (logged, replayed) in log.iter().zip(&replayed) {
        match (logged, replayed) {
            (Decided::Cycle(paced), Replayed::Cycle(decision)) => {
                cycles.push((&**paced, *decision, same(logged, replayed)))
            }
            _ => ticks += 1,
        }
    }
    if options.json {
        let line = |(paced, d, same): &(&Paced, Decision, bool)| {
            json!({"sequence": paced.sequence, "end_ns": paced.end_ns, "goal": d.goal, "trigger": d.trigger, "share": d.share,
                "trim": d.trim, "cause": d.cause.name(), "same": same})
        };
        output::line(json!(cycles.iter().map(line).collect::<Vec<_>>()))?;
    } else {
        let mib = |bytes: f64| format!("{:.1}", bytes / 1048576.0);
        let header =
            ["pause", "s", "traced MiB", "retained", "goal then", "goal now", "cause now", "GC cpu ms", "mutators"];
        let mut table = Table::new(header);
        for (paced, decision, _) in &cycles {
            table.row([
                paced.sequence.to_string(),
                format!("{:.3}", paced.end_ns as f64 / 1e9),
                mib(paced.sample.traced),
                mib(paced.sample.retained),
                mib(paced.decision.goal),
                mib(decision.goal),
                decision.cause.name().to_owned(),
                number(paced.sample.gc_cpu_ns / 1e6),
                number(paced.sample.mutator_cpu_ns / 1e6),
            ]);
        }
        output::text(&table.markdown())?;
        if let Some(Kept { collections, share, peak_to_goal }) =
            kept(&cycles.iter().map(|&(paced, ..)| paced.clone()).collect::<Vec<_>>())
        {
            output::line(format!(
                "\nIn the {collections} collections that came when they were due, after the first eight, the collector had {share:.3} of the \
                 processor time; the greatest peak was {peak_to_goal:.3} of its goal."
            ))?;
        }
        let of_ticks = if ticks > 0 { format!(" and {ticks} ticks") } else { String::new() };
        output::line(format!("\n{} decisions{of_ticks}, {differ} differ from the log.", cycles.len()))?;
    }
    if by_itself && differ > 0 {
        return Err(Failure::Failed(format!("{differ} decisions differ, made by the same policy")));
    }
    Ok(())
}

/// What logs say of marking beside mutators, a row each.
fn tax(as_json: bool, files: &[PathBuf]) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let few = || Failure::Failed(format!("{}: fewer than two collections: use a smaller heap", file.display()));
        rows.push((name, Tax::of(&read_cycles(file)?).ok_or_else(few)?));
    }
    if as_json {
        let line = |(name, tax): &(String, Tax)| {
            json!({"log": name, "cycles": tax.cycles, "live_bytes": tax.live, "goal_bytes": tax.goal,
                "allocation_rate": tax.allocation_rate, "scan_rate": tax.scan_rate, "needed_share": tax.needed,
                "granted_share": tax.granted, "black_bytes": tax.black, "measured_black_bytes": tax.black_measured,
                "assists": tax.assists, "due": tax.is_due()})
        };
        return output::line(json!(rows.iter().map(line).collect::<Vec<_>>()));
    }
    let header = [
        "log",
        "cycles",
        "L MB",
        "G - L MB",
        "a B/ns",
        "s B/ns",
        "u*",
        "u",
        "2B MB",
        "measured",
        "assists %",
        "mutators are taxed",
    ];
    let mut table = Table::new(header);
    for (name, tax) in &rows {
        let mb = |bytes: f64| format!("{:.1}", bytes / 1e6);
        table.row([
            name.clone(),
            tax.cycles.to_string(),
            mb(tax.live),
            mb(tax.goal - tax.live),
            decimals(tax.allocation_rate, 2),
            decimals(tax.scan_rate, 2),
            decimals(tax.needed, 2),
            decimals(tax.granted, 2),
            mb(2.0 * tax.black),
            mb(2.0 * tax.black_measured),
            decimals(100.0 * tax.assists, 1),
            if tax.is_due() { "yes" } else { "no" }.to_owned(),
        ]);
    }
    output::text(&table.markdown())
}
