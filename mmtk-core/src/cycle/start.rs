//! How a heap's engine is made, and which bindings, plans and options are refused before that.

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
use crate::needs::{Need, Needs};
use crate::options::{Options, PlanFacts, Warnings};
use crate::patience::Patience;
use crate::pause::{Moving, PhaseCell, VmSpace};
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
        let vm = Arc::new(vm);
        let memory = Memory::new(&options)?;
        let states = ObjectStates::new(&memory)?;
        let plan = plan(&PlanContext::new(&vm, &memory, &options, states.clone()))?;
        let needs = plan.info().needs;
        let unsuitable = |need| HeapError::Unsuitable { plan: plan.info().name, need, suits: Vec::new() };
        if let Some(need) = needs.unmet::<VM>() {
            return Err(unsuitable(need));
        }
        let ages = plan.info().ages();
        for space in plan.spaces().iter() {
            let (name, of_space) = (space.name(), space.ages());
            assert!(
                of_space == ages,
                "{}: its space {name:?} was made with Ages::{of_space:?}, and its info() says Ages::{ages:?} (needs.old_to_new): \
                 make each space with PlanInfo::ages",
                plan.info().name
            );
        }
        let pacing = Pacing::new(&options, memory.budget().limit());
        let allocated = Arc::new(Allocated::default());
        let nursery = NurseryConfig {
            bytes: options.nursery_bytes,
            always: options.stress_bytes > 0,
            max_bytes: options.nursery_max_bytes,
            pause_goal_ns: options.nursery_pause_goal_us * 1000,
        };
        let moves = |space: &dyn Space| Moving { extent: space.extent(), name: space.name(), pins: space.pins() };
        let moving: Box<[_]> = plan.spaces().iter().filter(|space| space.moves()).map(moves).collect();
        // What the spaces do has the last word.
        if !moving.is_empty() && !VM::CAN_MOVE {
            return Err(unsuitable(Need::Move));
        }
        if moving.iter().any(|space| !space.pins) {
            let unmet = Needs { pins: false, ..needs }.unmet::<VM>();
            unmet.map_or(Ok(()), |need| Err(unsuitable(need)))?;
        }
        const { assert!(VM::OBJECT_STARTS || !VM::CONSERVATIVE_HEAP, "CONSERVATIVE_HEAP needs OBJECT_STARTS") };
        const { assert!(VM::OBJECT_STARTS || !VM::CONSERVATIVE_STACKS, "CONSERVATIVE_STACKS needs OBJECT_STARTS") };
        let facts = PlanFacts {
            name: plan.info().name,
            collects: plan.can_collect(),
            generational: ages.has_old(),
            may_move: VM::CAN_MOVE,
            spaces: plan.spaces().iter().map(|space| space.name()).collect(),
        };
        for sentence in options.without_effect(&facts) {
            warnings::warn_of_text(sentence);
        }
        let starts_in = plan.spaces().iter().filter(|space| space.keeps_starts()).map(|space| space.extent()).collect();
        let weak = WeakTables::new(ages.has_old(), &memory);
        let patience = Arc::new(Patience::new(options.safepoint_warn_ms));
        let nursery = ages.has_old().then(|| Nursery::new(nursery, pacing.goal()));
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
            phase: PhaseCell::default(),
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
