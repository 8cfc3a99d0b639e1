//! Instantiated graphs.

use super::abi::{In, Out};
use super::copy_shapes::Copy3D;
use super::graph::find;
use super::graph_params::{self, FillParams, HostParams, KernelNodeParams, KernelParams, NodeParams};
use super::result::{CUresult, Done};
use super::{entry, in_context};
use crate::state::capture::{record, refuse_implicit, refuse_wait};
use crate::state::context::Context;
use crate::state::graph::{CUgraphNode, Exec, Node};
use crate::state::table::lock;
use crate::state::work::Work;
use crate::state::{CUcontext, CUevent, CUgraph, CUgraphExec, CUstream, Driver, driver};
use std::ffi::c_char;
use std::sync::Arc;

/// `CUgraphInstantiate_flags`.
const AUTO_FREE_ON_LAUNCH: u64 = 1;
const DEVICE_LAUNCH: u64 = 4;
const KNOWN_FLAGS: u64 = 15;

fn instantiate(out: Out<CUgraphExec>, graph: CUgraph, flags: u64) -> CUresult {
    in_context(|driver, context| {
        if flags & !KNOWN_FLAGS != 0
            || flags & (AUTO_FREE_ON_LAUNCH | DEVICE_LAUNCH) == AUTO_FREE_ON_LAUNCH | DEVICE_LAUNCH
        {
            return Err(CUresult::INVALID_VALUE);
        }
        if flags & DEVICE_LAUNCH != 0 {
            return Err(CUresult::NOT_SUPPORTED);
        }
        let graph = lock(&find(graph)?.1).ordered().ok_or(CUresult::INVALID_VALUE)?;
        out.set(driver.execs.insert(Exec { context: context.handle, graph: graph.into(), flags }))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphInstantiateWithFlags(out: Out<CUgraphExec>, graph: CUgraph, flags: u64) -> CUresult {
    instantiate(out, graph, flags)
}

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct InstantiateParams {
    flags: u64,
    upload_stream: CUstream,
    error_node: CUgraphNode,
    result: u32,
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphInstantiateWithParams(
    out: Out<CUgraphExec>,
    graph: CUgraph,
    params: Out<InstantiateParams>,
) -> CUresult {
    let Ok(given) = params.get() else { return CUresult::INVALID_VALUE };
    let code = instantiate(out, graph, given.flags);
    params.set_if_wanted(InstantiateParams {
        error_node: CUgraphNode::NULL,
        result: (code != CUresult::SUCCESS).into(),
        ..given
    });
    code
}

/// The old form: an error node and a log, both without use here.
#[unsafe(no_mangle)]
pub extern "C" fn cuGraphInstantiate_v2(
    out: Out<CUgraphExec>,
    graph: CUgraph,
    error_node: Out<CUgraphNode>,
    _log: Out<c_char>,
    _log_size: usize,
) -> CUresult {
    error_node.set_if_wanted(CUgraphNode::NULL);
    instantiate(out, graph, 0)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphLaunch(exec: CUgraphExec, stream: CUstream) -> CUresult {
    in_context(|driver, context| {
        let exec = driver.execs.get(exec).ok_or(CUresult::INVALID_VALUE)?;
        let stream = context.stream(driver, stream)?;
        refuse_implicit(context, &stream)?;
        let graph = lock(&exec.graph).clone();
        if record(&stream, || Work::Child(graph.clone()))? {
            return Ok(());
        }
        driver.wait_pending(context, &stream);
        driver.run_graph(context, &graph)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphUpload(exec: CUgraphExec, stream: CUstream) -> CUresult {
    in_context(|driver, context| {
        driver.execs.get(exec).ok_or(CUresult::INVALID_VALUE)?;
        refuse_wait(&*context.stream(driver, stream)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecDestroy(exec: CUgraphExec) -> CUresult {
    entry(|| driver()?.execs.remove(exec).map(|_| ()).ok_or(CUresult::INVALID_VALUE))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecGetFlags(exec: CUgraphExec, flags: Out<u64>) -> CUresult {
    entry(|| flags.set(driver()?.execs.get(exec).ok_or(CUresult::INVALID_VALUE)?.flags))
}

/// `CUgraphExecUpdateResultInfo`.
#[repr(C)]
pub struct UpdateResult {
    result: u32,
    node: CUgraphNode,
    from: CUgraphNode,
}

/// Numbers of `CUgraphExecUpdateResult`.
const UPDATED: u32 = 0;
const TOPOLOGY_CHANGED: u32 = 2;
const TYPE_CHANGED: u32 = 3;

/// Takes the work of another graph of the same shape; gives a number of `CUgraphExecUpdateResult`.
fn update(exec: CUgraphExec, graph: CUgraph) -> Done<u32> {
    let exec = driver()?.execs.get(exec).ok_or(CUresult::INVALID_VALUE)?;
    let new = lock(&find(graph)?.1).ordered().ok_or(CUresult::INVALID_VALUE)?;
    let mut old = lock(&exec.graph);
    let nodes = || old.nodes.iter().zip(&new.nodes);
    if old.nodes.len() != new.nodes.len() || nodes().any(|(o, n)| o.after != n.after) {
        return Ok(TOPOLOGY_CHANGED);
    }
    if nodes().any(|(o, n)| o.work.kind() != n.work.kind()) {
        return Ok(TYPE_CHANGED);
    }
    for (place, node) in old.nodes.iter_mut().zip(new.nodes) {
        place.work = node.work;
    }
    Ok(UPDATED)
}

fn verdict(result: u32) -> Done {
    if result == UPDATED { Ok(()) } else { Err(CUresult::GRAPH_EXEC_UPDATE_FAILURE) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecUpdate_v2(exec: CUgraphExec, graph: CUgraph, out: Out<UpdateResult>) -> CUresult {
    entry(|| {
        let result = update(exec, graph)?;
        out.set(UpdateResult { result, node: CUgraphNode::NULL, from: CUgraphNode::NULL })?;
        verdict(result)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecUpdate(
    exec: CUgraphExec,
    graph: CUgraph,
    node: Out<CUgraphNode>,
    out: Out<u32>,
) -> CUresult {
    entry(|| {
        let result = update(exec, graph)?;
        node.set_if_wanted(CUgraphNode::NULL);
        out.set(result)?;
        verdict(result)
    })
}

/// Gives a node of an instantiated graph work of the same kind; the graph itself keeps its own.
fn replace(
    exec: CUgraphExec,
    handle: CUgraphNode,
    make: impl FnOnce(&'static Driver, &Arc<Context>) -> Done<Work>,
) -> CUresult {
    in_context(|driver, context| {
        let exec = driver.execs.get(exec).ok_or(CUresult::INVALID_VALUE)?;
        let work = make(driver, context)?;
        let mut graph = lock(&exec.graph);
        let index = graph.position(handle).ok_or(CUresult::INVALID_VALUE)?;
        let place = &mut graph.nodes[index].work;
        *place = graph_params::successor(place, work, &driver.model())?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecKernelNodeSetParams(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: In<KernelParams>,
) -> CUresult {
    replace(exec, node, |driver, context| graph_params::kernel(driver, context, *params.one()?, 0))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecKernelNodeSetParams_v2(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: In<KernelNodeParams>,
) -> CUresult {
    replace(exec, node, |driver, context| params.one()?.work(driver, context))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecMemcpyNodeSetParams(
    exec: CUgraphExec,
    node: CUgraphNode,
    copy: In<Copy3D>,
    _context: CUcontext,
) -> CUresult {
    replace(exec, node, |driver, _| Ok(Work::Copy(copy.one()?.resolve(driver)?)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecMemsetNodeSetParams(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: In<FillParams>,
    _context: CUcontext,
) -> CUresult {
    replace(exec, node, |_, _| params.one()?.work())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecHostNodeSetParams(
    exec: CUgraphExec,
    node: CUgraphNode,
    params: In<HostParams>,
) -> CUresult {
    replace(exec, node, |_, _| params.one()?.work())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecChildGraphNodeSetParams(exec: CUgraphExec, node: CUgraphNode, child: CUgraph) -> CUresult {
    replace(exec, node, |_, _| graph_params::child(child))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecEventRecordNodeSetEvent(exec: CUgraphExec, node: CUgraphNode, event: CUevent) -> CUresult {
    replace(exec, node, |driver, _| graph_params::record_event(driver, event))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecEventWaitNodeSetEvent(exec: CUgraphExec, node: CUgraphNode, event: CUevent) -> CUresult {
    replace(exec, node, |driver, _| graph_params::wait_event(driver, event))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecNodeSetParams(exec: CUgraphExec, node: CUgraphNode, params: In<NodeParams>) -> CUresult {
    replace(exec, node, |driver, context| graph_params::any(driver, context, params))
}

/// Kernel, copy and fill nodes can be switched off.
fn switch(exec: CUgraphExec, handle: CUgraphNode, body: impl FnOnce(&mut Node) -> Done) -> CUresult {
    entry(|| {
        let exec = driver()?.execs.get(exec).ok_or(CUresult::INVALID_VALUE)?;
        let mut graph = lock(&exec.graph);
        let index = graph.position(handle).ok_or(CUresult::INVALID_VALUE)?;
        let node = &mut graph.nodes[index];
        if !matches!(&*node.work, Work::Kernel(_) | Work::Copy(_) | Work::Fill(_)) {
            return Err(CUresult::INVALID_VALUE);
        }
        body(node)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeSetEnabled(exec: CUgraphExec, node: CUgraphNode, enabled: u32) -> CUresult {
    switch(exec, node, |node| {
        node.enabled = enabled != 0;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeGetEnabled(exec: CUgraphExec, node: CUgraphNode, out: Out<u32>) -> CUresult {
    switch(exec, node, |node| out.set(node.enabled.into()))
}
