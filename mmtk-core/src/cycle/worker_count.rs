//! How many workers a pause may use: as many as made the last pauses shorter for what they cost.
//!
//! More workers are not always faster. The processors may be busy with other programs, or may be hyperthreads
//! of one core; and workers that meet at the same objects wait for each other. So the heap measures, and goes
//! by that.
//!
//! 1. The levels are numbers of workers: the most that the heap may use, half of that, and so on down to one.
//!    A heap begins at the top.
//! 2. Every so often a pause runs one level lower, or one level higher: a trial. Its cost is compared with
//!    the usual cost at the present level, both for each object traced.
//! 3. Of two levels the higher one is better if it saves enough stopped time for the processor time that it
//!    adds. The better one becomes the level. While nothing changes trials become rare, since a trial may be
//!    a longer pause.
//!
//! Pauses that traced little do not count, nor do those whose helpers were never woken. This is pure
//! arithmetic. Minor and full collections have a level each, since they differ in what they trace.
//! Callers: the leader of a pause.

use super::ended::{CollectionEnded, Work};

/// Objects that a pause must trace to say anything: a good multiple of those after which helpers are woken.
const OBJECTS_MIN: usize = 1 << 15;
/// Pauses of a trial.
const TRIAL_PAUSES: u32 = 1;
/// Pauses before the first trial, and after each change.
const FIRST_INTERVAL: u32 = 16;
/// The most pauses between two trials.
const LAST_INTERVAL: u32 = 192;
/// How much the last pause counts in the usual cost.
const NEWEST: f64 = 0.25;
/// Processor time that a unit of stopped time is worth.
const WORTH: f64 = 2.0;
/// More workers must save this part of the stopped time at least.
const SAVED_MIN: f64 = 0.05;

/// Nanoseconds for each object traced.
#[derive(Copy, Clone, Debug, Default)]
struct Cost {
    stopped: f64,
    cpu: f64,
}

impl Cost {
    fn of(ended: &CollectionEnded) -> Cost {
        let objects = ended.work.objects as f64;
        Cost { stopped: ended.times.stopped() as f64 / objects, cpu: ended.work.gc_cpu as f64 / objects }
    }

    /// `weight` of the other one, and the rest of this one.
    fn mixed(self, other: Cost, weight: f64) -> Cost {
        let mix = |a: f64, b: f64| a + (b - a) * weight;
        Cost { stopped: mix(self.stopped, other.stopped), cpu: mix(self.cpu, other.cpu) }
    }

    /// Whether this cost, of more workers, is better than that of fewer.
    fn pays_over(self, fewer: Cost) -> bool {
        let saved = fewer.stopped - self.stopped;
        saved > SAVED_MIN * fewer.stopped && saved * WORTH > self.cpu - fewer.cpu
    }
}

#[derive(Copy, Clone, Debug)]
struct Trial {
    level: usize,
    pauses: u32,
    cost: Cost,
}

/// The choice for one kind of collection.
#[derive(Clone, Debug)]
pub struct WorkerCount {
    /// Numbers of workers, ascending from one.
    levels: Vec<usize>,
    level: usize,
    /// At this level; none before the first pause.
    usual: Option<Cost>,
    trial: Option<Trial>,
    /// Pauses until the next trial.
    remaining: u32,
    interval: u32,
    /// Whether the next trial is of a higher level, where there is one.
    up: bool,
}

impl WorkerCount {
    /// For a gang of `most` workers.
    pub fn new(most: usize) -> WorkerCount {
        let mut levels: Vec<usize> =
            std::iter::successors(Some(most), |n| Some(n / 2)).take_while(|n| *n > 0).collect();
        levels.reverse();
        let level = levels.len() - 1;
        let (remaining, interval) = (FIRST_INTERVAL, FIRST_INTERVAL);
        WorkerCount { levels, level, usual: None, trial: None, remaining, interval, up: false }
    }

    /// The workers of the next pause.
    pub fn next(&self) -> usize {
        self.levels[self.trial.map_or(self.level, |trial| trial.level)]
    }

    /// A collection ended that might use [`WorkerCount::next`] workers.
    pub fn ended(&mut self, ended: &CollectionEnded) {
        let Work { objects, helped, .. } = ended.work;
        if self.levels.len() == 1 || objects < OBJECTS_MIN || (self.next() > 1 && !helped) {
            return;
        }
        let cost = Cost::of(ended);
        match self.trial {
            None => {
                self.usual = Some(self.usual.map_or(cost, |usual| usual.mixed(cost, NEWEST)));
                self.remaining -= 1;
                if self.remaining == 0 {
                    self.begin_trial();
                }
            }
            Some(Trial { level, pauses, cost: before }) => {
                let pauses = pauses + 1;
                let cost = before.mixed(cost, 1.0 / f64::from(pauses));
                self.trial = Some(Trial { level, pauses, cost });
                if pauses == TRIAL_PAUSES {
                    self.end_trial(level, cost);
                }
            }
        }
    }

    fn begin_trial(&mut self) {
        let top = self.levels.len() - 1;
        let up = self.level < top && (self.up || self.level == 0);
        self.up = !up;
        let level = if up { self.level + 1 } else { self.level - 1 };
        self.trial = Some(Trial { level, pauses: 0, cost: Cost::default() });
    }

    fn end_trial(&mut self, level: usize, cost: Cost) {
        self.trial = None;
        let usual = self.usual.unwrap_or(cost);
        let better = if level > self.level { cost.pays_over(usual) } else { !usual.pays_over(cost) };
        if better {
            (self.level, self.usual, self.interval) = (level, Some(cost), FIRST_INTERVAL);
        } else {
            self.interval = (self.interval * 2).min(LAST_INTERVAL);
        }
        self.remaining = self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::super::ended::Times;
    use super::*;
    use crate::events::CollectionKind;

    /// A collection that took this.
    fn ended(objects: usize, stopped_ns: u64, gc_cpu: u64, helped: bool) -> CollectionEnded {
        let ended = CollectionEnded::for_test(CollectionKind::Full);
        // To stop mutators took some time too.
        let times = Times { to_safepoint: 5_000_000, pause: stopped_ns + 5_000_000, ..ended.times };
        CollectionEnded { times, work: Work { objects, gc_cpu, helped, ..ended.work }, ..ended }
    }

    /// A machine: stopped time and processor time of a pause of one million objects, in ms, by number of
    /// workers.
    type Machine = fn(usize) -> (f64, f64);

    /// Runs this many pauses; how many used each number of workers.
    fn run(count: &mut WorkerCount, machine: Machine, pauses: usize) -> [usize; 9] {
        let mut used = [0; 9];
        for n in 0..pauses {
            let workers = count.next();
            used[workers] += 1;
            // A tenth more or less, as on a machine that does other things.
            let noise = 0.9 + 0.2 * (n * 7 % 11) as f64 / 10.0;
            let (stopped, cpu) = machine(workers);
            let ns = |ms: f64| (ms * noise * 1e6) as u64;
            count.ended(&ended(1_000_000, ns(stopped), ns(cpu), workers > 1));
        }
        used
    }

    fn scales(workers: usize) -> (f64, f64) {
        (10.0 / workers as f64, 10.0)
    }

    fn gains_nothing(workers: usize) -> (f64, f64) {
        (10.0, 10.0 * workers as f64)
    }

    #[test]
    fn where_each_worker_gains_all_are_used_and_trials_are_rare() {
        let mut count = WorkerCount::new(2);
        let used = run(&mut count, scales, 1000);
        assert!(used[1] <= 20 && count.next() == 2, "{used:?}");
    }

    #[test]
    fn where_a_second_worker_gains_nothing_there_is_one_and_trials_are_rare() {
        let mut count = WorkerCount::new(2);
        let used = run(&mut count, gains_nothing, 1000);
        assert!(used[2] <= 30 && count.next() == 1, "{used:?}");
    }

    #[test]
    fn a_little_stopped_time_for_much_processor_time_is_no_gain() {
        let mut count = WorkerCount::new(2);
        let used = run(&mut count, |workers| if workers == 2 { (8.5, 16.4) } else { (10.0, 10.0) }, 300);
        assert!(used[1] > 250, "{used:?}");
        // But a third less for a third more is.
        let used = run(&mut count, |workers| if workers == 2 { (6.8, 13.3) } else { (10.0, 10.0) }, 1000);
        assert!(used[2] > 700, "{used:?}");
    }

    #[test]
    fn of_eight_workers_as_many_are_used_as_gain() {
        let mut count = WorkerCount::new(8);
        let four_processors = |workers: usize| {
            let (stopped, _) = scales(workers.min(4));
            (stopped, stopped * workers as f64)
        };
        let used = run(&mut count, four_processors, 1000);
        assert!(used[4] > 900, "{used:?}");
    }

    #[test]
    fn when_the_processors_come_free_again_workers_come_back() {
        let mut count = WorkerCount::new(8);
        run(&mut count, gains_nothing, 1000);
        assert_eq!(count.next(), 1);
        let used = run(&mut count, scales, 1000);
        assert!(used[8] > 700 && count.next() == 8, "{used:?}");
    }

    #[test]
    fn pauses_that_say_nothing_change_nothing() {
        let mut count = WorkerCount::new(4);
        for _ in 0..1000 {
            count.ended(&ended(100, 1000, 4000, true));
            count.ended(&ended(1_000_000, 1000, 1000, false));
        }
        assert_eq!(count.next(), 4);
        assert_eq!(WorkerCount::new(6).levels, [1, 3, 6]);
    }
}
