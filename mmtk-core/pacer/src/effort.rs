//! L1: how hard to work while marking runs beside mutators, decided each tick.
//!
//! The rest of the marking has to be done before the rest of the room is allocated: with `q = W_rem / room *
//! a`, that takes the share `q / (q + s)` of the machine. Workers follow it slowly, so that noise does not
//! move them, and not at all within a dead band around the plan. Mutators help only when the workers are at
//! their maximum: no mutator has to help while a worker is free.
//!
//! The error contracts as work and room go to zero together: a first-order tracker, nothing is integrated.

use super::config::{MIB, PacerConfig};
use super::sample::{Effort, Tick};

/// Shares closer than this to the plan are the plan.
const DEAD_BAND: f64 = 0.02;
/// The most by which the share changes in a tick.
const RISE: f64 = 0.05;
const FALL: f64 = 0.0125;
/// Weight of the newest rate.
const NEWEST: f64 = 0.3;
/// Less work or room than this is not divided by.
const LEAST_WORK: f64 = 64.0 * 1024.0;
const LEAST_ROOM: f64 = 0.02;

/// What is known before marking begins.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Marking {
    /// Bytes expected to be traced.
    pub work: f64,
    /// Bytes reserved when it began.
    pub trigger: f64,
    /// Bytes reserved when the cycle before ended.
    pub retained: f64,
    /// The planned share.
    pub share: f64,
    /// Mutators run on for so long after marking is done, in ns: the handshake that ends it.
    pub handshake_ns: f64,
}

/// The share of the machine that marking takes.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Share {
    marking: Marking,
    now: f64,
    allocation_rate: Option<f64>,
    scan_rate: Option<f64>,
}

impl Share {
    /// Marking begins.
    pub fn new(marking: Marking) -> Share {
        Share { marking, now: marking.share, allocation_rate: None, scan_rate: None }
    }

    /// What the plan said.
    pub fn planned(&self) -> f64 {
        self.marking.share
    }

    /// The effort until the next tick, to end by the goal. The tick is a sane one.
    pub fn tick(&mut self, config: &PacerConfig, tick: &Tick, goal: f64) -> Effort {
        let a = super::estimate::follow(&mut self.allocation_rate, tick.allocation_rate, NEWEST);
        let s = super::estimate::follow(&mut self.scan_rate, tick.scan_rate, NEWEST);
        let Marking { trigger, retained, share: planned, .. } = self.marking;
        let mut work = self.marking.work.max(1.0);
        if tick.marked > 0.95 * work {
            // More than expected, but no more than there was.
            work = work.max((1.15 * tick.marked + MIB).min(trigger));
        }
        let left = (work - tick.marked).max(LEAST_WORK);
        let ending = a * (1.0 - self.now) * config.cores * self.marking.handshake_ns;
        let room = (goal - tick.reserved - ending).max(LEAST_ROOM * (goal - retained).max(1.0));
        let q = left / room * a;
        let needed = q / (q + s);
        let wanted = if (needed - planned).abs() < DEAD_BAND { planned } else { needed };
        let wanted = wanted.clamp(config.gc_share_min, config.gc_share_max);
        // The bounds again: they may have changed since the last tick.
        self.now = (self.now + (wanted - self.now).clamp(-FALL, RISE)).clamp(config.gc_share_min, config.gc_share_max);
        let assist = (needed - config.gc_share_max).clamp(0.0, config.assist_cap);
        Effort { workers: self.now, assist }
    }
}

/// Whole workers for a share: one more when the share asks for a quarter of it, one less when one and a half
/// are idle. Below four processors a worker is too coarse: it runs a part of each tick.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Crew {
    workers: f64,
}

/// Processors below which workers are not counted in whole ones.
const FEW_CORES: f64 = 4.0;

impl Crew {
    /// For the share that is planned.
    pub fn new(config: &PacerConfig, planned: f64) -> Crew {
        let workers = planned * config.cores;
        Crew { workers: if config.cores < FEW_CORES { workers } else { libm::ceil(workers - 1e-9).max(1.0) } }
    }

    /// Workers for this share of the machine; a fraction of one is the part of the tick that it runs.
    pub fn for_share(&mut self, config: &PacerConfig, share: f64) -> f64 {
        let wanted = share * config.cores;
        if config.cores < FEW_CORES {
            self.workers = wanted;
        } else if wanted > self.workers + 0.25 {
            self.workers = libm::ceil(wanted - 0.25);
        } else if wanted < self.workers - 1.5 {
            self.workers = libm::ceil(wanted).max(1.0);
        }
        self.workers = self.workers.min((config.gc_share_max * config.cores).max(1.0_f64.min(config.cores)));
        self.workers
    }
}
