//! The simulator against figures that the reference model of the pacer gave, in Python and with another
//! generator's same numbers: `data/reference-model.csv`.

use lab::simulate::{Metrics, Plant, Quantum, SCENARIOS, run, scenario};
use pacer::{PacerConfig, PolicyName};

const RECORDED: &str = include_str!("data/reference-model.csv");
/// By which part a figure may differ.
const PART: f64 = 0.02;
/// Shares of the machine that differ by less are the same: a part of next to nothing says nothing.
const LEAST: f64 = 0.002;

#[test]
fn go_and_adaptive_agree_with_the_reference_model_on_every_scenario() {
    let mut lines = RECORDED.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    // The reference model bounds the trim a little more tightly.
    let config = PacerConfig { trim_max: 0.5, ..PacerConfig::default() };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let scenario = scenario(cells[0]).unwrap();
        let policy = PolicyName::ALL.iter().find(|policy| policy.name() == cells[1]).unwrap();
        let run = run(&Plant::new(scenario, Quantum::Fluid), *policy, config);
        let found = serde_json::to_value(Metrics::of(&run)).unwrap();
        for (column, recorded) in columns.iter().zip(&cells).skip(2) {
            let recorded: f64 = recorded.parse().unwrap();
            let found = found[column].as_f64().unwrap();
            let difference = (found - recorded).abs();
            if difference > PART * recorded.abs() && difference > LEAST {
                wrong.push(format!("{} {} {column}: {found}, recorded {recorded}", cells[0], cells[1]));
            }
            seen += 1;
        }
    }
    assert_eq!(seen, SCENARIOS.iter().filter(|scenario| !scenario.name.starts_with("go-")).count() * 2 * 12);
    assert!(wrong.is_empty(), "{} of {seen} figures differ:\n{}", wrong.len(), wrong.join("\n"));
}
