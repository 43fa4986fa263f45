//! Files about a run: the page, and the pacer's log.

use std::path::PathBuf;
use std::process::{Command, Output};

fn mmtk(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mmtk")).args(arguments).output().unwrap()
}

fn succeed(arguments: &[&str]) -> String {
    let output = mmtk(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A file that goes when the test ends.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Temporary {
        Temporary(std::env::temp_dir().join(format!("mmtk-test-{}-{name}", std::process::id())))
    }
    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

const CHARTS: [&str; 6] =
    ["Heap", "Pauses", "Collector's share", "Background work", "Minimum mutator utilisation", "Spaces"];

#[test]
fn a_report_is_one_page_that_needs_nothing_else() {
    let file = Temporary::new("report.html");
    let heap = ["--size", "15", "--heap", "24M", "--plan", "GenImmix"];
    succeed(&[&["run", "gcbench", "--iters", "1", "--report", file.path()][..], &heap].concat());
    let page = std::fs::read_to_string(&file.0).unwrap();
    for chart in CHARTS {
        assert!(page.contains(&format!("<h2>{chart}</h2>")), "{chart}");
    }
    // Each for a wide page and for a narrow one.
    assert_eq!(page.matches("<svg").count(), 2 * CHARTS.len());
    // What a legend says stands beside the picture, where it hides nothing.
    for name in ["reserved", "live", "goal", "resident", "minor", "full", "immix"] {
        assert!(page.contains(&format!("</i>{name}</li>")), "{name}");
        assert!(!page.contains(&format!(">\n{name}\n</text>")), "{name}");
    }
    for outside in ["src=", "href=", "@import", "url(", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // A name is all that looks like an address.
    assert_eq!(page.matches("http").count(), page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    opens_in_a_browser(file.path());
}

#[test]
fn markings_are_bands_of_the_page_and_the_background_thread_has_a_row() {
    let file = Temporary::new("beside.html");
    let run = ["run", "gcbench", "--iters", "1", "--report", file.path(), "--size", "15", "--heap", "64M"];
    let (amber, beside) = ("#C97A1E", ["--plan", "ConcurrentImmix", "--set", "gc.driver=background"]);
    // One cycle at least, and its marking takes the background thread.
    succeed(&[&run[..], &beside, &["--set", "stress.every_bytes=4M"]].concat());
    let page = std::fs::read_to_string(&file.0).unwrap();
    for name in ["marking", "trigger", "marks", "sweeps"] {
        assert!(page.contains(&format!("</i>{name}</li>")), "{name}");
    }
    for opacity in ["0.25", "1"] {
        let bar = format!("opacity=\"{opacity}\" fill=\"{amber}\"");
        assert!(page.lines().any(|line| line.starts_with("<rect") && line.contains(&bar)), "{bar}");
    }
    succeed(&[&run[..], &["--plan", "Immix"]].concat());
    let page = std::fs::read_to_string(&file.0).unwrap();
    assert!(!page.contains("</i>marking</li>") && !page.contains("</i>trigger</li>"));
}

#[test]
fn a_run_says_how_long_mutators_were_held_up_in_words_and_in_json() {
    let run = ["run", "gcbench", "--iters", "1", "--size", "15", "--heap", "16M", "--plan", "Immix"];
    let text = succeed(&run);
    assert!(text.contains("mutators held up, iteration 1: p50 "), "{text}");
    let record: serde_json::Value = serde_json::from_str(&succeed(&[&run[..], &["--json"]].concat())).unwrap();
    let held = &record["held_up"];
    let number = |field: &str| held[field].as_f64().unwrap();
    assert!(record["pauses"].as_u64() > Some(0) && number("times") > 0.0, "{record}");
    assert!(number("p50_ms") > 0.0 && number("p50_ms") <= number("p99_ms"), "{held}");
    assert!(number("p99_ms") <= number("p999_ms") && number("p999_ms") <= number("max_ms"), "{held}");
    for part in ["mmu_1ms", "mmu_10ms", "mmu_100ms"] {
        assert!((0.0..=1.0).contains(&number(part)), "{held}");
    }
    let peer = ["run", "list", "--size", "1000", "--ops", "1", "--iters=1", "--json", "--plan", "malloc"];
    let record: serde_json::Value = serde_json::from_str(&succeed(&peer)).unwrap();
    assert!(record.get("held_up").is_none(), "{record}");
}

#[test]
fn the_log_of_collections_is_a_flag_of_a_run() {
    let run = ["run", "gcbench", "--iters", "1", "--size", "15", "--heap", "16M", "--plan", "Immix"];
    let log = |arguments: &[&str]| String::from_utf8(mmtk(&[&run, arguments].concat()).stderr).unwrap();
    let (with, without) = (log(&["--log-gc"]), log(&[]));
    assert!(with.lines().any(|line| line.starts_with("[gc 0] ") && line.contains(" s Immix full ")), "{with}");
    assert!(!without.contains("[gc 0]"), "{without}");
}

/// Where there is one.
fn opens_in_a_browser(path: &str) {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|browser| Command::new(browser).arg("--version").output().is_ok_and(|output| output.status.success()))
    else {
        eprintln!("no browser is installed: the page was not opened");
        return;
    };
    for width in ["1280,1000", "390,800"] {
        let output = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=1000", "--dump-dom"])
            .arg(format!("--window-size={width}"))
            .arg(format!("file://{path}"))
            .output()
            .unwrap();
        let dom = String::from_utf8_lossy(&output.stdout);
        assert_eq!(dom.matches("<svg").count(), 2 * CHARTS.len(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_run_without_collections_has_a_page_too() {
    let file = Temporary::new("empty.html");
    let size = ["--size", "100000", "--ops", "10", "--heap", "256M"];
    succeed(&[&["run", "list", "--iters", "1", "--plan", "NoGC", "--report", file.path()][..], &size].concat());
    assert!(std::fs::read_to_string(&file.0).unwrap().contains("There was no collection."));
}

#[test]
fn a_page_that_cannot_be_written_is_an_error_before_the_run() {
    let output = mmtk(&["run", "gcbench", "--report", "/nonexistent/report.html"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("/nonexistent/report.html: cannot write the report"), "{error}");
    assert_eq!(output.status.code(), Some(1));
    let output = mmtk(&["run", "gcbench", "--plan", "malloc", "--pacer-log", "/nonexistent/log"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("--pacer-log: malloc has none"), "{error}");
}

#[test]
fn a_log_replays_to_the_same_bits_and_another_policy_decides_otherwise() {
    let file = Temporary::new("pacer.jsonl");
    let modes = ["proportional", "cpu-target", "membalancer"];
    for mode in modes {
        let set = format!("heap.mode={mode}");
        let run = ["run", "gcbench", "--size", "15", "--iters", "1", "--set", &set, "--pacer-log", file.path()];
        succeed(&run);
        let text = succeed(&["pacer", "replay", file.path()]);
        let count = text.strip_suffix(" decisions, 0 differ from the log.\n").and_then(|text| text.lines().last());
        assert!(count.is_some_and(|count| count.parse::<u32>().unwrap() > 5), "{mode}: {text}");
    }
    // Where the heap is marked beside mutators, ticks are decisions too.
    let set = "pacer.tick_us=100";
    let plan = ["--plan", "ConcurrentImmix", "--heap", "24M", "--set", set, "--pacer-log", file.path()];
    succeed(&[&["run", "gcbench", "--size", "14", "--iters", "2"][..], &plan].concat());
    let text = succeed(&["pacer", "replay", file.path()]);
    let count = text.strip_suffix(" ticks, 0 differ from the log.\n").and_then(|text| text.lines().last());
    let ticks = count.and_then(|count| count.split(" decisions and ").last());
    assert!(ticks.is_some_and(|ticks| ticks.parse::<u32>().unwrap() > 0), "{text}");
    let text = succeed(&["pacer", "replay", file.path(), "--policy", "mplr23"]);
    assert!(!text.ends_with(" 0 differ from the log.\n"), "{text}");
}

#[test]
fn a_log_says_whether_mutators_are_taxed() {
    let (file, few) = (Temporary::new("tax.jsonl"), Temporary::new("few.jsonl"));
    let run = ["run", "gcbench", "--size", "14", "--iters", "1", "--plan", "ConcurrentImmix", "--heap", "24M"];
    succeed(&[&run[..], &["--pacer-log", file.path()]].concat());
    let text = succeed(&["pacer", "tax", file.path()]);
    let (header, row) = (text.lines().next().unwrap(), text.lines().last().unwrap());
    assert!(header.contains("mutators are taxed") && row.contains("tax"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&succeed(&["pacer", "tax", file.path(), "--json"])).unwrap();
    assert!(json[0]["needed_share"].as_f64().is_some_and(|share| share > 0.0 && share < 1.0), "{json}");
    assert!(json[0]["live_bytes"].as_f64().is_some_and(|live| live > 0.0), "{json}");
    let log = std::fs::read_to_string(&file.0).unwrap();
    std::fs::write(&few.0, log.lines().find(|line| line.contains("\"paced\"")).unwrap()).unwrap();
    let error = String::from_utf8(mmtk(&["pacer", "tax", few.path()]).stderr).unwrap();
    assert!(error.contains("fewer than two collections: use a smaller heap"), "{error}");
}

#[test]
fn a_broken_log_is_an_error_that_names_the_line() {
    let file = Temporary::new("broken.jsonl");
    std::fs::write(&file.0, "{\"event\":\"heap_dropped\"}\n{\"event\":\"paced\"}\n").unwrap();
    let error = String::from_utf8(mmtk(&["pacer", "replay", file.path()]).stderr).unwrap();
    assert!(error.contains("line 2: missing field"), "{error}");
    std::fs::write(&file.0, "{\"event\":\"heap_dropped\"}\n").unwrap();
    let error = String::from_utf8(mmtk(&["pacer", "replay", file.path()]).stderr).unwrap();
    assert!(error.contains("no decision of a pacer in it"), "{error}");
}

#[test]
fn scenarios_and_policies_that_are_mistyped_are_answered_with_names() {
    let error = |arguments: &[&str]| {
        let output = mmtk(arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(error(&["pacer", "simulate", "stedy"]).contains("unknown scenario stedy: did you mean steady?"));
    assert!(
        error(&["pacer", "simulate", "steady", "--policy", "adaptve"])
            .contains("unknown policy adaptve: did you mean adaptive?")
    );
    assert!(error(&["pacer", "simulate"]).contains("name a scenario, or --all. There are:\n  steady"));
    assert!(error(&["pacer", "simulate", "steady", "--set", "pacer.margin=2"]).contains("must be 0..=0.5"));
}

#[test]
fn a_simulation_prints_a_row_a_policy_and_draws_them() {
    let file = Temporary::new("plot.svg");
    let text = succeed(&["pacer", "simulate", "bursts", "--policy", "adaptive,go", "--plot", file.path()]);
    assert_eq!(text.lines().count(), 4, "{text}");
    let svg = std::fs::read_to_string(&file.0).unwrap();
    assert!(svg.contains("bursts, adaptive") && svg.contains("bursts, go"));
    let json = succeed(&["pacer", "simulate", "steady", "--policy", "go", "--equal-memory", "--json"]);
    let lines: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((lines[0]["policy"].as_str(), lines[0]["outcome"].as_str()), (Some("go"), Some("completed")));
}
