//! Weak references: what a binding that keeps its own can ask and do between marking and sweeping.
//!
//! The binding's `process_weak` is called when everything strongly reachable is known. It asks which objects are live,
//! clears what refers to dead ones, and may keep objects alive; each `keep_alive` traces what that object reaches,
//! so ephemerons are resolved by calling it until nothing changes.

use crate::address::ObjectReference;

/// The live objects of the pause in progress.
pub trait WeakProcessor {
    /// Where the object is now, if it is live; none if it is dead.
    fn live(&self, object: ObjectReference) -> Option<ObjectReference>;
    /// Makes the object and all it refers to live; returns its place.
    fn keep_alive(&mut self, object: ObjectReference) -> ObjectReference;
    /// In a minor collection: an old object, which counts as live, is dead. The binding knows it by other means, and follows no
    /// reference to it any more. Spaces that can do so free its memory now, the others in the next full collection; until then it
    /// keeps its size. In a full collection the trace has told, and this does nothing.
    fn release(&mut self, object: ObjectReference);
}
