//! What a panic says.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The message of a panic; empty if it has none.
pub fn text_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map(|text| text.to_string()).unwrap_or_default(),
    }
}

/// The message with which `f` panics.
///
/// # Panics
/// When it does not.
pub fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    text_of(catch_unwind(AssertUnwindSafe(f)).map(|_| ()).expect_err("no panic"))
}
