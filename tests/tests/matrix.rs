//! Every plan x every workload x mutators x workers x stress, with the verifier on.

use plan_tests::matrix::{self, Stress};
use plan_tests::{SideVM, Watchdog, collecting_plans};
use policies::new_heap;
use reference::ReferenceVM;

fn on_every_plan(stress: Stress) {
    for plan in collecting_plans() {
        let _watchdog = Watchdog::new();
        matrix::all_workloads::<ReferenceVM>(new_heap, plan, stress);
    }
}

plan_tests::tests_under_stress!(on_every_plan);

#[test]
fn workloads_compute_the_same_in_a_heap_near_the_minimum() {
    for plan in collecting_plans() {
        let _watchdog = Watchdog::new();
        matrix::all_workloads_near_their_minimum::<ReferenceVM>(new_heap, plan);
    }
}

#[test]
fn workloads_compute_the_same_without_collection() {
    let _watchdog = Watchdog::new();
    matrix::all_workloads_without_collection::<ReferenceVM>(new_heap, "NoGC");
    matrix::all_workloads_without_collection::<SideVM<3>>(new_heap, "NoGC");
    matrix::all_workloads_without_collection::<SideVM<4>>(new_heap, "NoGC");
}

fn with_side_tables<const LOG_GRANULE: u32>() {
    for plan in collecting_plans() {
        let _watchdog = Watchdog::new();
        for stress in [matrix::EVERY_BYTES, matrix::POISON] {
            matrix::all_workloads::<SideVM<LOG_GRANULE>>(new_heap, plan, stress);
        }
    }
}

#[test]
fn workloads_compute_the_same_with_side_tables_and_granules_of_8() {
    with_side_tables::<3>();
}

#[test]
fn workloads_compute_the_same_with_side_tables_and_granules_of_16() {
    with_side_tables::<4>();
}

#[test]
fn workloads_with_side_tables_run_near_their_minimum() {
    for plan in collecting_plans() {
        let _watchdog = Watchdog::new();
        matrix::all_workloads_near_their_minimum::<SideVM<3>>(new_heap, plan);
    }
}
