//! Graphs: work with dependencies. In a captured graph a node's dependencies come before it in the list; in one made node by node they may
//! not, and instantiation orders them.

use super::CUcontext;
use super::table::{Handle, fresh};
use super::user_object::Destructor;
use super::work::Work;
use std::sync::{Arc, Mutex};

/// A graph node as the API names it.
pub struct NodeName {
    /// `CUgraphNodeType`.
    pub kind: u32,
    pub graph: Handle<Mutex<Graph>>,
}

pub type CUgraphNode = Handle<NodeName>;

#[derive(Clone)]
pub struct Node {
    pub name: CUgraphNode,
    pub work: Arc<Work>,
    /// Indices of nodes that run before.
    pub after: Vec<usize>,
    /// In a clone: the node that this one is a copy of.
    pub original: Option<CUgraphNode>,
    /// In an instantiated graph: whether it runs.
    pub enabled: bool,
}

/// What capture records and instantiation copies.
#[derive(Clone, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// Objects of the program that live as long as the graph and its copies.
    pub objects: Vec<Arc<Destructor>>,
}

impl Graph {
    /// Appends a node and gives its index.
    pub fn add(&mut self, work: Work, after: &[usize]) -> usize {
        let (name, work, after) = (fresh(), Arc::new(work), after.to_vec());
        self.nodes.push(Node { name, work, after, original: None, enabled: true });
        self.nodes.len() - 1
    }

    /// Index of a node.
    pub fn position(&self, name: CUgraphNode) -> Option<usize> {
        self.nodes.iter().position(|n| n.name == name)
    }

    /// Removes a node and its edges.
    pub fn remove(&mut self, index: usize) {
        self.nodes.remove(index);
        for node in &mut self.nodes {
            node.after.retain(|a| *a != index);
            node.after.iter_mut().filter(|a| **a > index).for_each(|a| *a -= 1);
        }
    }

    /// The same nodes with every dependency before its dependent, otherwise in the order of the list; `None` if there is a cycle.
    pub fn ordered(&self) -> Option<Graph> {
        let mut position = vec![usize::MAX; self.nodes.len()];
        let mut order = Vec::new();
        while order.len() < self.nodes.len() {
            let ready = |i: &usize| {
                position[*i] == usize::MAX && self.nodes[*i].after.iter().all(|a| position[*a] != usize::MAX)
            };
            let next = (0..self.nodes.len()).find(ready)?;
            position[next] = order.len();
            order.push(next);
        }
        let moved = |node: &Node| Node { after: node.after.iter().map(|a| position[*a]).collect(), ..node.clone() };
        let nodes = order.iter().map(|i| moved(&self.nodes[*i])).collect();
        Some(Graph { nodes, objects: self.objects.clone() })
    }

    /// The same work under new node names.
    pub fn renamed(&self) -> Graph {
        let nodes = self.nodes.iter().map(|n| Node { name: fresh(), original: Some(n.name), ..n.clone() });
        Graph { nodes: nodes.collect(), objects: self.objects.clone() }
    }

    /// Whether `node` is one of `ends` or comes before one of them.
    pub fn reaches(&self, node: usize, ends: &[usize]) -> bool {
        let mut seen = vec![false; self.nodes.len()];
        let mut open = ends.to_vec();
        while let Some(i) = open.pop() {
            if i == node {
                return true;
            }
            if !std::mem::replace(&mut seen[i], true) {
                open.extend(&self.nodes[i].after);
            }
        }
        false
    }

    /// Whether one of the nodes is the allocation of this address.
    pub fn allocates(&self, address: u64) -> bool {
        self.nodes.iter().any(|n| matches!(&*n.work, Work::Allocate(a) if *a == address))
    }

    /// Pairs (from, to) in the order of the nodes.
    pub fn edges(&self) -> Vec<(CUgraphNode, CUgraphNode)> {
        let name = |i: &usize| self.nodes[*i].name;
        self.nodes.iter().flat_map(|n| n.after.iter().map(move |from| (name(from), n.name))).collect()
    }

    /// Nodes without dependencies.
    pub fn roots(&self) -> Vec<CUgraphNode> {
        self.nodes.iter().filter(|n| n.after.is_empty()).map(|n| n.name).collect()
    }
}

/// An instantiated graph: a copy that later changes of the graph do not touch.
pub struct Exec {
    pub context: CUcontext,
    pub graph: Mutex<Graph>,
    pub flags: u64,
}
