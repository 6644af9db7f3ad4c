//! A directed graph with kinds of edges, its strongly connected components, and shortest paths.

use std::collections::VecDeque;

/// A set of kinds of edges.
pub(crate) type Kinds = u8;
/// The target wrote the version after the source's.
pub(crate) const WW: Kinds = 1;
/// The target read what the source wrote.
pub(crate) const WR: Kinds = 2;
/// The target wrote the version after the one that the source read.
pub(crate) const RW: Kinds = 4;
/// The process ran the target after the source.
pub(crate) const PROCESS: Kinds = 8;
/// The source ended before the target began.
pub(crate) const REALTIME: Kinds = 16;
/// From a node that is no transaction: such nodes gather the edges from all nodes before them to
/// all nodes after them. The kind of a path through them is that of the edge into the first such
/// node.
pub(crate) const PASS: Kinds = 32;

/// No node, component, or key.
pub(crate) const NONE: u32 = u32::MAX;

/// Why there is an edge: a key and a position in its order.
pub(crate) type Why = (u32, u32);

/// Edges by source.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    starts: Vec<u32>,
    targets: Vec<u32>,
    kinds: Vec<Kinds>,
    whys: Vec<Why>,
}

/// An edge while the graph is being built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) kind: Kinds,
    pub(crate) why: Why,
}

impl Graph {
    /// A graph of these edges among `nodes` nodes.
    pub(crate) fn new(nodes: usize, edges: &[Edge]) -> Graph {
        let count = u32::try_from(edges.len()).expect("fewer than 2^32 edges");
        let mut starts = vec![0u32; nodes + 2];
        for edge in edges {
            starts[edge.from as usize + 2] += 1;
        }
        for node in 2..starts.len() {
            starts[node] += starts[node - 1];
        }
        let mut graph = Graph {
            starts,
            targets: vec![0; count as usize],
            kinds: vec![0; count as usize],
            whys: vec![(0, 0); count as usize],
        };
        for edge in edges {
            let at = graph.starts[edge.from as usize + 1] as usize;
            graph.starts[edge.from as usize + 1] += 1;
            graph.targets[at] = edge.to;
            graph.kinds[at] = edge.kind;
            graph.whys[at] = edge.why;
        }
        graph.starts.pop();
        graph
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    /// Numbers of the edges from a node.
    pub(crate) fn edges(&self, node: u32) -> std::ops::Range<u32> {
        self.starts[node as usize]..self.starts[node as usize + 1]
    }

    /// Where an edge leads.
    pub(crate) fn target(&self, edge: u32) -> u32 {
        self.targets[edge as usize]
    }

    /// The kind of an edge, a single one.
    pub(crate) fn kind(&self, edge: u32) -> Kinds {
        self.kinds[edge as usize]
    }

    /// Why an edge is there.
    pub(crate) fn why(&self, edge: u32) -> Why {
        self.whys[edge as usize]
    }

    /// The strongly connected components of more than one node; there are no edges from a node to
    /// itself. A component is found after all those that it leads to.
    pub(crate) fn components(&self) -> Vec<Vec<u32>> {
        let mut tarjan = Tarjan::new(self.nodes());
        let mut found = Vec::new();
        for root in 0..self.nodes() as u32 {
            tarjan.run(self, root, Kinds::MAX, |component| {
                if component.len() > 1 {
                    found.push(component.to_vec());
                }
            });
        }
        found
    }

    /// The component of each node, among the edges of these kinds: if a node leads to another, its
    /// number is at least the other's.
    pub(crate) fn numbered(&self, kinds: Kinds) -> Vec<u32> {
        let mut numbers = vec![NONE; self.nodes()];
        let mut tarjan = Tarjan::new(self.nodes());
        let mut next = 0;
        for root in 0..self.nodes() as u32 {
            tarjan.run(self, root, kinds, |component| {
                component.iter().for_each(|node| numbers[*node as usize] = next);
                next += 1;
            });
        }
        numbers
    }

    /// The subgraph of these nodes, renumbered in that order. `place` is scratch: [`NONE`] for
    /// every node, before and after.
    pub(crate) fn part(&self, nodes: &[u32], place: &mut [u32]) -> Graph {
        for (index, node) in (0..).zip(nodes) {
            place[*node as usize] = index;
        }
        let mut edges = Vec::new();
        for (from, node) in (0..).zip(nodes) {
            for edge in self.edges(*node) {
                let to = place[self.target(edge) as usize];
                if to != NONE {
                    let (kind, why) = (self.kind(edge), self.why(edge));
                    edges.push(Edge { from, to, kind, why });
                }
            }
        }
        for node in nodes {
            place[*node as usize] = NONE;
        }
        Graph::new(nodes.len(), &edges)
    }
}

/// Tarjan's algorithm (SIAM J. Comput. 1972) without recursion.
struct Tarjan {
    /// Order of discovery, from 1; 0 if not yet discovered.
    index: Vec<u32>,
    low: Vec<u32>,
    done: Vec<bool>,
    stack: Vec<u32>,
    /// Nodes being visited, and the next edge of each.
    path: Vec<(u32, u32)>,
    next: u32,
}

impl Tarjan {
    fn new(nodes: usize) -> Tarjan {
        Tarjan {
            index: vec![0; nodes],
            low: vec![0; nodes],
            done: vec![false; nodes],
            stack: Vec::new(),
            path: Vec::new(),
            next: 1,
        }
    }

    fn enter(&mut self, graph: &Graph, node: u32) {
        self.index[node as usize] = self.next;
        self.low[node as usize] = self.next;
        self.next += 1;
        self.stack.push(node);
        self.path.push((node, graph.edges(node).start));
    }

    fn run(&mut self, graph: &Graph, root: u32, kinds: Kinds, mut found: impl FnMut(&[u32])) {
        if self.index[root as usize] != 0 {
            return;
        }
        self.enter(graph, root);
        while let Some((node, edge)) = self.path.last_mut() {
            let from = *node as usize;
            if *edge == graph.edges(*node).end {
                self.path.pop();
                if let Some((parent, _)) = self.path.last() {
                    self.low[*parent as usize] = self.low[*parent as usize].min(self.low[from]);
                }
                if self.low[from] == self.index[from] {
                    let at = self.stack.iter().rposition(|other| *other as usize == from);
                    let at = at.expect("it is on the stack until its component is found");
                    self.stack[at..].iter().for_each(|node| self.done[*node as usize] = true);
                    found(&self.stack[at..]);
                    self.stack.truncate(at);
                }
                continue;
            }
            let (to, kind) = (graph.target(*edge), graph.kind(*edge));
            *edge += 1;
            if kind & (kinds | PASS) == 0 {
                continue;
            }
            if self.index[to as usize] == 0 {
                self.enter(graph, to);
            } else if !self.done[to as usize] {
                self.low[from] = self.low[from].min(self.index[to as usize]);
            }
        }
    }
}

/// Shortest paths: searches that reuse the same memory.
pub(crate) struct Paths {
    /// The search in which a node was reached, at what distance, and from which node by which edge.
    reached: Vec<u32>,
    distance: Vec<u32>,
    by: Vec<(u32, u32)>,
    queue: VecDeque<u32>,
    search: u32,
}

impl Paths {
    /// For graphs of this many nodes.
    pub(crate) fn new(nodes: usize) -> Paths {
        Paths {
            reached: vec![0; nodes],
            distance: vec![0; nodes],
            by: vec![(0, 0); nodes],
            queue: VecDeque::new(),
            search: 0,
        }
    }

    /// A shortest path, as edges, over edges of these kinds ([`PASS`] costs nothing), through nodes
    /// that `through` admits. `work` goes down by one for each edge visited; the search ends when
    /// it is zero.
    pub(crate) fn shortest(
        &mut self,
        graph: &Graph,
        (from, to): (u32, u32),
        kinds: Kinds,
        through: impl Fn(u32) -> bool,
        work: &mut u64,
    ) -> Option<Vec<u32>> {
        self.search += 1;
        self.queue.clear();
        self.queue.push_back(from);
        self.reached[from as usize] = self.search;
        self.distance[from as usize] = 0;
        while let Some(node) = self.queue.pop_front() {
            if node == to {
                return Some(self.path(from, to));
            }
            for edge in graph.edges(node) {
                if *work == 0 {
                    return None;
                }
                *work -= 1;
                let (next, kind) = (graph.target(edge), graph.kind(edge));
                if kind & (kinds | PASS) == 0 || !through(next) {
                    continue;
                }
                let distance = self.distance[node as usize] + u32::from(kind != PASS);
                let known = self.reached[next as usize] == self.search;
                if known && self.distance[next as usize] <= distance {
                    continue;
                }
                self.reached[next as usize] = self.search;
                self.distance[next as usize] = distance;
                self.by[next as usize] = (node, edge);
                match kind {
                    PASS => self.queue.push_front(next),
                    _ => self.queue.push_back(next),
                }
            }
        }
        None
    }

    fn path(&self, from: u32, to: u32) -> Vec<u32> {
        let (mut path, mut at) = (Vec::new(), to);
        while at != from {
            let (before, edge) = self.by[at as usize];
            path.push(edge);
            at = before;
        }
        path.reverse();
        path
    }
}
