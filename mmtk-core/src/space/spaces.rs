//! The spaces of a plan, as it names them.

use super::{Pools, Regions, Space};
use crate::address::{Address, ObjectReference};
use crate::memory::{EXTENTS, Extent};

/// The spaces of a plan: for limits, reports and the verifier; and those of them whose objects the VM frees.
#[derive(Copy, Clone)]
pub struct Spaces<'a> {
    all: [Option<(Extent, &'a dyn Space)>; EXTENTS],
    /// The space for regions, if there is one.
    pub regions: Option<&'a dyn Regions>,
    /// The space for pools, if there is one.
    pub pools: Option<&'a dyn Pools>,
}

impl<'a> Spaces<'a> {
    /// These spaces, in the order in which reports name them; none for regions or pools.
    ///
    /// # Panics
    /// If there are more than [`EXTENTS`].
    pub fn new(spaces: impl IntoIterator<Item = &'a dyn Space>) -> Spaces<'a> {
        let mut all = [None; EXTENTS];
        let mut places = all.iter_mut();
        for space in spaces {
            *places.next().expect("a plan has at most as many spaces as there are extents") =
                Some((space.extent(), space));
        }
        Spaces { all, regions: None, pools: None }
    }

    /// The same, of which these are for regions and for pools.
    pub fn with(self, regions: &'a dyn Regions, pools: &'a dyn Pools) -> Spaces<'a> {
        Spaces { regions: Some(regions), pools: Some(pools), ..self }
    }

    /// Each space.
    pub fn iter(&self) -> impl Iterator<Item = &'a dyn Space> + use<'a> {
        self.all.into_iter().flatten().map(|(_, space)| space)
    }

    /// The space that an object is in.
    pub fn of(&self, object: ObjectReference) -> Option<&'a dyn Space> {
        self.all.iter().flatten().find(|(extent, _)| extent.holds(object)).map(|(_, space)| *space)
    }

    /// The object that lies at an address, which may be anything: see [`Space::find_object`].
    pub fn find_object(&self, address: Address) -> Option<ObjectReference> {
        let (_, space) = self.all.iter().flatten().find(|(extent, _)| extent.contains(address))?;
        space.find_object(address)
    }
}
