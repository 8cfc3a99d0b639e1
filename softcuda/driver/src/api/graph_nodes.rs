//! Graphs made node by node.

use super::abi::{Callback, Host, In, Out};
use super::copy_shapes::Copy3D;
use super::graph::{KernelNodeParams, find, name_nodes, node};
use super::result::{CUresult, Done};
use super::{function, in_context, launch};
use crate::state::context::Context;
use crate::state::graph::CUgraphNode;
use crate::state::table::lock;
use crate::state::work::{Fill, Work};
use crate::state::{CUcontext, CUgraph, Driver};
use std::ffi::c_void;
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
        let after = after.slice(count)?.iter().map(|name| place(graph, *name)).collect::<Done<Vec<_>>>()?;
        let work = work(driver, context)?;
        let (_, nodes) = find(graph)?;
        let name = {
            let mut nodes = lock(&nodes);
            let index = nodes.add(work, &after);
            nodes.nodes[index].name
        };
        name_nodes(driver, graph)?;
        out.set(name)
    })
}

/// A node's index in the graph; a node of another graph is `INVALID_VALUE`.
fn place(graph: CUgraph, name: CUgraphNode) -> Done<usize> {
    let (_, known) = node(name)?;
    if known.graph == graph { Ok(known.index) } else { Err(CUresult::INVALID_VALUE) }
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
pub extern "C" fn cuGraphAddKernelNode_v2(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    params: In<KernelNodeParams>,
) -> CUresult {
    add(out, graph, after, count, |driver, context| {
        let params = params.one()?;
        let function = function::find(driver, context, params.function())?;
        let ((list, extra), shape) = params.launch();
        Ok(Work::Kernel(launch::prepare(function, &driver.model(), shape, list, extra)?))
    })
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

/// `CUDA_MEMSET_NODE_PARAMS`.
#[repr(C)]
pub struct FillParams {
    address: u64,
    pitch: usize,
    value: u32,
    size: u32,
    width: usize,
    height: usize,
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
    add(out, graph, after, count, |_, _| {
        let FillParams { address, pitch, value, size, width, height } = *params.one()?;
        if !matches!(size, 1 | 2 | 4) || !address.is_multiple_of(size.into()) {
            return Err(CUresult::INVALID_VALUE);
        }
        Ok(Work::Fill(Fill { address, value, size: size as usize, count: width, rows: height, pitch }))
    })
}

/// `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
pub struct HostParams {
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    data: Host,
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddHostNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    params: In<HostParams>,
) -> CUresult {
    add(out, graph, after, count, |_, _| {
        let HostParams { function, data } = *params.one()?;
        if function.is_none() {
            return Err(CUresult::INVALID_VALUE);
        }
        Ok(Work::Host(Callback { function, data }))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddChildGraphNode(
    out: Out<CUgraphNode>,
    graph: CUgraph,
    after: In<CUgraphNode>,
    count: usize,
    child: CUgraph,
) -> CUresult {
    add(out, graph, after, count, |_, _| {
        let child = lock(&find(child)?.1).ordered().ok_or(CUresult::INVALID_VALUE)?;
        Ok(Work::Child(child))
    })
}

fn add_edges(graph: CUgraph, from: In<CUgraphNode>, to: In<CUgraphNode>, count: usize) -> CUresult {
    in_context(|_, _| {
        let pairs = from.slice(count)?.iter().zip(to.slice(count)?);
        let pairs = pairs.map(|(f, t)| Ok((place(graph, *f)?, place(graph, *t)?))).collect::<Done<Vec<_>>>()?;
        let (_, nodes) = find(graph)?;
        let mut nodes = lock(&nodes);
        for (from, to) in pairs {
            let after = &mut nodes.nodes[to].after;
            if from == to || after.contains(&from) {
                return Err(CUresult::INVALID_VALUE);
            }
            after.push(from);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddDependencies(
    graph: CUgraph,
    from: In<CUgraphNode>,
    to: In<CUgraphNode>,
    count: usize,
) -> CUresult {
    add_edges(graph, from, to, count)
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
    add_edges(graph, from, to, count)
}
