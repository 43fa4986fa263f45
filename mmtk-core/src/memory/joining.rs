//! Small pages joined to huge ones, once the program has run long enough for that to pay.
//!
//! A heap that is used at random misses in the processor's translation caches: huge pages can save a tenth of
//! a program's time, or nothing. Asking for them at first touch makes small heaps resident by 2 MiB at a
//! time, and costs several milliseconds each where the host of a virtual machine took free memory back. At
//! the start it is not known how long the program will run. This is the ski-rental problem (Karlin, Manasse,
//! Rudolph and Sleator, "Competitive Snoopy Caching", Algorithmica 1988): the heap joins pages bit by bit,
//! and spends on it no more than a small part of the processor time that the program has used.
//!
//! I1. A region is joined only while all its pages are resident, so the heap does not grow. The joining
//!     thread holds `giving_back`, as does a thread that gives memory back.
//! I2. `giving_back` is taken before `regions`; nothing else is taken with either.
//! Callers: threads that commit or give back memory; the timer (`cycle/attendant.rs`), which joins; a thread
//! that forks, which ends the joining, since joining would double the memory that both processes share.

use super::ordered_map::OrderedMap;
use crate::address::Address;
use crate::os::{self, HUGE_PAGE_BYTES, Mapping};
use protocols::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The part of the program's processor time that may be spent: a program that gains nothing loses no more.
const SHARE: f64 = 1.0 / 32.0;
/// What joining a region is taken to cost before one was, in ns.
const FIRST_COST_NS: u64 = 1_000_000;
/// Looks in vain make the wait until the next longer by this power of two at most.
const MOST_DOUBLINGS: u32 = 6;

/// The memory of one heap as regions of a huge page each.
pub(super) struct Joining {
    /// False for good where it cannot be done, or shall not.
    enabled: AtomicBool,
    /// Spent so far, and what the next region will cost, in ns.
    spent_ns: AtomicU64,
    cost_ns: AtomicU64,
    /// The program time before which the timer does not look, and how many looks in a row have found nothing.
    not_before_ns: AtomicU64,
    in_vain: AtomicU32,
    regions: Mutex<Regions>,
    giving_back: Mutex<()>,
}

#[derive(Default)]
struct Regions {
    /// Whether each was joined, by the address at which it begins.
    joined: OrderedMap<Address, bool>,
    /// Where the search for the next begins.
    next: Address,
    small: usize,
}

impl Regions {
    /// The next one to look at, after all others.
    fn next_small(&mut self) -> Option<Address> {
        let (behind, all) = (self.joined.iter_above(self.next), self.joined.iter());
        let next = behind.chain(all).find_map(|(start, joined)| (!joined).then_some(start))?;
        self.next = next;
        Some(next)
    }

    fn joined_bytes(&self) -> usize {
        (self.joined.len() - self.small) * HUGE_PAGE_BYTES
    }

    fn set(&mut self, region: Address, joined: bool) {
        if let Some(before) = self.joined.get_mut(region)
            && std::mem::replace(before, joined) != joined
        {
            self.small = if joined { self.small - 1 } else { self.small + 1 };
        }
    }
}

impl Joining {
    pub fn new(enabled: bool) -> Joining {
        Joining {
            enabled: AtomicBool::new(enabled && os::huge_pages_allowed()),
            spent_ns: AtomicU64::new(0),
            cost_ns: AtomicU64::new(FIRST_COST_NS),
            not_before_ns: AtomicU64::new(0),
            in_vain: AtomicU32::new(0),
            regions: Mutex::default(),
            giving_back: Mutex::default(),
        }
    }

    /// The range became usable, in small pages.
    pub fn committed(&self, at: Address, bytes: usize) {
        if !self.enabled.load(Relaxed) {
            return;
        }
        let mut regions = self.regions.lock();
        let mut region = at.align_up(HUGE_PAGE_BYTES);
        while region.plus(HUGE_PAGE_BYTES) <= at.plus(bytes) {
            if regions.joined.insert(region, false).is_none() {
                regions.small += 1;
            }
            region = region.plus(HUGE_PAGE_BYTES);
        }
    }

    /// Gives memory back by `give`: nothing is joined meanwhile, and what huge pages the range touches are
    /// small again.
    pub fn giving_back<R>(&self, at: Address, bytes: usize, give: impl FnOnce() -> R) -> R {
        let _held = self.giving_back.lock();
        let given = give();
        let mut regions = self.regions.lock();
        let mut region = at.align_down(HUGE_PAGE_BYTES);
        while region < at.plus(bytes) {
            regions.set(region, false);
            region = region.plus(HUGE_PAGE_BYTES);
        }
        given
    }

    /// Joins nothing any more.
    pub fn end(&self) {
        self.enabled.store(false, Relaxed);
    }

    /// Whether there are small pages to join.
    pub fn has_small(&self) -> bool {
        self.enabled.load(Relaxed) && self.regions.lock().small > 0
    }

    /// Bytes that lie in joined pages.
    pub fn joined_bytes(&self) -> usize {
        self.regions.lock().joined_bytes()
    }

    /// Whether a program that has used `program_ns` of processor time has earned the next region.
    pub fn affordable(&self, program_ns: u64) -> bool {
        let needed_ns = self.spent_ns.load(Relaxed) + self.cost_ns.load(Relaxed);
        program_ns >= self.not_before_ns.load(Relaxed) && needed_ns <= (SHARE * program_ns as f64) as u64
    }

    /// There was nothing to be had: not again before the next would have been earned, and each time that is
    /// in vain, twice as late.
    fn wait(&self, program_ns: u64) {
        let in_vain = self.in_vain.load(Relaxed);
        let wait_ns = (self.cost_ns.load(Relaxed) as f64 / SHARE) as u64;
        self.not_before_ns.store(program_ns + (wait_ns << in_vain), Relaxed);
        self.in_vain.store((in_vain + 1).min(MOST_DOUBLINGS), Relaxed);
    }

    /// Joins the next region that is resident as a whole, if a program that has used `program_ns` of
    /// processor time has earned it; returns whether it did. Only one thread at a time calls this.
    pub fn join_one(&self, reservation: &Mapping, program_ns: u64) -> bool {
        let looks = if self.enabled.load(Relaxed) { self.regions.lock().small } else { 0 };
        for _ in 0..looks {
            if !self.affordable(program_ns) {
                return false;
            }
            let Some(region) = self.regions.lock().next_small() else { return false };
            let began = os::thread_cpu_ns();
            let giving_back = self.giving_back.lock();
            let result = reservation.is_resident(region).and_then(|resident| match resident {
                true => reservation.join_pages(region).map(|()| true),
                false => Ok(false),
            });
            if let Ok(true) = result {
                self.regions.lock().set(region, true);
            }
            drop(giving_back);
            let cost = os::thread_cpu_ns() - began;
            self.spent_ns.fetch_add(cost, Relaxed);
            match result {
                Ok(false) => (),
                Ok(true) => {
                    self.in_vain.store(0, Relaxed);
                    self.cost_ns.store(self.cost_ns.load(Relaxed).midpoint(cost), Relaxed);
                    return true;
                }
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    log::info!("the system does not join pages to huge ones: {error}");
                    self.enabled.store(false, Relaxed);
                    return false;
                }
                // The system has no huge page left, or something holds the small ones just now.
                Err(_) => break,
            }
        }
        self.wait(program_ns);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;

    /// Four regions, of which the first, the second and half of the third are resident, and one that can join
    /// them.
    fn regions() -> (Mapping, Joining) {
        let mapping = Mapping::reserve(4 * HUGE_PAGE_BYTES, HUGE_PAGE_BYTES).unwrap();
        mapping.commit(mapping.start(), mapping.bytes(), None).unwrap();
        for at in (0..5 * HUGE_PAGE_BYTES / 2).step_by(os::PAGE_BYTES) {
            // SAFETY: committed above, used by this test alone.
            unsafe { mapping.start().plus(at).store(at) };
        }
        let joining = Joining::new(true);
        joining.committed(mapping.start(), mapping.bytes());
        (mapping, joining)
    }

    fn joined(joining: &Joining, mapping: &Mapping) -> Vec<usize> {
        let regions = joining.regions.lock();
        let joined = regions.joined.iter().filter(|(_, joined)| **joined);
        joined.map(|(region, _)| region.bytes_from(mapping.start()) / HUGE_PAGE_BYTES).collect()
    }

    /// Whether this system joins pages at all; where it does not, everything stays as it was.
    fn can_join(joining: &Joining) -> bool {
        joining.enabled.load(Relaxed)
    }

    /// Joins all it can, with all the time it may want: the system may refuse now and then.
    fn join_all(joining: &Joining, mapping: &Mapping) {
        for hour in 1..100 {
            joining.join_one(mapping, joining.not_before_ns.load(Relaxed) + hour * HOUR_NS);
        }
    }

    #[test]
    fn regions_are_joined_that_are_resident_as_a_whole_and_hold_what_they_held() {
        let (mapping, joining) = regions();
        join_all(&joining, &mapping);
        let expected: &[usize] = if can_join(&joining) { &[0, 1] } else { &[] };
        assert_eq!(joined(&joining, &mapping), expected);
        for at in (0..5 * HUGE_PAGE_BYTES / 2).step_by(os::PAGE_BYTES) {
            // SAFETY: committed, used by this test alone.
            assert_eq!(unsafe { mapping.start().plus(at).load::<usize>() }, at);
        }
        let resident = |region| mapping.is_resident(mapping.start().plus(region * HUGE_PAGE_BYTES)).unwrap();
        assert_eq!([0, 1, 2, 3].map(resident), [true, true, false, false], "nothing became resident by it");
    }

    #[test]
    fn a_program_spends_a_small_part_of_its_time_on_it() {
        let (mapping, joining) = regions();
        let enough = (FIRST_COST_NS as f64 / SHARE) as u64;
        assert!(!joining.join_one(&mapping, 0) && !joining.join_one(&mapping, enough - 1000));
        assert_eq!(joining.joined_bytes(), 0);
        join_all(&joining, &mapping);
        if !can_join(&joining) {
            return;
        }
        // What was spent has to be earned before the next is joined, and what that will cost.
        joining.regions.lock().set(mapping.start(), false);
        joining.not_before_ns.store(0, Relaxed);
        joining.spent_ns.store(100 * FIRST_COST_NS, Relaxed);
        joining.cost_ns.store(FIRST_COST_NS, Relaxed);
        assert!(!joining.join_one(&mapping, 100 * enough));
        assert!((101..200).any(|n| joining.join_one(&mapping, n * enough)));
        assert!(joining.spent_ns.load(Relaxed) > 100 * FIRST_COST_NS);
    }

    #[test]
    fn who_found_nothing_to_join_does_not_look_again_soon() {
        let (mapping, joining) = regions();
        join_all(&joining, &mapping);
        if !can_join(&joining) {
            return;
        }
        let now = joining.not_before_ns.load(Relaxed);
        assert!(now > HOUR_NS && joining.affordable(now) && !joining.affordable(now - 1));
        assert!(!joining.join_one(&mapping, now));
        let cost = (joining.cost_ns.load(Relaxed) as f64 / SHARE) as u64;
        assert_eq!(joining.not_before_ns.load(Relaxed), now + (cost << MOST_DOUBLINGS), "after many looks in vain");
        // One that is joined makes it short again.
        joining.regions.lock().set(mapping.start(), false);
        assert!((0..100).any(|_| joining.join_one(&mapping, joining.not_before_ns.load(Relaxed) + HOUR_NS)));
        let now = joining.not_before_ns.load(Relaxed) + HOUR_NS;
        assert!(!joining.join_one(&mapping, now));
        let cost = (joining.cost_ns.load(Relaxed) as f64 / SHARE) as u64;
        assert_eq!(joining.not_before_ns.load(Relaxed), now + cost);
    }

    #[test]
    fn what_was_given_back_is_joined_anew_once_it_is_resident_again() {
        let (mapping, joining) = regions();
        join_all(&joining, &mapping);
        if !can_join(&joining) {
            return;
        }
        let page = mapping.start().plus(HUGE_PAGE_BYTES + os::PAGE_BYTES);
        // SAFETY: used by this test alone, which writes to it anew.
        joining
            .giving_back(page, os::PAGE_BYTES, || unsafe { mapping.give_back(page, os::PAGE_BYTES, false).unwrap() });
        assert_eq!(joined(&joining, &mapping), [0]);
        join_all(&joining, &mapping);
        assert_eq!(joined(&joining, &mapping), [0]);
        // SAFETY: committed, used by this test alone.
        unsafe { page.store(1usize) };
        join_all(&joining, &mapping);
        assert_eq!(joined(&joining, &mapping), [0, 1]);
        // After a fork, say, it is counted still.
        joining.end();
        // SAFETY: used by this test alone.
        joining
            .giving_back(page, os::PAGE_BYTES, || unsafe { mapping.give_back(page, os::PAGE_BYTES, false).unwrap() });
        assert_eq!(joining.joined_bytes(), HUGE_PAGE_BYTES);
    }

    #[test]
    fn what_was_given_back_is_not_made_resident_by_who_joins_meanwhile() {
        let (mapping, joining) = regions();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    joining.join_one(&mapping, joining.not_before_ns.load(Relaxed) + HOUR_NS);
                    std::thread::yield_now();
                }
            });
            let page = mapping.start().plus(os::PAGE_BYTES);
            let resident_again = (0..100).any(|_| {
                // SAFETY: this thread alone uses the page.
                joining.giving_back(page, os::PAGE_BYTES, || unsafe {
                    mapping.give_back(page, os::PAGE_BYTES, false).unwrap()
                });
                let resident = (0..10).any(|_| mapping.is_resident(mapping.start()).unwrap());
                // SAFETY: committed, and this thread alone uses the page.
                unsafe { page.store(1usize) };
                std::thread::yield_now();
                resident
            });
            done.store(true, Relaxed);
            assert!(!resident_again, "a page that was given back came back unused");
        });
    }

    #[test]
    fn nothing_is_joined_that_was_not_asked_for() {
        let (mapping, _) = regions();
        let joining = Joining::new(false);
        joining.committed(mapping.start(), mapping.bytes());
        assert!(!joining.has_small() && !joining.join_one(&mapping, HOUR_NS));
        let (mapping, joining) = regions();
        joining.end();
        assert!(!joining.has_small() && !joining.join_one(&mapping, HOUR_NS));
    }
}
