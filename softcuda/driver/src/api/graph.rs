//! Graphs: making, reading, changing. Capture (`stream`) makes most of them.

use super::abi::{Host, In, Out};
use super::entry;
use super::launch::Shape;
use super::result::{CUresult, Done};
use crate::state::graph::{CUgraphNode, Graph, NodeName};
use crate::state::table::lock;
use crate::state::{CUgraph, Driver, driver};
use std::sync::{Arc, Mutex};

/// A graph; a destroyed one is `INVALID_VALUE`.
pub fn find(graph: CUgraph) -> Done<(&'static Driver, Arc<Mutex<Graph>>)> {
    let driver = driver()?;
    Ok((driver, driver.graphs.get(graph).ok_or(CUresult::INVALID_VALUE)?))
}

/// Lets nodes be found by their handles.
pub fn name_nodes(driver: &Driver, graph: CUgraph) -> Done {
    let nodes = driver.graphs.get(graph).ok_or(CUresult::INVALID_VALUE)?;
    for (index, node) in lock(&nodes).nodes.iter().enumerate() {
        driver.nodes.put(node.name, NodeName { kind: node.work.kind(), graph, index });
    }
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphCreate(out: Out<CUgraph>, flags: u32) -> CUresult {
    entry(|| {
        if flags != 0 || out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        out.set(driver()?.graphs.insert(Mutex::default()))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroy(graph: CUgraph) -> CUresult {
    entry(|| {
        let driver = driver()?;
        let gone = driver.graphs.remove(graph).ok_or(CUresult::INVALID_VALUE)?;
        for node in &lock(&gone).nodes {
            driver.nodes.remove(node.name);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphClone(out: Out<CUgraph>, graph: CUgraph) -> CUresult {
    entry(|| {
        let (driver, graph) = find(graph)?;
        let copy = lock(&graph).renamed();
        let copy = driver.graphs.insert(Mutex::new(copy));
        name_nodes(driver, copy)?;
        out.set(copy)
    })
}

/// Gives a list the way the API does: without a place only the number; with one as many as fit, the rest null.
fn give<T: Copy>(list: &[T], null: T, place: Out<T>, count: Out<usize>) -> Done {
    if place.is_null() {
        return count.set(list.len());
    }
    let room = count.get()?;
    place.fill(list.iter().copied().chain(std::iter::repeat(null)), room);
    count.set(list.len().min(room))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphGetNodes(graph: CUgraph, nodes: Out<CUgraphNode>, count: Out<usize>) -> CUresult {
    entry(|| {
        let names: Vec<_> = lock(&find(graph)?.1).nodes.iter().map(|n| n.name).collect();
        give(&names, CUgraphNode::NULL, nodes, count)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphGetRootNodes(graph: CUgraph, nodes: Out<CUgraphNode>, count: Out<usize>) -> CUresult {
    entry(|| give(&lock(&find(graph)?.1).roots(), CUgraphNode::NULL, nodes, count))
}

fn edges(graph: CUgraph, from: Out<CUgraphNode>, to: Out<CUgraphNode>, count: Out<usize>) -> Done {
    let (_, graph) = find(graph)?;
    let (starts, ends): (Vec<_>, Vec<_>) = lock(&graph).edges().into_iter().unzip();
    if from.is_null() != to.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    if !to.is_null() {
        let room = count.get()?;
        to.fill(ends.iter().copied().chain(std::iter::repeat(CUgraphNode::NULL)), room);
    }
    give(&starts, CUgraphNode::NULL, from, count)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphGetEdges(
    graph: CUgraph,
    from: Out<CUgraphNode>,
    to: Out<CUgraphNode>,
    count: Out<usize>,
) -> CUresult {
    entry(|| edges(graph, from, to, count))
}

/// Edge data (8 bytes an edge) is always the default, all zeros.
#[unsafe(no_mangle)]
pub extern "C" fn cuGraphGetEdges_v2(
    graph: CUgraph,
    from: Out<CUgraphNode>,
    to: Out<CUgraphNode>,
    data: Out<u64>,
    count: Out<usize>,
) -> CUresult {
    entry(|| {
        if !data.is_null() {
            data.fill(std::iter::repeat(0), count.get()?);
        }
        edges(graph, from, to, count)
    })
}

/// A node's graph and place in it.
pub fn node(handle: CUgraphNode) -> Done<(&'static Driver, Arc<NodeName>)> {
    let driver = driver()?;
    Ok((driver, driver.nodes.get(handle).ok_or(CUresult::INVALID_VALUE)?))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetType(handle: CUgraphNode, kind: Out<u32>) -> CUresult {
    entry(|| kind.set(node(handle)?.1.kind))
}

fn dependencies(handle: CUgraphNode, out: Out<CUgraphNode>, count: Out<usize>) -> Done {
    let (_, name) = node(handle)?;
    let (_, graph) = find(name.graph)?;
    let graph = lock(&graph);
    let before: Vec<_> = graph.nodes[name.index].after.iter().map(|i| graph.nodes[*i].name).collect();
    give(&before, CUgraphNode::NULL, out, count)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetDependencies(node: CUgraphNode, out: Out<CUgraphNode>, count: Out<usize>) -> CUresult {
    entry(|| dependencies(node, out, count))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetDependencies_v2(
    node: CUgraphNode,
    out: Out<CUgraphNode>,
    data: Out<u64>,
    count: Out<usize>,
) -> CUresult {
    entry(|| {
        if !data.is_null() {
            data.fill(std::iter::repeat(0), count.get()?);
        }
        dependencies(node, out, count)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDebugDotPrint(graph: CUgraph, path: super::abi::Text, _flags: u32) -> CUresult {
    entry(|| {
        let (_, graph) = find(graph)?;
        let graph = lock(&graph);
        let mut text = String::from("digraph softcuda {\n");
        for (i, node) in graph.nodes.iter().enumerate() {
            text += &format!("  n{i} [label=\"{}\"];\n", node.work.describe());
            for from in &node.after {
                text += &format!("  n{from} -> n{i};\n");
            }
        }
        text += "}\n";
        std::fs::write(path.str()?, text).map_err(|_| CUresult::OPERATING_SYSTEM)
    })
}

/// `CUkernelNodeParams` of API version 12 and later.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KernelNodeParams {
    function: crate::state::CUfunction,
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
    params: In<Host>,
    extra: In<usize>,
    kernel: usize,
    context: crate::state::CUcontext,
}

impl KernelNodeParams {
    pub fn function(&self) -> crate::state::CUfunction {
        self.function
    }

    /// The parameter lists and the shape.
    pub fn launch(&self) -> ((In<Host>, In<usize>), Shape) {
        let KernelNodeParams { grid, block, dynamic_shared, .. } = *self;
        ((self.params, self.extra), Shape { grid, block, dynamic_shared, cooperative: false })
    }
}

/// The launch of a kernel node. Parameters were copied at capture and have no place in the program any more: both lists come back null.
#[unsafe(no_mangle)]
pub extern "C" fn cuGraphKernelNodeGetParams_v2(handle: CUgraphNode, out: Out<KernelNodeParams>) -> CUresult {
    entry(|| {
        let (driver, name) = node(handle)?;
        let (_, graph) = find(name.graph)?;
        let work = lock(&graph).nodes[name.index].work.clone();
        let crate::state::work::Work::Kernel(kernel) = &*work else { return Err(CUresult::INVALID_VALUE) };
        out.set(KernelNodeParams {
            function: driver.functions.handle_of(&kernel.function).ok_or(CUresult::INVALID_HANDLE)?,
            grid: kernel.grid,
            block: kernel.block,
            dynamic_shared: kernel.dynamic_shared,
            params: In::null(),
            extra: In::null(),
            kernel: 0,
            context: kernel.function.context,
        })
    })
}
