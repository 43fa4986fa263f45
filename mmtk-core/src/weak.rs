//! Weak references: what a binding that keeps its own can ask and do between marking and sweeping.
//!
//! The binding's `process_weak` is called when everything strongly reachable is known. It asks which objects are live,
//! clears what refers to dead ones, and may keep objects alive; each `keep_alive` traces what that object reaches,
//! so ephemerons are resolved by calling it until nothing changes.
//!
//! Where objects move after that (MarkCompact), it is called once more to update what the binding holds; then all of it is live.

use crate::address::ObjectReference;

/// The live objects of the pause in progress.
pub trait WeakProcessor {
    /// Where the object is now, if it is live; none if it is dead.
    fn live(&self, object: ObjectReference) -> Option<ObjectReference>;
    /// Makes the object and all it refers to live; returns its place. If objects have moved since they were found live, only that.
    fn keep_alive(&mut self, object: ObjectReference) -> ObjectReference;
}
