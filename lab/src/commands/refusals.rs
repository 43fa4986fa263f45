//! What several commands refuse.

use crate::failure::Failure;

/// Refuses a plan whose pauses cannot be measured, because it has none.
pub(super) fn refuse_plans_without_pauses(plans: &[String]) -> Result<(), Failure> {
    match plans.iter().find(|plan| plan.eq_ignore_ascii_case("NoGC")) {
        None => Ok(()),
        Some(plan) => Err(Failure::Usage(format!("--plan {plan}: it never collects, so there is nothing to measure"))),
    }
}
