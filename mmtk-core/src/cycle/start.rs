//! How a heap's engine is made, and what is refused before.

use super::attendant::{Allocated, Idle};
use super::collector::Collector;
use super::late;
use super::pacing::Pacing;
use super::worker_count::WorkerCount;
use crate::binding::VMBinding;
use crate::error::HeapError;
use crate::events::Listeners;
use crate::memory::Memory;
use crate::metadata::ObjectStates;
use crate::options::{Options, PlanFacts, Warnings};
use crate::patience::Patience;
use crate::pause::Cycle;
use crate::pause::Moving;
use crate::pause::VmSpace;
use crate::plan::{Plan, PlanContext};
use crate::space::Space;
use crate::warnings;
use crate::weak::WeakTables;
use crate::workers::Gang;
use pacer::nursery::{Nursery, NurseryConfig};
use protocols::safepoint::Safepoint;
use protocols::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Weak};
use std::time::Instant;

impl<VM: VMBinding> Collector<VM> {
    /// The engine of a heap whose plan is made by `plan`.
    pub fn new(
        vm: VM,
        options: Options,
        plan: impl FnOnce(&PlanContext<'_, VM>) -> Result<Box<dyn Plan<VM>>, HeapError>,
    ) -> Result<Arc<Collector<VM>>, HeapError> {
        options.validate()?;
        if options.warnings == Warnings::Never {
            warnings::silence();
        }
        let memory = Memory::new(&options)?;
        let states = ObjectStates::new(&memory)?;
        let plan = plan(&PlanContext { memory: &memory, options: &options, states })?;
        let states = if plan.is_generational() { states.generational() } else { states };
        let pacing = Pacing::new(&options, memory.budget().limit());
        let allocated = Arc::new(Allocated::default());
        let nursery = NurseryConfig {
            bytes: options.nursery_bytes,
            always: options.stress_bytes > 0,
            max_bytes: options.nursery_max_bytes,
            pause_goal_ns: options.nursery_pause_goal_us * 1000,
        };
        let moves = |space: &dyn Space| Moving { extent: space.extent(), name: space.name(), pins: space.pins() };
        let moving: Box<[_]> = plan.spaces().into_iter().filter(|space| space.moves()).map(moves).collect();
        let why = match (VM::PINS_ROOTS, VM::CONSERVATIVE_STACKS) {
            (_, true) => {
                Some("scans stacks conservatively (CONSERVATIVE_STACKS), and what they may refer to must stay")
            }
            (true, _) => Some("has roots whose targets must stay (PINS_ROOTS)"),
            (false, false) => None,
        };
        if let (Some(why), Some(space)) = (why, moving.iter().find(|space| !space.pins)) {
            return Err(HeapError::Plan(format!(
                "{} moves every object of its {} space; this binding {why}: choose a plan that evacuates around pinned objects, or \
                 moves none",
                plan.name(),
                space.name
            )));
        }
        if VM::CONSERVATIVE_HEAP && !plan.scans_conservatively() {
            return Err(HeapError::Plan(format!(
                "{} cannot find objects by their addresses while it traces; this binding scans its heap conservatively \
                 (CONSERVATIVE_HEAP): choose a plan that marks in place, such as MarkSweep",
                plan.name()
            )));
        }
        const { assert!(VM::OBJECT_STARTS || !VM::CONSERVATIVE_HEAP, "CONSERVATIVE_HEAP needs OBJECT_STARTS") };
        const { assert!(VM::OBJECT_STARTS || !VM::CONSERVATIVE_STACKS, "CONSERVATIVE_STACKS needs OBJECT_STARTS") };
        let facts = PlanFacts {
            name: plan.name(),
            collects: plan.can_collect(),
            generational: plan.is_generational(),
            may_move: VM::CAN_MOVE,
            spaces: plan.spaces().iter().map(|space| space.name()).collect(),
        };
        for sentence in options.without_effect(&facts) {
            warnings::warn_of_text(sentence);
        }
        let starts_in =
            plan.spaces().into_iter().filter(|space| space.keeps_starts()).map(|space| space.extent()).collect();
        let weak = WeakTables::new(plan.is_generational(), &memory);
        let patience = Arc::new(Patience::new(options.safepoint_warn_ms));
        let nursery = plan.is_generational().then(|| Nursery::new(nursery, pacing.goal()));
        Ok(Arc::new_cyclic(|me: &Weak<Collector<VM>>| Collector {
            vm,
            idle: Idle::new(me.clone(), memory.clone(), allocated.clone(), patience.clone()),
            leader_id: AtomicU32::new(0),
            reported_pause: AtomicU64::new(0),
            gang: Gang::new(options.gc_workers, "gc").reporting(patience.clone(), late::workers_are_late(me.clone())),
            worker_counts: [(); 2].map(|()| Mutex::new(WorkerCount::new(options.gc_workers))),
            solo: Gang::new(1, "gc"),
            yield_seed: AtomicU64::new(options.stress_seed),
            patience,
            options,
            moving,
            starts_in,
            plan,
            memory,
            states,
            safepoint: Safepoint::new(),
            cycle: Cycle::default(),
            pacing,
            listeners: Listeners::new(),
            created: Instant::now(),
            pauses: AtomicU64::new(0),
            fulls: AtomicU64::new(0),
            allocated,
            weak,
            vm_space: VmSpace::default(),
            leftovers: Arc::default(),
            remembered: Mutex::default(),
            nursery_bytes: AtomicUsize::new(nursery.as_ref().map_or(usize::MAX, Nursery::trigger_bytes)),
            nursery: nursery.map(Mutex::new),
            gc_cpu_ns: AtomicU64::new(0),
            live_bytes: Default::default(),
            history: Mutex::default(),
        }))
    }
}
