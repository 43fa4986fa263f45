//! The table of what the adaptive policy must do, measured in the simulator.

use lab::simulate::acceptance;

#[test]
fn the_adaptive_policy_does_what_the_acceptance_table_says() {
    let rows = acceptance();
    assert!(rows.len() > 50);
    let failed: Vec<String> = rows
        .iter()
        .flat_map(|row| row.checks.iter().filter(|check| !check.passes()).map(move |check| (row, check)))
        .map(|(row, check)| format!("{}: {} {:.4}, must be {}", row.name, check.what, check.found, check.bound()))
        .collect();
    assert!(failed.is_empty(), "{} of the checks fail:\n{}", failed.len(), failed.join("\n"));
}
