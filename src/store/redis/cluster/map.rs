//! Where each slot is, as most of those who were asked say.

use std::sync::Arc;

use super::super::link::Link;
use super::super::node::Node;
use super::slots::SLOTS;

/// Which node has which slot.
pub(super) struct Map {
    /// By slot, the place among `nodes`; [`NOBODY`] if none has it.
    pub(super) owners: Vec<u16>,
    pub(super) nodes: Vec<(Node, Arc<Link>)>,
}

const NOBODY: u16 = u16::MAX;

impl Map {
    pub(super) fn empty() -> Self {
        Self { owners: vec![NOBODY; SLOTS], nodes: Vec::new() }
    }

    pub(super) fn owner(&self, slot: usize) -> Option<(usize, &(Node, Arc<Link>))> {
        let place = usize::from(*self.owners.get(slot)?);
        Some((place, self.nodes.get(place)?))
    }

    /// How many slots have no node that can be reached.
    pub(super) fn unserved(&self) -> usize {
        let up: Vec<_> = self.nodes.iter().map(|(_, link)| link.is_up()).collect();
        self.owners.iter().filter(|place| !up.get(usize::from(**place)).copied().unwrap_or(false)).count()
    }
}
