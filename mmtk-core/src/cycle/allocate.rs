//! The slow path of allocation: it collects until there is room.

use super::collector::Collector;
use super::ended::CollectionEnded;
use super::late::Late;
use crate::address::Address;
use crate::alloc::{Allocators, ThreadPart};
use crate::binding::VMBinding;
use crate::callback::Callback;
use crate::error::{MayBeOutOfMemory, OutOfMemory, Tried};
use crate::events::{Cause, CollectionKind, Event};
use crate::memory::{BLOCK_BYTES, Budget};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Collections that a request has caused: one ordinary, then ever harder ones as long as they free anything.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
struct Attempts(usize);

impl Attempts {
    /// The request is refused. As many as 20, since emergency collections compact step by step.
    const OVER: Attempts = Attempts(20);

    /// Why the next collection comes.
    fn cause(self) -> Cause {
        if self == Attempts::default() { Cause::HeapFull } else { Cause::Emergency }
    }

    /// The count after a collection that did not help.
    fn after(self, ended: &CollectionEnded) -> Attempts {
        match ended.kind {
            // Nothing was allocated since, so the next is a full one.
            CollectionKind::Minor => self,
            // What died since the marking began is still there.
            CollectionKind::Full if ended.marking.is_some() => self,
            CollectionKind::Full if self.0 >= 2 && ended.bytes.freed() < BLOCK_BYTES => Attempts::OVER,
            CollectionKind::Full => Attempts(self.0 + 1),
        }
    }
}

impl<VM: VMBinding> Collector<VM> {
    /// The slow path of allocation: `attempt`, and the collections it takes. The attempt may be made in a
    /// pause that this thread leads.
    pub(crate) fn allocate(
        self: &Arc<Self>,
        me: &ThreadPart<VM>,
        bytes: usize,
        attempt: impl FnMut(&mut Allocators) -> Option<Address>,
    ) -> Result<Address, OutOfMemory> {
        self.in_one_go(me, || self.attempt_and_collect(me, bytes, attempt))
    }

    fn attempt_and_collect(
        self: &Arc<Self>,
        me: &ThreadPart<VM>,
        bytes: usize,
        mut attempt: impl FnMut(&mut Allocators) -> Option<Address>,
    ) -> Result<Address, OutOfMemory> {
        // SAFETY: the caller is the owner of the mutator and runs; the borrow is not used across a pause.
        let allocators = || unsafe { ThreadPart::allocators_of_stopped(me) };
        self.may_yield();
        self.refuse_in("an allocation", Callback::ANY);
        if me.thread().should_stop() {
            me.where_it_may_stop(|| self.safepoint.park(me.thread(), &mut Late::of_mutator(self, me)));
            self.answer(me);
            self.safepoint.take_look(me.thread());
        }
        let allocated = self.flush_allocated(allocators());
        let limit = self.memory().budget().limit();
        // What can never fit is refused before anything is collected for it.
        if bytes <= limit {
            self.collect_if_due(me, allocated, bytes);
        }
        // A plan is safe code, and can return any address.
        let checked = |address: Address| {
            assert!(
                self.memory().holds(address, bytes),
                "plan {} was asked for {bytes} bytes and gave {address}, which is no memory of this heap",
                self.plan_name()
            );
            address
        };
        let mut attempts = if bytes <= limit { Attempts::default() } else { Attempts::OVER };
        while attempts != Attempts::OVER {
            let swept = self.sweeping.is_over();
            if let Some(address) = attempt(allocators()) {
                return Ok(checked(address));
            }
            if !swept {
                self.sweep_some(Some(me));
                continue;
            }
            if !self.plan.can_collect() {
                break;
            }
            // The leader allocates before the others resume: else they could take all that was freed, and it
            // would report a full heap that is not. A thread that only took part in a pause knows nothing
            // about the room it left, and tries again.
            let seen = self.pauses.ended();
            let led = me.where_it_may_stop(|| {
                self.collect_unless_done(Some(me), attempts.cause(), Some(seen), |ended| {
                    loop {
                        let swept = self.sweeping.is_over();
                        match attempt(allocators()) {
                            Some(address) => return Ok(address),
                            None if swept => return Err(attempts.after(ended)),
                            None => _ = self.sweep_some(Some(me)),
                        }
                    }
                })
            });
            match led {
                Some(Ok(address)) => return Ok(checked(address)),
                Some(Err(next)) => attempts = next,
                None => (),
            }
        }
        let tried = match (bytes <= limit, self.plan.can_collect()) {
            (false, _) => Tried::TooLarge,
            (true, false) => Tried::PlanNeverCollects,
            (true, true) => Tried::Collections,
        };
        Err(self.out_of_memory(bytes, tried))
    }

    /// Calls `request`, and as long as it is out of memory the collections that an allocation would take in
    /// between. It is called while mutators run: code of the VM, which may use the heap.
    pub(crate) fn or_collect<R, E: MayBeOutOfMemory>(
        self: &Arc<Self>,
        me: &ThreadPart<VM>,
        mut request: impl FnMut() -> Result<R, E>,
    ) -> Result<R, E> {
        let mut attempts = if self.plan.can_collect() { Attempts::default() } else { Attempts::OVER };
        loop {
            let (seen, swept) = (self.pauses.ended(), self.sweeping.is_over());
            let mut error = match request() {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let Some(out_of_memory) = error.out_of_memory() else { return Err(error) };
            if !swept {
                self.sweep_some(Some(me));
                continue;
            }
            if attempts == Attempts::OVER {
                if self.plan.can_collect() {
                    *out_of_memory = self.out_of_memory(out_of_memory.requested, Tried::Collections);
                }
                return Err(error);
            }
            let led = me.where_it_may_stop(|| {
                self.collect_unless_done(Some(me), attempts.cause(), Some(seen), |ended| attempts.after(ended))
            });
            // If it led none, another thread collected. The last attempt has what the last collection freed.
            attempts = led.unwrap_or(attempts);
        }
    }

    /// The slow path of a poll.
    pub(crate) fn stop_or_look(self: &Arc<Self>, me: &ThreadPart<VM>) {
        self.in_one_go(me, || {
            me.where_it_may_stop(|| self.safepoint.park(me.thread(), &mut Late::of_mutator(self, me)));
            self.answer(me);
            if self.safepoint.take_look(me.thread()) {
                self.collect_if_due(me, 0, 0);
            }
        });
    }

    /// Collects if that is due before `bytes` bytes are allocated; where the heap is marked beside mutators,
    /// begins that, and helps with what is in progress. The mutator has allocated `allocated` bytes since it
    /// was last here.
    fn collect_if_due(self: &Arc<Self>, me: &ThreadPart<VM>, allocated: usize, bytes: usize) {
        // A minor collection may leave enough for a full one to be due after all.
        let mut collections = 0;
        while collections < 2 && self.plan.can_collect() {
            if self.marking.is_in_progress() {
                return self.assist(me, allocated, bytes);
            }
            // Threads that cross the goal together want one collection, not one each.
            let (seen, swept) = (self.pauses.ended(), self.sweeping.is_over());
            let Some(cause) = self.pacing.due(self.memory().budget().reserved(), bytes) else { break };
            if !swept && cause == Cause::Growth {
                self.sweep_some(Some(me));
                continue;
            }
            collections += 1;
            me.where_it_may_stop(|| match self.marks_beside {
                true => self.begin_marking(Some(me), cause, seen),
                false => _ = self.collect_unless_done(Some(me), cause, Some(seen), |_| ()),
            });
        }
    }

    /// The VM's memory outside the heap grew or shrank, or the goal has. If a collection is due now, mutators
    /// are told: else they would go on in the memory that they have at hand, beside which any amount may be
    /// reported.
    pub(crate) fn tell_if_due(&self) {
        if self.plan.can_collect() && self.pacing.is_full(self.reserved_when_swept()) {
            // SAFETY: of the registry, so it is attached while its lock is held.
            self.safepoint.ask_to_look(|mutator| unsafe { &*mutator.0 }.hold_if_own());
        }
    }

    /// Bytes reserved, without what is known to be dead.
    fn reserved_when_swept(&self) -> usize {
        self.memory().budget().reserved().saturating_sub(self.sweeping.bytes())
    }

    /// Calls `request`, which says by how many bytes a table cannot grow, and whose caller cannot stop for a
    /// collection; as long as it fails, what the last collection has left is swept. Any thread.
    pub(crate) fn or_sweep<R>(
        &self,
        me: Option<&ThreadPart<VM>>,
        mut request: impl FnMut() -> Result<R, usize>,
    ) -> Result<R, OutOfMemory> {
        // Hardly ever does a table grow, and hardly ever in vain.
        request().or_else(|_| {
            loop {
                let swept = self.sweeping.is_over();
                match request() {
                    Ok(result) => return Ok(result),
                    Err(bytes) if swept => return Err(self.no_memory_for_tables(bytes)),
                    Err(_) => _ = self.sweep_some(me),
                }
            }
        })
    }

    /// A table cannot grow by this many bytes, and its caller cannot stop for a collection.
    fn no_memory_for_tables(&self, bytes: usize) -> OutOfMemory {
        let tried = if self.plan.can_collect() { Tried::MayNotCollect } else { Tried::PlanNeverCollects };
        self.out_of_memory(bytes, tried)
    }

    /// There is no room for `requested` bytes: tells the listeners, unless a collection may help.
    fn out_of_memory(&self, requested: usize, tried: Tried) -> OutOfMemory {
        let budget: &Budget = self.memory().budget();
        let (reserved, limit) = (budget.reserved(), budget.limit());
        if tried != Tried::MayNotCollect {
            self.tell(&Event::OutOfMemory { requested_bytes: requested, reserved_bytes: reserved, limit_bytes: limit });
        }
        OutOfMemory { requested, reserved, limit, tried, report: self.report() }
    }

    /// Where a stress option lets other threads in between. In slow paths alone.
    #[inline(always)]
    pub(super) fn may_yield(&self) {
        if self.options.stress_yield {
            self.yield_at_random();
        }
    }

    /// Lets other threads in between, about every fourth time. The sequence depends on the seed alone; which
    /// thread draws which number is up to the system.
    #[cold]
    fn yield_at_random(&self) {
        // SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): any thread can draw the next number with one
        // addition.
        let mut bits = self.yield_seed.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (bits ^ bits >> 31).is_multiple_of(4) {
            std::thread::yield_now();
        }
    }
}
