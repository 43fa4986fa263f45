//! `Trace` for the types of std, and for those of other crates that the features name.

use crate::{Finalize, Trace, Tracer, empty_trace};
use std::any::TypeId;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::num::*;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::*;
use std::time::{Instant, SystemTime};

/// One of the three walks. Unlike the closures of `custom_trace!`, a walk is generic, so parts are reached
/// without a `dyn` call.
trait Walk {
    fn part<T: Trace + ?Sized>(&mut self, part: &T);
}

struct Report<'a>(&'a mut Tracer);
struct NonRoots;
struct RunFinalizers;

impl Walk for Report<'_> {
    #[inline(always)]
    fn part<T: Trace + ?Sized>(&mut self, part: &T) {
        // SAFETY: made in `trace`, whose caller is the collector.
        unsafe { part.trace(self.0) }
    }
}

impl Walk for NonRoots {
    #[inline(always)]
    fn part<T: Trace + ?Sized>(&mut self, part: &T) {
        // SAFETY: made in `trace_non_roots`, whose caller is the collector.
        unsafe { part.trace_non_roots() }
    }
}

impl Walk for RunFinalizers {
    #[inline(always)]
    fn part<T: Trace + ?Sized>(&mut self, part: &T) {
        part.run_finalizer();
    }
}

/// The three methods from one expression over the parts.
macro_rules! walks {
    ($this:ident, $walk:ident, $parts:expr) => {
        #[inline]
        unsafe fn trace(&self, tracer: &mut Tracer) {
            let ($this, $walk) = (self, &mut Report(tracer));
            $parts
        }
        #[inline]
        unsafe fn trace_non_roots(&self) {
            let ($this, $walk) = (self, &mut NonRoots);
            $parts
        }
        #[inline]
        fn run_finalizer(&self) {
            Finalize::finalize(self);
            let ($this, $walk) = (self, &mut RunFinalizers);
            $parts
        }
    };
}

macro_rules! no_handles {
    ($($(#[$meta:meta])* $type:ty),* $(,)?) => {$(
        $(#[$meta])*
        impl Finalize for $type {}
        $(#[$meta])*
        // SAFETY: a type without handles.
        unsafe impl Trace for $type {
            empty_trace!();
        }
    )*};
}

no_handles! {
    (), bool, char, f32, f64, i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize,
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroIsize,
    NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU128, NonZeroUsize,
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize,
    AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize,
    str, String, Rc<str>, Path, PathBuf, TypeId, Instant, SystemTime,
    #[cfg(not(target_family = "wasm"))] std::fs::File,
    #[cfg(not(target_family = "wasm"))] std::fs::FileType,
    #[cfg(not(target_family = "wasm"))] std::net::TcpStream,
    #[cfg(not(target_family = "wasm"))] std::net::UdpSocket,
    #[cfg(feature = "boa_string")] boa_string::JsString,
    #[cfg(feature = "icu")] icu_locale_core::LanguageIdentifier,
    #[cfg(feature = "icu")] icu_locale_core::Locale,
}

impl<T: ?Sized> Finalize for &'static T {}
// SAFETY: what lives for ever has handles that are roots, so they need not be reported.
unsafe impl<T: ?Sized> Trace for &'static T {
    empty_trace!();
}

impl<T> Finalize for PhantomData<T> {}
// SAFETY: holds nothing.
unsafe impl<T> Trace for PhantomData<T> {
    empty_trace!();
}

macro_rules! functions {
    (@ $type:ty; $($arg:ident)*) => {
        impl<R, $($arg),*> Finalize for $type {}
        // SAFETY: a function pointer holds no handle.
        unsafe impl<R, $($arg),*> Trace for $type {
            empty_trace!();
        }
    };
    (... $($arg:ident)+) => {
        functions!(@ extern "C" fn($($arg),*, ...) -> R; $($arg)*);
        functions!(@ unsafe extern "C" fn($($arg),*, ...) -> R; $($arg)*);
    };
    ($($arg:ident)*) => {
        functions!(@ fn($($arg),*) -> R; $($arg)*);
        functions!(@ unsafe fn($($arg),*) -> R; $($arg)*);
        functions!(@ extern "C" fn($($arg),*) -> R; $($arg)*);
        functions!(@ unsafe extern "C" fn($($arg),*) -> R; $($arg)*);
    };
}

macro_rules! tuple {
    ($($part:ident)+) => {
        impl<$($part: Trace),+> Finalize for ($($part,)+) {}
        // SAFETY: walks each part once.
        unsafe impl<$($part: Trace),+> Trace for ($($part,)+) {
            walks!(this, walk, {
                #[allow(non_snake_case)]
                let ($($part,)+) = this;
                $(walk.part($part);)+
            });
        }
    };
}

/// Functions and tuples of up to so many parts.
macro_rules! up_to {
    () => { functions!(); };
    ($first:ident $($rest:ident)*) => {
        functions!($first $($rest)*);
        functions!(... $first $($rest)*);
        tuple!($first $($rest)*);
        up_to!($($rest)*);
    };
}

up_to!(A B C D E F G H I J K L);

/// Types that are walked by iterating.
macro_rules! iterated {
    ($($(#[$meta:meta])* [$($params:tt)*] $type:ty: $part:pat => $($each:ident)+;)*) => {$(
        $(#[$meta])*
        impl<$($params)*> Finalize for $type {}
        $(#[$meta])*
        // SAFETY: walks each element once.
        unsafe impl<$($params)*> Trace for $type {
            walks!(this, walk, for $part in this.iter() { $(walk.part($each);)+ });
        }
    )*};
}

iterated! {
    [T: Trace, const N: usize] [T; N]: x => x;
    [T: Trace] Box<[T]>: x => x;
    [T: Trace] Vec<T>: x => x;
    [T: Trace] VecDeque<T>: x => x;
    [T: Trace] LinkedList<T>: x => x;
    [T: Trace + Ord] BinaryHeap<T>: x => x;
    [T: Trace] BTreeSet<T>: x => x;
    [K: Trace, V: Trace] BTreeMap<K, V>: (k, v) => k v;
    [T: Trace + Eq + Hash, S: BuildHasher] HashSet<T, S>: x => x;
    [K: Trace + Eq + Hash, V: Trace, S: BuildHasher] HashMap<K, V, S>: (k, v) => k v;
    [K: Trace + Eq + Hash, V: Trace, S: BuildHasher] hashbrown::HashMap<K, V, S>: (k, v) => k v;
    #[cfg(feature = "thin-vec")] [T: Trace] thin_vec::ThinVec<T>: x => x;
    #[cfg(feature = "arrayvec")] [T: Trace, const N: usize] arrayvec::ArrayVec<T, N>: x => x;
    [T: Trace] Option<T>: x => x;
}

impl<T: Trace + ?Sized> Finalize for Box<T> {}
// SAFETY: walks the value once.
unsafe impl<T: Trace + ?Sized> Trace for Box<T> {
    walks!(this, walk, walk.part(&**this));
}

impl<T: Trace, E: Trace> Finalize for Result<T, E> {}
// SAFETY: walks the value once.
unsafe impl<T: Trace, E: Trace> Trace for Result<T, E> {
    walks!(
        this,
        walk,
        match this {
            Ok(value) => walk.part(value),
            Err(error) => walk.part(error),
        }
    );
}

#[cfg(feature = "either")]
impl<L: Trace, R: Trace> Finalize for either::Either<L, R> {}
#[cfg(feature = "either")]
// SAFETY: walks the value once.
unsafe impl<L: Trace, R: Trace> Trace for either::Either<L, R> {
    walks!(
        this,
        walk,
        match this {
            either::Either::Left(left) => walk.part(left),
            either::Either::Right(right) => walk.part(right),
        }
    );
}

impl<T: ToOwned + Trace + ?Sized> Finalize for Cow<'static, T> {}
// SAFETY: walks an owned value once; a borrowed one lives for ever.
unsafe impl<T: ToOwned + Trace + ?Sized> Trace for Cow<'static, T>
where
    T::Owned: Trace,
{
    walks!(
        this,
        walk,
        if let Cow::Owned(value) = this {
            walk.part(value);
        }
    );
}

impl<T: Trace> Finalize for OnceCell<T> {}
// SAFETY: walks the value once.
unsafe impl<T: Trace> Trace for OnceCell<T> {
    walks!(
        this,
        walk,
        if let Some(value) = this.get() {
            walk.part(value);
        }
    );
}

impl<T: Trace + Default> Finalize for Cell<T> {}
// SAFETY: walks the value once. It is out of the cell meanwhile, so a finalizer cannot change it under the
// walk.
unsafe impl<T: Trace + Default> Trace for Cell<T> {
    walks!(this, walk, {
        let value = this.take();
        walk.part(&value);
        this.set(value);
    });
}
