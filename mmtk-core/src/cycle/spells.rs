//! What the background thread does, told to listeners: steps and units that follow each other are one spell
//! of work (`events/held_up.rs`).
//!
//! Callers: the background thread, without a lock.

use crate::events::{BackgroundWork, Event, Listeners, Spell, WorkedBeside};
use std::sync::Arc;
use std::time::Instant;

/// Where it is told.
pub(crate) struct Spells {
    listeners: Arc<Listeners>,
    heap_created: Instant,
}

impl Spells {
    /// To these listeners of a heap that was made then.
    pub fn new(listeners: Arc<Listeners>, heap_created: Instant) -> Spells {
        Spells { listeners, heap_created }
    }

    /// The time, if somebody listens.
    pub fn clock(&self) -> Option<Instant> {
        (!self.listeners.is_empty()).then(Instant::now)
    }

    /// The thread has worked since then.
    pub fn more(&self, spell: &mut Spell, work: BackgroundWork, since: Option<Instant>) {
        if let Some(since) = since {
            let at_ns = |instant: Instant| (instant - self.heap_created).as_nanos() as u64;
            self.tell(spell.more(work, at_ns(since), at_ns(Instant::now())));
        }
    }

    /// A spell has ended.
    pub fn tell(&self, ended: Option<WorkedBeside>) {
        if let Some(worked) = ended {
            self.listeners.tell_later([Event::WorkedBeside(worked)]);
        }
    }
}
