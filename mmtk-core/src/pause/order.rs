//! Which of the ordered finalizers are due, and in which order: an object comes before those it refers to.
//!
//! The objects that a collection found unreachable are the nodes of a graph, their references the edges. Some
//! of the objects have a finalizer that has not run: they wait.
//! 1. Strongly connected components, by Tarjan's algorithm. A component is complete when all components that
//!    it leads to are complete, so referents come first.
//! 2. In the other direction, referrers first, each component tells those that it refers to whether an object
//!    that leads there waits, and whether one of these objects has to go on waiting.
//!
//! An object that is alone in its component is in no cycle with another. If two that wait are in one
//! component, neither can come before the other: both stay, and so does what they lead to. If nothing would
//! be due for this reason, all of them are due.
//!
//! Each node and edge is looked at twice. The stack is explicit, because a chain may be as long as the heap
//! is large.
//!
//! Source: Tarjan, "Depth-first search and linear graph algorithms" (SIAM J. Comput. 1972).

use crate::memory::{Arena, List};

const NONE: u32 = u32::MAX;

/// The objects with their references.
pub(super) struct Graph<'a> {
    /// The edges of node `n` are `ends[starts[n]..starts[n + 1]]`; the last node ends with the edges.
    starts: List<'a, usize>,
    ends: List<'a, u32>,
}

impl<'a> Graph<'a> {
    /// A graph without nodes.
    pub fn new(arena: &'a Arena) -> Graph<'a> {
        Graph { starts: arena.list(), ends: arena.list() }
    }

    /// The next node; its edges follow.
    pub fn begin_node(&mut self) {
        self.starts.push(self.ends.len());
    }

    /// An edge of the newest node.
    pub fn add_edge(&mut self, to: u32) {
        self.ends.push(to);
    }

    fn edges(&self, node: u32) -> &[u32] {
        let next = self.starts.get(node as usize + 1).copied();
        &self.ends[self.starts[node as usize]..next.unwrap_or(self.ends.len())]
    }
}

/// A finalizer that waits.
#[derive(Copy, Clone, Debug)]
pub(super) struct Waiting {
    pub node: u32,
    /// Due behind all that refer to its object, if these are due now; otherwise it is due when no object that
    /// waits refers to its own.
    pub behind: bool,
}

/// The strongly connected components.
struct Components<'a> {
    /// Nodes, component by component, referents first.
    nodes: List<'a, u32>,
    /// Where each component begins in `nodes`.
    starts: List<'a, usize>,
    /// By node.
    component: List<'a, u32>,
}

impl<'a> Components<'a> {
    /// Of the nodes that the roots lead to.
    fn of(graph: &Graph<'_>, roots: impl Iterator<Item = u32>, arena: &'a Arena) -> Components<'a> {
        let nodes = graph.starts.len();
        let all = |number: u32| arena.collect(std::iter::repeat_n(number, nodes));
        let mut components = Components { nodes: arena.list(), starts: arena.list(), component: all(NONE) };
        // The number of each node in the order in which they were found, and the lowest number that is known
        // to be in its component.
        let (mut number, mut lowest, mut found) = (all(NONE), all(NONE), 0);
        // Nodes whose component is not complete; and the path to the node at hand, with the next edge of
        // each.
        let (mut open, mut path): (List<'_, u32>, List<'_, (u32, usize)>) = (arena.list(), arena.list());
        for root in roots {
            let mut next = (number[root as usize] == NONE).then_some(root);
            loop {
                if let Some(node) = next.take() {
                    (number[node as usize], lowest[node as usize]) = (found, found);
                    found += 1;
                    open.push(node);
                    path.push((node, 0));
                }
                let Some((node, edge)) = path.last_mut() else { break };
                let here = *node as usize;
                if let Some(&end) = graph.edges(*node).get(*edge) {
                    *edge += 1;
                    match number[end as usize] {
                        NONE => next = Some(end),
                        seen if components.component[end as usize] == NONE => lowest[here] = lowest[here].min(seen),
                        _ => (),
                    }
                    continue;
                }
                path.pop();
                if let Some((before, _)) = path.last() {
                    lowest[*before as usize] = lowest[*before as usize].min(lowest[here]);
                }
                if lowest[here] == number[here] {
                    components.close(&mut open, here as u32);
                }
            }
        }
        components
    }

    /// The component of this node is complete: all that were opened since.
    fn close(&mut self, open: &mut List<'_, u32>, first: u32) {
        let this = self.starts.len() as u32;
        self.starts.push(self.nodes.len());
        loop {
            let node = open.pop().expect("a node is open until its component is complete");
            self.component[node as usize] = this;
            self.nodes.push(node);
            if node == first {
                return;
            }
        }
    }

    fn nodes_of(&self, component: usize) -> &[u32] {
        let end = self.starts.get(component + 1).copied();
        &self.nodes[self.starts[component]..end.unwrap_or(self.nodes.len())]
    }
}

/// What a component has upstream.
#[derive(Copy, Clone, Default)]
struct Upstream {
    /// An object that waits.
    waits: bool,
    /// One that will wait on.
    stays: bool,
}

/// The positions in `waiting` of those that are due, in the order in which their turn comes: referrers first;
/// where that leaves a choice, most of them as they stand in `waiting`. If there are none, and `cycles` says
/// that those of cycles are due then, all.
pub(super) fn due<'a>(graph: &Graph<'_>, waiting: &[Waiting], cycles: bool, arena: &'a Arena) -> List<'a, usize> {
    // From the last to the first, as components come in reverse.
    let components = Components::of(graph, waiting.iter().rev().map(|waiting| waiting.node), arena);
    let count = components.starts.len();
    let component_of = |position: usize| components.component[waiting[position].node as usize] as usize;
    let mut in_order = arena.collect(0..waiting.len());
    // No two keys are equal.
    in_order.sort_unstable_by_key(|position| (std::cmp::Reverse(component_of(*position)), *position));
    let mut upstream = arena.collect(std::iter::repeat_n(Upstream::default(), count));
    let mut due = arena.list();
    let mut rest = &in_order[..];
    for component in (0..count).rev() {
        let here = rest.iter().take_while(|position| component_of(**position) == component).count();
        let (members, others) = rest.split_at(here);
        rest = others;
        let Upstream { waits, mut stays } = upstream[component];
        let alone = members.iter().all(|position| waiting[*position].node == waiting[members[0]].node);
        for &position in members {
            let has_turn = alone && if waiting[position].behind { !upstream[component].stays } else { !waits };
            if has_turn { due.push(position) } else { stays = true }
        }
        let told = Upstream { waits: waits || !members.is_empty(), stays };
        for end in components.nodes_of(component).iter().flat_map(|node| graph.edges(*node)) {
            let other = components.component[*end as usize] as usize;
            if other != component {
                upstream[other].waits |= told.waits;
                upstream[other].stays |= told.stays;
            }
        }
    }
    if due.is_empty() && cycles { in_order } else { due }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn graph<'a>(edges: &[Vec<u32>], arena: &'a Arena) -> Graph<'a> {
        let mut graph = Graph::new(arena);
        for ends in edges {
            graph.begin_node();
            ends.iter().for_each(|end| graph.add_edge(*end));
        }
        graph
    }

    fn due_nodes(edges: &[Vec<u32>], waiting: &[(u32, bool)]) -> Vec<u32> {
        let waiting: Vec<Waiting> = waiting.iter().map(|&(node, behind)| Waiting { node, behind }).collect();
        let arena = Arena::default();
        due(&graph(edges, &arena), &waiting, true, &arena).into_iter().map(|position| waiting[position].node).collect()
    }

    #[test]
    fn a_chain_comes_at_once_or_its_head_alone() {
        let chain = [vec![1], vec![2], vec![3], vec![]];
        assert_eq!(due_nodes(&chain, &[(2, true), (0, true), (3, true), (1, true)]), [0, 1, 2, 3]);
        assert_eq!(due_nodes(&chain, &[(2, false), (0, false), (3, false), (1, false)]), [0]);
        // What waits for a collection of its own holds up those behind it, not those before.
        assert_eq!(due_nodes(&chain, &[(0, true), (1, true), (2, false), (3, true)]), [0, 1]);
        assert_eq!(due_nodes(&chain, &[(0, false), (1, true), (3, true)]), [0, 1, 3]);
    }

    #[test]
    fn independent_objects_come_as_they_stand() {
        let apart = [vec![], vec![], vec![]];
        assert_eq!(due_nodes(&apart, &[(1, true), (2, false), (0, true)]), [1, 2, 0]);
    }

    #[test]
    fn a_cycle_waits_with_what_it_leads_to_and_goes_when_nothing_else_is_due() {
        // 0 <-> 1 -> 2, and 3 alone.
        let edges = [vec![1], vec![0, 2], vec![], vec![]];
        let arena = Arena::default();
        for behind in [true, false] {
            assert_eq!(due_nodes(&edges, &[(0, behind), (1, behind), (2, behind), (3, behind)]), [3]);
            assert_eq!(due_nodes(&edges, &[(2, behind), (0, behind), (1, behind)]), [0, 1, 2]);
            let pair = [0, 1].map(|node| Waiting { node, behind });
            assert!(due(&graph(&edges, &arena), &pair, false, &arena).is_empty(), "something else is due");
        }
    }

    #[test]
    fn a_cycle_through_one_object_that_waits_holds_nobody_up() {
        // 0 -> 1 -> 0 with 0 alone waiting, referring to itself too; 1 -> 2.
        let edges = [vec![0, 1], vec![0, 2], vec![]];
        assert_eq!(due_nodes(&edges, &[(0, true), (2, true)]), [0, 2]);
        assert_eq!(due_nodes(&edges, &[(0, false), (2, false)]), [0]);
        assert_eq!(due_nodes(&edges, &[(0, false), (0, true)]), [0, 0], "two finalizers of an object");
    }

    #[test]
    fn a_chain_as_long_as_the_heap_is_large_needs_no_deep_stack() {
        const NODES: u32 = 1 << 20;
        let edges: Vec<Vec<u32>> = (0..NODES).map(|n| if n + 1 < NODES { vec![n + 1] } else { vec![] }).collect();
        let waiting: Vec<(u32, bool)> = (0..NODES).rev().map(|n| (n, true)).collect();
        assert!(due_nodes(&edges, &waiting).into_iter().eq(0..NODES));
    }

    /// Which nodes a node leads to.
    fn reaches(edges: &[Vec<u32>]) -> Vec<Vec<bool>> {
        let nodes = edges.len();
        let mut reaches = vec![vec![false; nodes]; nodes];
        edges.iter().enumerate().for_each(|(n, ends)| ends.iter().for_each(|end| reaches[n][*end as usize] = true));
        for k in 0..nodes {
            for i in 0..nodes {
                for j in 0..nodes {
                    reaches[i][j] |= reaches[i][k] && reaches[k][j];
                }
            }
        }
        reaches
    }

    /// What is due, by the definition alone.
    fn expected(reaches: &[Vec<bool>], waiting: &[(u32, bool)]) -> Vec<bool> {
        let refers =
            |a: usize, b: usize| waiting[a].0 != waiting[b].0 && reaches[waiting[a].0 as usize][waiting[b].0 as usize];
        let mut due = vec![false; waiting.len()];
        loop {
            let before = due.clone();
            for this in 0..waiting.len() {
                due[this] = match waiting[this].1 {
                    false => (0..waiting.len()).all(|other| !refers(other, this)),
                    true => (0..waiting.len()).all(|other| !refers(other, this) || due[other]),
                };
            }
            if due == before {
                return if due.contains(&true) { due } else { vec![true; waiting.len()] };
            }
        }
    }

    proptest! {
        #[test]
        fn any_graph_has_the_order_that_the_definition_gives(
            edges in proptest::collection::vec(proptest::collection::vec(0..12u32, 0..3), 12),
            waiting in proptest::collection::vec((0..12u32, proptest::bool::ANY), 1..10),
        ) {
            let arena = Arena::default();
            let graph = graph(&edges, &arena);
            let list: Vec<Waiting> = waiting.iter().map(|&(node, behind)| Waiting { node, behind }).collect();
            let due = due(&graph, &list, true, &arena);
            let reaches = reaches(&edges);
            let expected = expected(&reaches, &waiting);
            for (position, expected) in expected.iter().enumerate() {
                prop_assert_eq!(due.iter().filter(|due| **due == position).count(), usize::from(*expected), "{}", position);
            }
            for (turn, later) in due.iter().enumerate().flat_map(|(turn, _)| due[turn..].iter().map(move |l| (turn, l))) {
                let [before, after] = [due[turn], *later].map(|position| waiting[position].0 as usize);
                prop_assert!(!reaches[after][before] || reaches[before][after], "{} refers to {}", after, before);
            }
        }
    }
}
