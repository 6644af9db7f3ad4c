//! Cycles of dependencies: in each strongly connected component, a shortest one of each kind.

use std::collections::BTreeMap;

use super::graph::{Graph, Kinds, NONE, PASS, PROCESS, Paths, REALTIME, RW, WR, WW, Why};
use super::kind::{Kind, Order, Shape};

/// How many edges of a component are tried for a shorter cycle once there is one.
const TRIED: usize = 64;

/// A dependency in a cycle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) kind: Kinds,
    pub(crate) why: Why,
}

/// Finds cycles.
pub(crate) struct Hunt<'a> {
    graph: &'a Graph,
    /// Nodes below this are transactions.
    transactions: u32,
    place: Vec<u32>,
    /// Edges that may still be visited.
    pub(crate) work: u64,
}

impl<'a> Hunt<'a> {
    pub(crate) fn new(graph: &'a Graph, transactions: u32, work: u64) -> Hunt<'a> {
        Hunt { graph, transactions, place: vec![NONE; graph.nodes()], work }
    }

    /// The cycles of a component, one of each kind that was found.
    pub(crate) fn component(&mut self, nodes: &[u32]) -> BTreeMap<Kind, Vec<Step>> {
        let part = self.graph.part(nodes, &mut self.place);
        let mut of = Component {
            transactions: self.transactions,
            nodes,
            paths: Paths::new(part.nodes()),
            part,
            found: BTreeMap::new(),
            work: self.work,
        };
        let kinds = (0..of.part.nodes() as u32)
            .flat_map(|node| of.part.edges(node))
            .fold(0, |kinds, edge| kinds | of.part.kind(edge));
        let orders = [
            (Order::Plain, 0, true),
            (Order::Process, PROCESS, kinds & PROCESS != 0),
            (Order::Realtime, PROCESS | REALTIME, kinds & REALTIME != 0),
        ];
        for (order, extra, present) in orders {
            if present {
                of.any(order, Shape::G0, WW | extra, WW);
                of.any(order, Shape::G1cWr, WR | extra, WR);
                of.any(order, Shape::G1c, WW | WR | extra, WR);
                of.single(order, WW | WR | extra);
                of.any(order, Shape::G2Item, WW | WR | RW | extra, RW);
            }
        }
        self.work = of.work;
        of.found
    }
}

struct Component<'a> {
    transactions: u32,
    /// Their numbers in the whole graph.
    nodes: &'a [u32],
    part: Graph,
    paths: Paths,
    found: BTreeMap<Kind, Vec<Step>>,
    work: u64,
}

impl Component<'_> {
    fn has(&self, shape: Shape, up_to: Order) -> bool {
        let mut orders = [Order::Plain, Order::Process, Order::Realtime].into_iter();
        orders.any(|order| order <= up_to && self.found.contains_key(&Kind::Cycle(shape, order)))
    }

    fn anchors(&self, kind: Kinds) -> Vec<(u32, u32)> {
        let nodes = 0..self.part.nodes() as u32;
        let edges = nodes.flat_map(|node| self.part.edges(node).map(move |edge| (node, edge)));
        edges.filter(|(_, edge)| self.part.kind(*edge) == kind).collect()
    }

    /// Finds cycles of these kinds of edges with at least one of kind `anchor`.
    fn any(&mut self, order: Order, shape: Shape, kinds: Kinds, anchor: Kinds) {
        if self.has(shape, order) {
            return;
        }
        let numbers = self.part.numbered(kinds);
        let mut tried: BTreeMap<u32, usize> = BTreeMap::new();
        for (from, edge) in self.anchors(anchor) {
            let (to, number) = (self.part.target(edge), numbers[from as usize]);
            if numbers[to as usize] != number {
                continue;
            }
            let tried = tried.entry(number).or_insert(0);
            *tried += 1;
            if *tried <= TRIED {
                self.close(from, edge, kinds, |node| numbers[node as usize] == number);
            }
        }
    }

    /// Finds cycles of these kinds of edges and exactly one rw.
    fn single(&mut self, order: Order, kinds: Kinds) {
        if self.has(Shape::GSingle, order) {
            return;
        }
        let numbers = self.part.numbered(kinds);
        let mut closed = 0;
        for (from, edge) in self.anchors(RW) {
            let (to, number) = (self.part.target(edge), numbers[from as usize]);
            // Only a node with at least this number can lead back.
            if closed < TRIED && numbers[to as usize] >= number {
                let through = |node: u32| numbers[node as usize] >= number;
                closed += usize::from(self.close(from, edge, kinds, through));
            }
        }
    }

    /// Completes an edge to a cycle, and keeps it if it is the shortest of its kind.
    fn close(&mut self, from: u32, edge: u32, kinds: Kinds, through: impl Fn(u32) -> bool) -> bool {
        let ends = (self.part.target(edge), from);
        let way = self.paths.shortest(&self.part, ends, kinds, through, &mut self.work);
        let Some(way) = way else { return false };
        let cycle = self.steps(from, edge, &way);
        let Some(kind) = classify(&cycle) else { return false };
        let known = self.found.get(&kind).map_or(usize::MAX, Vec::len);
        if cycle.len() < known {
            self.found.insert(kind, cycle);
        }
        true
    }

    /// Edges from transaction to transaction; those through gathering nodes are merged.
    fn steps(&self, from: u32, edge: u32, way: &[u32]) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut from = self.nodes[from as usize];
        for edge in std::iter::once(edge).chain(way.iter().copied()) {
            let to = self.nodes[self.part.target(edge) as usize];
            let (kind, why) = (self.part.kind(edge), self.part.why(edge));
            match steps.last_mut() {
                Some(last) if kind == PASS => last.to = to,
                Some(_) | None => steps.push(Step { from, to, kind, why }),
            }
            if to < self.transactions {
                from = to;
            }
        }
        steps
    }
}

fn classify(cycle: &[Step]) -> Option<Kind> {
    let count = |kind: Kinds| cycle.iter().filter(|step| step.kind == kind).count();
    let shape = match (count(RW), count(WR), count(WW)) {
        (0, 0, 0) => return None,
        (0, 0, _) => Shape::G0,
        (0, _, 0) => Shape::G1cWr,
        (0, _, _) => Shape::G1c,
        (1, _, _) => Shape::GSingle,
        (_, _, _) => Shape::G2Item,
    };
    let order = match (count(REALTIME), count(PROCESS)) {
        (0, 0) => Order::Plain,
        (0, _) => Order::Process,
        (_, _) => Order::Realtime,
    };
    Some(Kind::Cycle(shape, order))
}
