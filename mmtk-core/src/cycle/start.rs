//! How a heap's engine is made, and which bindings, plans and options are refused before that.

use super::attendant::Idle;
use super::background::Background;
use super::collector::Collector;
use super::helpers::Helpers;
use super::late;
use super::marking::MarkingBeside;
use super::pacing::Pacing;
use super::pauses::Pauses;
use super::spells::Spells;
use super::store::Store;
use super::sweeping::Sweeping;
use super::watch::Watch;
use crate::binding::VMBinding;
use crate::error::HeapError;
use crate::memory::Memory;
use crate::metadata::{ArrayClaims, ArrayParts, ObjectStates};
use crate::needs::{Need, Needs};
use crate::options::{Options, PlanFacts, Warnings};
use crate::plan::{Plan, PlanContext};
use crate::warnings;
use protocols::safepoint::Safepoint;
use protocols::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

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
        let parts = ArrayParts::for_barrier_of::<VM>(&memory)?;
        let plan: Arc<dyn Plan<VM>> =
            plan(&PlanContext::new(&vm, &memory, &options, states.clone(), parts.clone()))?.into();
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
        assert!(
            plan.beside().is_some() == ages.at_snapshot(),
            "{}: its info() says needs.snapshot={}, and it has {}beside()",
            plan.info().name,
            ages.at_snapshot(),
            if plan.beside().is_some() { "" } else { "no " }
        );
        let store = Store::new(memory, states, parts, &plan.spaces(), ages);
        // What the spaces do has the last word.
        if !store.moving().is_empty() && !VM::CAN_MOVE {
            return Err(unsuitable(Need::Move));
        }
        if store.moving().iter().any(|space| !space.pins) {
            let unmet = Needs { pins: false, ..needs }.unmet::<VM>();
            unmet.map_or(Ok(()), |need| Err(unsuitable(need)))?;
        }
        const { assert!(VM::OBJECT_STARTS || !VM::CONSERVATIVE_HEAP, "CONSERVATIVE_HEAP needs OBJECT_STARTS") };
        const { assert!(VM::OBJECT_STARTS || !VM::CONSERVATIVE_STACKS, "CONSERVATIVE_STACKS needs OBJECT_STARTS") };
        let facts = PlanFacts {
            name: plan.info().name,
            collects: plan.can_collect(),
            generational: ages.has_old(),
            concurrent: ages.at_snapshot(),
            may_move: VM::CAN_MOVE,
            spaces: plan.spaces().iter().map(|space| space.name()).collect(),
        };
        for sentence in options.without_effect(&facts) {
            warnings::warn_of_text(sentence);
        }
        let budget = store.memory().budget();
        let limit = match ages.at_snapshot() {
            // A marking has to end before mutators find no memory, and what is kept for copies is not theirs.
            true => budget.reserved() + budget.free_for_mutators(),
            false => budget.limit(),
        };
        let pacing = Pacing::new(&options, limit, ages);
        let claims = if ages.at_snapshot() { ArrayClaims::new(store.memory())? } else { ArrayClaims::default() };
        let marking = Arc::new(MarkingBeside::new(vm.clone(), plan.clone(), claims, store.weak().clone(), &options));
        let watch = Watch::new(&options, plan.info().name);
        let pauses = Pauses::new();
        Ok(Arc::new_cyclic(|me: &Weak<Collector<VM>>| {
            let (patience, sweeping) = (watch.patience(), Arc::new(Sweeping::new(plan.clone())));
            let idles = options.stress_no_background;
            let of_idle = sweeping.clone();
            let unswept = Box::new(move || of_idle.bytes());
            let (memory, allocated) = (store.memory().clone(), pacing.allocated().clone());
            Collector {
                background: Background::new(
                    sweeping.clone(),
                    marking.clone(),
                    me.clone(),
                    store.memory().clone(),
                    patience.clone(),
                    Spells::new(watch.listeners().clone(), pauses.heap_created()),
                    idles,
                ),
                marking,
                marks_beside: ages.at_snapshot(),
                driver: options.driver(),
                processors: Options::processors(),
                sweeping,
                idle: Idle::new(me.clone(), memory, unswept, allocated, patience.clone()),
                helpers: Helpers::new(&options, patience.clone(), late::workers_are_late(me.clone())),
                yield_seed: AtomicU64::new(options.stress_seed),
                vm,
                options,
                plan,
                store,
                safepoint: Safepoint::new(),
                remembered: Mutex::default(),
                pauses,
                pacing,
                watch,
            }
        }))
    }
}
