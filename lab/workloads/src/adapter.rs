//! The adapter of our own heap: a thread of the reference binding, or of one with its objects, as a mutator.
//!
//! Each method calls the handle's method of the same name, inlined, so a workload costs what the binding
//! costs. A handle is used on the thread that attached, while it is attached (`heap`, I2); that is the
//! contract of [`ThreadHandle`].

use reference::{SameObjects, ThreadHandle};

use crate::heap::{Mutator, Ref};

impl<VM: SameObjects> Mutator for ThreadHandle<VM> {
    #[inline(always)]
    fn alloc(self, nrefs: usize, nbytes: usize) -> Ref {
        ThreadHandle::alloc(&self, nrefs, nbytes)
    }
    #[inline(always)]
    fn read_ref(self, object: Ref, i: usize) -> Ref {
        ThreadHandle::read_ref(&self, object, i)
    }
    #[inline(always)]
    fn write_ref(self, object: Ref, i: usize, value: Ref) {
        ThreadHandle::write_ref(&self, object, i, value);
    }
    #[inline(always)]
    fn read_word(self, object: Ref, w: usize) -> u64 {
        ThreadHandle::read_word(&self, object, w)
    }
    #[inline(always)]
    fn write_word(self, object: Ref, w: usize, value: u64) {
        ThreadHandle::write_word(&self, object, w, value);
    }
    #[inline(always)]
    fn poll(self) {
        ThreadHandle::poll(&self);
    }
    #[inline(always)]
    fn push(self, value: Ref) -> usize {
        ThreadHandle::push(&self, value)
    }
    #[inline(always)]
    fn get(self, index: usize) -> Ref {
        ThreadHandle::get(&self, index)
    }
    #[inline(always)]
    fn set(self, index: usize, value: Ref) {
        ThreadHandle::set(&self, index, value);
    }
    #[inline(always)]
    fn peek(self, depth: usize) -> Ref {
        ThreadHandle::peek(&self, depth)
    }
    #[inline(always)]
    fn pop(self, n: usize) {
        ThreadHandle::pop(&self, n);
    }
}
