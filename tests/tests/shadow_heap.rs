//! Random programs on every plan, mirrored in a plain model.

use plan_tests::shadow::random_programs_match_a_plain_model;
use plan_tests::{SideVM, TestVM};
use policies::new_heap;
use reference::ReferenceVM;

fn on_every_plan<VM: TestVM>(cases: u32) {
    for plan in policies::PLANS {
        random_programs_match_a_plain_model::<VM>(new_heap, plan.name, cases);
    }
}

#[test]
fn random_programs_match_a_plain_model_on_every_plan() {
    on_every_plan::<ReferenceVM>(256);
}

#[test]
fn random_programs_match_with_side_tables_and_granules_of_8() {
    on_every_plan::<SideVM<3>>(128);
}

#[test]
fn random_programs_match_with_side_tables_and_granules_of_16() {
    on_every_plan::<SideVM<4>>(128);
}
