//! Graphs: making, reading, changing. Capture (`stream`) makes most of them.

use super::abi::Out;
use super::entry;
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
    for node in &lock(&nodes).nodes {
        driver.nodes.put(node.name, NodeName { kind: node.work.kind(), graph });
    }
    Ok(())
}

/// A graph whose nodes are about to be given out; a capture adds nodes that nobody has asked for yet.
fn find_named(graph: CUgraph) -> Done<(&'static Driver, Arc<Mutex<Graph>>)> {
    let found = find(graph)?;
    name_nodes(found.0, graph)?;
    Ok(found)
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
        let (_, graph) = find_named(graph)?;
        let names: Vec<_> = lock(&graph).nodes.iter().map(|n| n.name).collect();
        give(&names, CUgraphNode::NULL, nodes, count)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphGetRootNodes(graph: CUgraph, nodes: Out<CUgraphNode>, count: Out<usize>) -> CUresult {
    entry(|| give(&lock(&find_named(graph)?.1).roots(), CUgraphNode::NULL, nodes, count))
}

fn edges(graph: CUgraph, from: Out<CUgraphNode>, to: Out<CUgraphNode>, count: Out<usize>) -> Done {
    let (_, graph) = find_named(graph)?;
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

/// A node's kind and graph; a destroyed one is `INVALID_VALUE`.
pub fn node(handle: CUgraphNode) -> Done<(&'static Driver, Arc<NodeName>)> {
    let driver = driver()?;
    Ok((driver, driver.nodes.get(handle).ok_or(CUresult::INVALID_VALUE)?))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetType(handle: CUgraphNode, kind: Out<u32>) -> CUresult {
    entry(|| kind.set(node(handle)?.1.kind))
}

/// A node's index in the graph; a node of another graph is `INVALID_VALUE`.
pub fn place(graph: CUgraph, name: CUgraphNode) -> Done<usize> {
    if node(name)?.1.graph != graph {
        return Err(CUresult::INVALID_VALUE);
    }
    lock(&find(graph)?.1).position(name).ok_or(CUresult::INVALID_VALUE)
}

/// The nodes before this one, or after it.
fn neighbours(handle: CUgraphNode, before: bool, out: Out<CUgraphNode>, count: Out<usize>) -> Done {
    let (_, name) = node(handle)?;
    let index = place(name.graph, handle)?;
    let (_, graph) = find(name.graph)?;
    let graph = lock(&graph);
    let names: Vec<_> = if before {
        graph.nodes[index].after.iter().map(|i| graph.nodes[*i].name).collect()
    } else {
        graph.nodes.iter().filter(|n| n.after.contains(&index)).map(|n| n.name).collect()
    };
    give(&names, CUgraphNode::NULL, out, count)
}

/// [`neighbours`] with edge data, which is always the default.
fn neighbours_with_data(
    handle: CUgraphNode,
    before: bool,
    out: Out<CUgraphNode>,
    data: Out<u64>,
    count: Out<usize>,
) -> Done {
    if !data.is_null() {
        data.fill(std::iter::repeat(0), count.get()?);
    }
    neighbours(handle, before, out, count)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetDependencies(node: CUgraphNode, out: Out<CUgraphNode>, count: Out<usize>) -> CUresult {
    entry(|| neighbours(node, true, out, count))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetDependencies_v2(
    node: CUgraphNode,
    out: Out<CUgraphNode>,
    data: Out<u64>,
    count: Out<usize>,
) -> CUresult {
    entry(|| neighbours_with_data(node, true, out, data, count))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetDependentNodes(
    node: CUgraphNode,
    out: Out<CUgraphNode>,
    count: Out<usize>,
) -> CUresult {
    entry(|| neighbours(node, false, out, count))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetDependentNodes_v2(
    node: CUgraphNode,
    out: Out<CUgraphNode>,
    data: Out<u64>,
    count: Out<usize>,
) -> CUresult {
    entry(|| neighbours_with_data(node, false, out, data, count))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetContainingGraph(handle: CUgraphNode, out: Out<CUgraph>) -> CUresult {
    entry(|| out.set(node(handle)?.1.graph))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeFindInClone(out: Out<CUgraphNode>, original: CUgraphNode, clone: CUgraph) -> CUresult {
    entry(|| {
        let (_, graph) = find(clone)?;
        let graph = lock(&graph);
        let copy = graph.nodes.iter().find(|n| n.original == Some(original)).ok_or(CUresult::INVALID_VALUE)?;
        out.set(copy.name)
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
