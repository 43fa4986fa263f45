//! The spaces in which collections free nothing: immortal objects, regions, pools. Every plan has them.
//!
//! Immortal objects are a region that is never released. Allocation there is rare (classes, symbols), so one
//! lock serves all threads.

use super::pool::{PoolSnapshot, PoolSpace, PoolTracer};
use super::region::{RegionSnapshot, RegionSpace, RegionTracer};
use mmtk_core::alloc::Allocators;
use mmtk_core::metadata::{Ages, Moves};
use mmtk_core::pause::Pause;
use mmtk_core::space::{RegionMemory, Regions as _, Space, Spaces};
use mmtk_core::{Address, HeapError, PlanContext, VMBinding};
use protocols::sync::Mutex;

/// Immortal objects, regions, pools.
pub struct UncollectedSpaces<VM> {
    immortal: RegionSpace<VM>,
    immortal_objects: Mutex<RegionMemory>,
    /// Released as a whole by the VM.
    pub regions: RegionSpace<VM>,
    /// Freed one by one by the VM.
    pub pools: PoolSpace<VM>,
}

impl<VM: VMBinding> UncollectedSpaces<VM> {
    /// Three empty spaces.
    pub fn new(context: &PlanContext<'_, VM>, ages: Ages) -> Result<Self, HeapError> {
        Self::build(context, ages, false)
    }

    /// The same for a plan that calls [`UncollectedSpaces::update_references`].
    pub fn revisited(context: &PlanContext<'_, VM>, ages: Ages) -> Result<Self, HeapError> {
        Self::build(context, ages, true)
    }

    fn build(context: &PlanContext<'_, VM>, ages: Ages, revisited: bool) -> Result<Self, HeapError> {
        let immortal = RegionSpace::new(context, "immortal", ages, revisited)?;
        Ok(UncollectedSpaces {
            immortal_objects: Mutex::new(immortal.open()),
            immortal,
            regions: RegionSpace::new(context, "regions", ages, revisited)?,
            pools: PoolSpace::new(context, ages)?,
        })
    }

    /// The plan's own spaces, and these.
    pub fn spaces_with<'a>(&'a self, own: &[&'a dyn Space]) -> Spaces<'a> {
        self.spaces_behind(own.iter().copied())
    }

    pub(super) fn spaces_behind<'a>(&'a self, others: impl Iterator<Item = &'a dyn Space>) -> Spaces<'a> {
        let these: [&dyn Space; 3] = [&self.immortal, &self.regions, &self.pools];
        Spaces::new(others.chain(these)).with(&self.regions, &self.pools)
    }

    /// An immortal object, of any size.
    pub fn allocate_immortal(&self, allocators: &mut Allocators, bytes: usize) -> Option<Address> {
        let mut objects = self.immortal_objects.lock();
        self.immortal.allocate(&mut objects, bytes, allocators.pace, &mut allocators.allocated)
    }

    /// Begins an epoch. In a full collection.
    pub fn prepare(&self) {
        self.immortal.prepare();
        self.regions.prepare();
        self.pools.prepare();
    }

    /// A marking beside mutators begins. In a pause.
    pub fn begin_snapshot(&self) {
        self.immortal.begin_snapshot();
        self.regions.begin_snapshot();
        self.pools.begin_snapshot();
    }

    /// The policy of the marking in progress.
    pub fn snapshot(&self) -> UncollectedSnapshot<'_, VM> {
        (self.immortal.snapshot(), (self.regions.snapshot(), self.pools.snapshot()))
    }

    /// The policy for this pause's trace.
    pub fn tracer(&self) -> UncollectedTracer<'_, VM> {
        (self.immortal.tracer(), (self.regions.tracer(), self.pools.tracer()))
    }

    /// Updates the slots of the objects that were marked. Between trace and sweep, in a full collection, in
    /// spaces that are revisited.
    pub fn update_references(&self, pause: &mut Pause<'_, VM>, moves: &Moves<'_, VM>) {
        self.immortal.update_references(pause, moves);
        self.regions.update_references(pause, moves);
        self.pools.update_references(pause, moves);
    }

    /// Frees what the VM gave up.
    pub fn sweep(&self, pause: &mut Pause<'_, VM>) {
        self.immortal.sweep(pause);
        self.regions.sweep(pause);
        self.pools.sweep(pause);
    }
}

/// Marks objects that are not collected.
pub type UncollectedTracer<'a, VM> = (RegionTracer<'a, VM>, (RegionTracer<'a, VM>, PoolTracer<'a, VM>));

/// Claims objects that are not collected.
pub type UncollectedSnapshot<'a, VM> = (RegionSnapshot<'a, VM>, (RegionSnapshot<'a, VM>, PoolSnapshot<'a, VM>));
