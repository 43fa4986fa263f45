//! The plan from outside passes what the plans of `policies` pass.

use custom_plan::new_heap;
use mmtk_core::Options;
use plan_tests::matrix::{self, Stress};
use plan_tests::shadow::random_programs_match_a_plain_model;
use plan_tests::{SideVM, TestVM, Watchdog, assert_within_limit};
use reference::{ReferenceVM, Thread};

fn workloads(stress: Stress) {
    let _watchdog = Watchdog::new();
    matrix::all_workloads::<ReferenceVM>(new_heap, "Patchwork", stress);
}

plan_tests::tests_under_stress!(workloads);

#[test]
fn workloads_compute_the_same_in_a_heap_near_the_minimum() {
    let _watchdog = Watchdog::new();
    matrix::all_workloads_near_their_minimum::<ReferenceVM>(new_heap, "Patchwork");
}

#[test]
fn workloads_compute_the_same_with_side_tables() {
    let _watchdog = Watchdog::new();
    matrix::all_workloads::<SideVM<4>>(new_heap, "Patchwork", matrix::EVERY_BYTES);
}

#[test]
fn objects_of_all_sizes_stay_where_a_transitively_pinned_root_reaches_them() {
    plan_tests::what_pinned_roots_reach_stays(new_heap, "Patchwork");
}

#[test]
fn random_programs_match_the_shadow_heap() {
    random_programs_match_a_plain_model::<ReferenceVM>(new_heap, "Patchwork", 64);
    random_programs_match_a_plain_model::<SideVM<3>>(new_heap, "Patchwork", 32);
}

#[test]
fn objects_larger_than_a_line_that_do_not_fit_the_hole_go_to_cells() {
    let options = Options { heap_limit: 16 << 20, ..Options::default() };
    let heap = new_heap(ReferenceVM::new(), options).unwrap();
    assert_eq!(heap.plan_name(), "Patchwork");
    let thread = Thread::attach(&heap);
    for _ in 0..1000 {
        thread.push(thread.alloc(1, 3000));
    }
    let report = heap.report();
    let medium = report.lines().find(|line| line.trim_start().starts_with("medium")).unwrap();
    assert!(!medium.contains(" 0 bytes"), "{report}");
    thread.collect();
    assert!(heap.statistics().live_bytes > 3_000_000);
    assert_within_limit(&heap);
}
