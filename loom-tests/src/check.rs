//! Exploring a model, as it is and with one ordering or step weakened.

use protocols::sync::mutation;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// How a model fails. A mutation must break it in the way that is expected, not by accident.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Two threads used a cell at once, or one without having seen what the other did.
    Race,
    /// All threads sleep.
    Deadlock,
    /// A thread waits for ever without sleeping.
    Livelock,
    /// An assertion of the model or the protocol.
    Wrong,
}

impl Failure {
    fn of(message: &str) -> Failure {
        if message.contains("Causality violation") {
            Failure::Race
        } else if message.contains("deadlock") {
            Failure::Deadlock
        } else if message.contains("exceeded maximum number of branches") {
            Failure::Livelock
        } else {
            Failure::Wrong
        }
    }
}

/// Explores all schedules with at most `preemptions` involuntary switches; all there are if none is given.
pub fn holds(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(model);
}

/// Explores the model with the mutation `name` in force, and wants it to fail so.
pub fn fails_without(
    name: &'static str,
    failure: Failure,
    preemptions: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
) {
    mutation::with(name, || fails_as(&format!("without {name}"), failure, preemptions, model));
}

/// Explores a model that does a step wrong, and wants it to fail so.
pub fn fails(failure: Failure, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    fails_as("with a step done wrong", failure, preemptions, model);
}

fn fails_as(how: &str, failure: Failure, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let outcome = quietly(|| panic::catch_unwind(AssertUnwindSafe(|| holds(preemptions, model))));
    let Err(panic) = outcome else { panic!("the model holds {how}") };
    let message = match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(message), _) => message,
        (None, Some(message)) => *message,
        (None, None) => "",
    };
    assert_eq!(Failure::of(message), failure, "{how}: {message}");
}

std::thread_local! { static QUIET: Cell<bool> = const { Cell::new(false) }; }

/// A panic in `f` prints nothing. Loom's threads are coroutines of this one, so it holds for them too.
fn quietly<R>(f: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = f();
    QUIET.set(false);
    result
}
