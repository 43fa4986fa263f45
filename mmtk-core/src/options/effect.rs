//! Options without effect: a new heap reports each option that was changed from its default and whose needs
//! the heap does not meet. Otherwise a user would tune an option that does nothing.

use super::choice::When;
use super::needs::Need;
use super::table::Options;
use pacer::{HeapMode, PolicyName};

/// What needs are compared with, besides the options themselves.
#[derive(Clone, Debug)]
pub struct PlanFacts<'a> {
    /// Name of the plan.
    pub name: &'a str,
    /// Whether it collects.
    pub collects: bool,
    /// Whether it has minor collections.
    pub generational: bool,
    /// Whether it marks while mutators run.
    pub concurrent: bool,
    /// Whether the binding lets objects move.
    pub may_move: bool,
    /// Names of its spaces.
    pub spaces: Vec<&'a str>,
}

impl Need {
    fn is_met(self, options: &Options, plan: &PlanFacts<'_>) -> bool {
        // Policies other than the toolkit's own size the heap by their own laws, whatever the mode is.
        let by_another = options.pacer_policy != PolicyName::Adaptive;
        // The VM of a delegated heap decides when to collect. It may go by the options for that, and may have
        // set them itself.
        let delegated = options.heap_mode == HeapMode::Delegated;
        match self {
            Need::Collections => plan.collects,
            Need::Generational => plan.generational || delegated,
            Need::Concurrent => plan.concurrent,
            Need::Space(name) => plan.spaces.contains(&name),
            Need::Moving => plan.may_move,
            Need::Sized => by_another || options.heap_mode != HeapMode::Fixed,
            Need::Mode(mode) => by_another || delegated || options.heap_mode == mode,
            Need::NurseryOfItsChoice => options.nursery_bytes == 0 || delegated,
            Need::DelayedReturn => options.return_memory == When::Auto,
            Need::Defrag => options.immix_defrag,
            Need::Helpers => options.gc_workers > 1,
            Need::RandomYield => options.stress_yield,
            Need::Verifier => options.verify,
        }
    }
}

impl Options {
    /// Options that were changed from their defaults and have no effect on a heap with this plan: a sentence
    /// each, in the order of the table.
    pub fn without_effect(&self, plan: &PlanFacts<'_>) -> Vec<String> {
        let mut found = Vec::new();
        for (row, needs) in Self::table().iter().zip(Self::needs()) {
            let Some(need) = needs.iter().find(|need| !need.is_met(self, plan)) else { continue };
            let value = self.get(row.key).expect("a row of the table");
            // What the machine decides was not changed by anybody, as far as is known.
            if value != row.default && row.default != "auto" {
                let (key, plan, mode, need) = (row.key, plan.name, self.heap_mode, need.text());
                found.push(format!(
                    "{key}={value} has no effect with plan {plan} and heap.mode={mode}: it needs {need}"
                ));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &'static str) -> PlanFacts<'static> {
        let (spaces, generational) = match name {
            "Immix" => (vec!["immix", "large"], false),
            "StickyImmix" => (vec!["immix", "large"], true),
            _ => (vec!["bump"], false),
        };
        PlanFacts { name, collects: name != "NoGC", generational, concurrent: false, may_move: true, spaces }
    }

    fn reported(name: &'static str, settings: &[(&str, &str)]) -> Vec<String> {
        let mut options = Options { gc_workers: 2, ..Options::default() };
        for (key, value) in settings {
            options.set(key, value).unwrap();
        }
        options.without_effect(&plan(name))
    }

    #[test]
    fn nothing_is_reported_of_defaults_and_of_options_that_work() {
        for name in ["Immix", "StickyImmix", "NoGC"] {
            assert_eq!(reported(name, &[]), [""; 0], "{name}");
        }
        assert_eq!(reported("StickyImmix", &[("nursery.bytes", "4M"), ("stress.full_every", "2")]), [""; 0]);
        assert_eq!(reported("Immix", &[("immix.headroom_percent", "5"), ("verify.trace", "true")]), [""; 0]);
        assert_eq!(reported("Immix", &[("heap.mode", "proportional"), ("heap.headroom_percent", "50")]), [""; 0]);
        // The VM of a delegated heap may go by them.
        let delegated = [
            ("heap.mode", "delegated"),
            ("heap.min", "1M"),
            ("heap.headroom_percent", "43"),
            ("nursery.bytes", "128K"),
        ];
        assert_eq!(reported("Immix", &delegated), [""; 0]);
        // Set to what it is anyway.
        assert_eq!(reported("Immix", &[("nursery.max_bytes", "128M")]), [""; 0]);
    }

    #[test]
    fn what_does_nothing_is_named_with_its_value_and_what_it_needs() {
        assert_eq!(
            reported("Immix", &[("nursery.bytes", "4M")]),
            ["nursery.bytes=4M has no effect with plan Immix and heap.mode=fixed: it needs a generational plan"]
        );
        let one = |name, key, value, need: &str| {
            let found = reported(name, &[(key, value)]);
            assert!(found.len() == 1 && found[0].ends_with(&format!("it needs {need}")), "{key} on {name}: {found:?}");
        };
        one("NoGC", "stress.every_bytes", "1M", "a plan that collects");
        one("NoGC", "immix.defrag", "false", "a plan with the space immix");
        one("Immix", "heap.headroom_percent", "50", "a heap.mode other than fixed");
        one("Immix", "heap.gc_cpu_target", "0.2", "heap.mode=cpu-target");
        one("Immix", "pacer.gc_share", "0.3", "a plan that marks while mutators run");
        one("Immix", "stress.seed", "7", "stress.random_yield=true");
        one("Immix", "verify.every", "16", "verify.trace=true");
        let both = reported("StickyImmix", &[("nursery.bytes", "4M"), ("nursery.pause_goal_us", "500")]);
        assert!(both.len() == 1 && both[0].starts_with("nursery.pause_goal_us=500"), "{both:?}");
    }

    #[test]
    fn options_for_one_kind_of_plan_say_so_in_the_table() {
        for (row, needs) in Options::table().iter().zip(Options::needs()) {
            for (words, need) in [("Concurrent plans:", Need::Concurrent), ("Generational plans:", Need::Generational)]
            {
                assert!(!row.why.contains(words) || needs.contains(&need), "{}", row.key);
            }
        }
    }
}
