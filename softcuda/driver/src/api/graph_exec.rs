//! Instantiated graphs.

use super::abi::{In, Out};
use super::entry;
use super::graph::find;
use super::result::CUresult;
use super::{function, in_context, launch};
use crate::state::capture::{record, refuse_implicit, refuse_wait};
use crate::state::graph::{CUgraphNode, Exec};
use crate::state::table::lock;
use crate::state::work::Work;
use crate::state::{CUgraph, CUgraphExec, CUstream, driver};
use std::ffi::c_char;

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

/// Takes the work of another graph of the same shape.
#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecUpdate_v2(exec: CUgraphExec, graph: CUgraph, result: Out<UpdateResult>) -> CUresult {
    entry(|| {
        let exec = driver()?.execs.get(exec).ok_or(CUresult::INVALID_VALUE)?;
        let new = lock(&find(graph)?.1).ordered().ok_or(CUresult::INVALID_VALUE)?;
        let mut old = lock(&exec.graph);
        let nodes = || old.nodes.iter().zip(&new.nodes);
        let verdict = if old.nodes.len() != new.nodes.len() || nodes().any(|(o, n)| o.after != n.after) {
            TOPOLOGY_CHANGED
        } else if nodes().any(|(o, n)| o.work.kind() != n.work.kind()) {
            TYPE_CHANGED
        } else {
            UPDATED
        };
        result.set(UpdateResult { result: verdict, node: CUgraphNode::NULL, from: CUgraphNode::NULL })?;
        if verdict != UPDATED {
            return Err(CUresult::GRAPH_EXEC_UPDATE_FAILURE);
        }
        for (place, node) in old.nodes.iter_mut().zip(new.nodes) {
            place.work = node.work;
        }
        Ok(())
    })
}

/// New launch parameters for one kernel node of an instantiated graph; the graph itself keeps its own.
#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecKernelNodeSetParams_v2(
    exec: CUgraphExec,
    handle: CUgraphNode,
    params: In<super::graph::KernelNodeParams>,
) -> CUresult {
    in_context(|driver, context| {
        let exec = driver.execs.get(exec).ok_or(CUresult::INVALID_VALUE)?;
        let params = params.one()?;
        let function = function::find(driver, context, params.function())?;
        let mut graph = lock(&exec.graph);
        let place = graph.nodes.iter_mut().find(|n| n.name == handle).ok_or(CUresult::INVALID_VALUE)?;
        if !matches!(&*place.work, Work::Kernel(_)) {
            return Err(CUresult::INVALID_VALUE);
        }
        let (lists, shape) = params.launch();
        place.work = Work::Kernel(launch::prepare(function, &driver.model(), shape, lists.0, lists.1)?).into();
        Ok(())
    })
}
