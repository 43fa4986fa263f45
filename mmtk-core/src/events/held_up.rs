//! How long the collector held a mutator up, and what worked beside mutators: what happens between pauses.
//!
//! A pause is not all that a program waits for. A mutator also marks for what it allocates, sweeps because it
//! finds no memory, and reads a large array before it stores into it. The sum of what comes at once is what
//! its user feels, and what two collectors can be compared by: pauses alone flatter the one that moves work
//! out of them.
//!
//! I1. Only slow paths take the time, and only while somebody listens.
//! I2. The hold-ups of one thread do not overlap, and are told in order.
//! Callers: mutators, of themselves; the background thread.

/// One mutator was held up once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldUp {
    /// The system's number of the thread, as debuggers and `ps -T` show it.
    pub thread: u32,
    /// When it began, in ns since heap creation.
    pub start_ns: u64,
    /// Until the thread went on with its program. No less than the parts below add up to.
    pub duration_ns: u64,
    /// Of it, in pauses: from when the thread stopped, or asked for the pause, until it ran again.
    pub pause_ns: u64,
    /// Of it, marking for what it allocates.
    pub assist_ns: u64,
    /// Of it, sweeping because it found no memory.
    pub sweep_ns: u64,
    /// Of it, waiting for memory that other threads were about to sweep.
    pub wait_ns: u64,
    /// Of it, in calls of the barrier that read a large object.
    pub barrier_ns: u64,
}

impl HeldUp {
    /// When the thread went on, in ns since heap creation.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.duration_ns)
    }
}

/// What may hold a mutator up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldBy {
    Pause,
    Assist,
    Sweep,
    Wait,
    Barrier,
}

/// What holds one mutator up now. Its owner notes it.
#[derive(Debug, Default)]
pub(crate) struct HeldUps {
    /// The one that has not ended.
    current: Option<HeldUp>,
    /// What comes now belongs to one hold-up.
    joined: bool,
}

impl HeldUps {
    /// The thread was held up from `start_ns` to `end_ns`. Returns the hold-up if it has ended with that.
    pub fn note(&mut self, thread: u32, by: HeldBy, start_ns: u64, end_ns: u64) -> Option<HeldUp> {
        let held = self.current.get_or_insert(HeldUp { thread, start_ns, ..HeldUp::default() });
        held.duration_ns = end_ns.saturating_sub(held.start_ns);
        let part = match by {
            HeldBy::Pause => &mut held.pause_ns,
            HeldBy::Assist => &mut held.assist_ns,
            HeldBy::Sweep => &mut held.sweep_ns,
            HeldBy::Wait => &mut held.wait_ns,
            HeldBy::Barrier => &mut held.barrier_ns,
        };
        *part += end_ns.saturating_sub(start_ns);
        if self.joined { None } else { self.current.take() }
    }

    /// What is noted until `part` is one hold-up.
    pub fn join(&mut self) {
        self.joined = true;
    }

    /// Ends what `join` began. Returns the hold-up, if there was any.
    pub fn part(&mut self) -> Option<HeldUp> {
        self.joined = false;
        self.current.take()
    }
}

/// What the heap's background thread did in one go, beside mutators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkedBeside {
    /// What it did.
    pub work: BackgroundWork,
    /// When it began, in ns since heap creation.
    pub start_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// The steps that it took of a marking, or the units that it swept.
    pub steps: u64,
}

impl WorkedBeside {
    /// When it ended, in ns since heap creation.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.duration_ns)
    }
}

/// What a background thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackgroundWork {
    /// It marks.
    Mark,
    /// It sweeps.
    Sweep,
}

impl BackgroundWork {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mark => "mark",
            Self::Sweep => "sweep",
        }
    }
}

/// What a background thread does now, as one piece for each kind of work.
#[derive(Debug, Default)]
pub(crate) struct Spell(Option<WorkedBeside>);

impl Spell {
    /// It did more. Returns what ended with that: work of another kind.
    pub fn more(&mut self, work: BackgroundWork, start_ns: u64, end_ns: u64) -> Option<WorkedBeside> {
        if let Some(spell) = self.0.as_mut().filter(|spell| spell.work == work) {
            spell.duration_ns = end_ns.saturating_sub(spell.start_ns);
            spell.steps += 1;
            return None;
        }
        let duration_ns = end_ns.saturating_sub(start_ns);
        self.0.replace(WorkedBeside { work, start_ns, duration_ns, steps: 1 })
    }

    /// It waits now. Returns what ended with that.
    pub fn end(&mut self) -> Option<WorkedBeside> {
        self.0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_thread_up_in_one_go_is_one_hold_up_from_the_first_to_the_last() {
        let mut held = HeldUps::default();
        let alone = held.note(7, HeldBy::Pause, 10, 15).unwrap();
        assert_eq!(alone, HeldUp { thread: 7, start_ns: 10, duration_ns: 5, pause_ns: 5, ..HeldUp::default() });
        held.join();
        assert_eq!(held.part(), None, "nothing held it up");
        held.join();
        for (by, start_ns, end_ns) in [(HeldBy::Assist, 20, 30), (HeldBy::Sweep, 32, 33), (HeldBy::Sweep, 33, 35)] {
            assert_eq!(held.note(7, by, start_ns, end_ns), None);
        }
        let joined = held.part().unwrap();
        assert_eq!((joined.start_ns, joined.duration_ns, joined.end_ns()), (20, 15, 35));
        assert_eq!((joined.assist_ns, joined.sweep_ns, joined.pause_ns), (10, 3, 0));
        assert!(held.note(7, HeldBy::Wait, 40, 41).is_some_and(|next| next.wait_ns == 1 && next.sweep_ns == 0));
    }

    #[test]
    fn a_spell_ends_with_other_work_and_when_the_thread_waits() {
        let mut spell = Spell::default();
        assert_eq!(spell.end(), None);
        assert_eq!(spell.more(BackgroundWork::Sweep, 10, 12), None);
        assert_eq!(spell.more(BackgroundWork::Sweep, 13, 15), None);
        let swept = WorkedBeside { work: BackgroundWork::Sweep, start_ns: 10, duration_ns: 5, steps: 2 };
        assert_eq!(spell.more(BackgroundWork::Mark, 16, 19), Some(swept));
        let marked = WorkedBeside { work: BackgroundWork::Mark, start_ns: 16, duration_ns: 3, steps: 1 };
        assert_eq!((spell.end(), spell.end()), (Some(marked), None));
    }
}
