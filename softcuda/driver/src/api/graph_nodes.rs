//! Graphs made node by node, and nodes that get other work.

use super::abi::{In, Out};
use super::copy_shapes::Copy3D;
use super::graph::{find, name_nodes, node, place};
use super::graph_params::{self, AllocateParams, FillParams, HostParams, KernelNodeParams, KernelParams, NodeParams};
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::context::Context;
use crate::state::graph::CUgraphNode;
use crate::state::table::lock;
use crate::state::work::Work;
use crate::state::{CUcontext, CUevent, CUgraph, Driver};
use std::sync::Arc;

/// Appends a node after the nodes of a list.
fn add(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    work: impl FnOnce(&'static Driver, &Arc<Context>) -> Done<Work>,
) -> CUresult {
    in_context(|driver, context| {
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        let (_, nodes) = find(graph)?;
        let after = after.slice(count)?.iter().map(|name| place(graph, *name)).collect::<Done<Vec<_>>>()?;
        let work = work(driver, context)?;
        let name = {
            let mut nodes = lock(&nodes);
            let index = nodes.add(work, &after);
            nodes.nodes[index].name
        };
        name_nodes(driver, graph)?;
        out.set(name)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddEmptyNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
) -> CUresult {
    add(out, graph, after, count, |_, _| Ok(Work::Empty))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddKernelNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    params: In<KernelParams>,
) -> CUresult {
    add(out, graph, after, count, |driver, context| graph_params::kernel(driver, context, *params.one()?, 0))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddKernelNode_v2(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    params: In<KernelNodeParams>,
) -> CUresult {
    add(out, graph, after, count, |driver, context| params.one()?.work(driver, context))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddMemcpyNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    copy: In<Copy3D>,
    _context: CUcontext,
) -> CUresult {
    add(out, graph, after, count, |driver, _| Ok(Work::Copy(copy.one()?.resolve(driver)?)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddMemsetNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    params: In<FillParams>,
    _context: CUcontext,
) -> CUresult {
    add(out, graph, after, count, |_, _| params.one()?.work())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddHostNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    params: In<HostParams>,
) -> CUresult {
    add(out, graph, after, count, |_, _| params.one()?.work())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddChildGraphNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    child: CUgraph,
) -> CUresult {
    add(out, graph, after, count, |_, _| graph_params::child(child))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddEventRecordNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    event: CUevent,
) -> CUresult {
    add(out, graph, after, count, |driver, _| graph_params::record_event(driver, event))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddEventWaitNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    event: CUevent,
) -> CUresult {
    add(out, graph, after, count, |driver, _| graph_params::wait_event(driver, event))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddMemAllocNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    params: Out<AllocateParams>,
) -> CUresult {
    add(out, graph, after, count, |driver, context| params.get()?.work(driver, context, params))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddMemFreeNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    address: u64,
) -> CUresult {
    add(out, graph, after, count, |driver, _| graph_params::free(driver, address))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    params: In<NodeParams>,
) -> CUresult {
    add(out, graph, after, count, |driver, context| graph_params::any(driver, context, params))
}

/// Edge data other than the default has no meaning here.
#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddNode_v2(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    _data: In<u64>,
    count: usize,
    params: In<NodeParams>,
) -> CUresult {
    cuGraphAddNode(out, graph, after, count, params)
}

/// Changes the edges of a list.
fn change_edges(
    graph: CUgraph,
    from: In<CUgraphNode>,
    to: In<CUgraphNode>,
    count: usize,
    change: fn(after: &mut Vec<usize>, from: usize) -> bool,
) -> CUresult {
    in_context(|_, _| {
        let (_, nodes) = find(graph)?;
        let pairs = from.slice(count)?.iter().zip(to.slice(count)?);
        let pairs = pairs.map(|(f, t)| Ok((place(graph, *f)?, place(graph, *t)?))).collect::<Done<Vec<_>>>()?;
        let mut nodes = lock(&nodes);
        for (from, to) in pairs {
            if from == to || !change(&mut nodes.nodes[to].after, from) {
                return Err(CUresult::INVALID_VALUE);
            }
        }
        Ok(())
    })
}

/// Adds an edge that is not there.
fn join(after: &mut Vec<usize>, from: usize) -> bool {
    let new = !after.contains(&from);
    after.extend(new.then_some(from));
    new
}

/// Removes an edge that is there.
fn part(after: &mut Vec<usize>, from: usize) -> bool {
    let place = after.iter().position(|f| *f == from);
    place.map(|i| after.remove(i)).is_some()
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddDependencies(
    graph: CUgraph,
    from: In<CUgraphNode>,
    to: In<CUgraphNode>,
    count: usize,
) -> CUresult {
    change_edges(graph, from, to, count, join)
}

/// Edge data other than the default has no meaning here.
#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddDependencies_v2(
    graph: CUgraph,
    from: In<CUgraphNode>,
    to: In<CUgraphNode>,
    _data: In<u64>,
    count: usize,
) -> CUresult {
    change_edges(graph, from, to, count, join)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphRemoveDependencies(
    graph: CUgraph,
    from: In<CUgraphNode>,
    to: In<CUgraphNode>,
    count: usize,
) -> CUresult {
    change_edges(graph, from, to, count, part)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphRemoveDependencies_v2(
    graph: CUgraph,
    from: In<CUgraphNode>,
    to: In<CUgraphNode>,
    _data: In<u64>,
    count: usize,
) -> CUresult {
    change_edges(graph, from, to, count, part)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroyNode(handle: CUgraphNode) -> CUresult {
    in_context(|driver, context| {
        let (_, name) = node(handle)?;
        // A capture may stand on the node.
        if lock(&context.captures).iter().any(|c| c.graph == name.graph) {
            return Err(CUresult::INVALID_VALUE);
        }
        let index = place(name.graph, handle)?;
        lock(&find(name.graph)?.1).remove(index);
        driver.nodes.remove(handle);
        Ok(())
    })
}
