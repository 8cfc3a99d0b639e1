//! Reading and replacing what a graph's node does.

use super::abi::{In, Out};
use super::copy_shapes::Copy3D;
use super::graph::{find, node, place};
use super::graph_params::{self, AllocateParams, FillParams, HostParams, KernelNodeParams, KernelParams, NodeParams};
use super::in_context;
use super::launch::{self, AttributeValue, CLUSTER, COOPERATIVE, HINTS, Shape};
use super::result::{CUresult, Done};
use crate::state::context::Context;
use crate::state::graph::CUgraphNode;
use crate::state::table::lock;
use crate::state::work::Work;
use crate::state::{CUevent, Driver};
use std::sync::Arc;

/// Gives the node's work to `body`.
fn read(handle: CUgraphNode, body: impl FnOnce(&'static Driver, &Work) -> Done) -> CUresult {
    in_context(|driver, _| {
        let (_, name) = node(handle)?;
        let index = place(name.graph, handle)?;
        let work = lock(&find(name.graph)?.1).nodes[index].work.clone();
        body(driver, &work)
    })
}

/// Replaces the node's work by work of the same kind.
fn replace(handle: CUgraphNode, make: impl FnOnce(&'static Driver, &Arc<Context>) -> Done<Work>) -> CUresult {
    in_context(|driver, context| {
        let (_, name) = node(handle)?;
        let index = place(name.graph, handle)?;
        let work = make(driver, context)?;
        let (_, graph) = find(name.graph)?;
        let place = &mut lock(&graph).nodes[index].work;
        *place = graph_params::successor(place, work, &driver.model())?;
        Ok(())
    })
}

/// For a node of another kind.
const OTHER_KIND: Done = Err(CUresult::INVALID_VALUE);

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphKernelNodeGetParams(handle: CUgraphNode, out: Out<KernelParams>) -> CUresult {
    read(handle, |driver, work| match work {
        Work::Kernel(kernel) => out.set(KernelParams::of(driver, kernel)?),
        _ => OTHER_KIND,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphKernelNodeGetParams_v2(handle: CUgraphNode, out: Out<KernelNodeParams>) -> CUresult {
    read(handle, |driver, work| match work {
        Work::Kernel(k) => out.set(KernelParams::of(driver, k)?.with_context(k.function.context)),
        _ => OTHER_KIND,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphKernelNodeSetParams(handle: CUgraphNode, params: In<KernelParams>) -> CUresult {
    replace(handle, |driver, context| graph_params::kernel(driver, context, *params.one()?, 0))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphKernelNodeSetParams_v2(handle: CUgraphNode, params: In<KernelNodeParams>) -> CUresult {
    replace(handle, |driver, context| params.one()?.work(driver, context))
}

/// Whether it is cooperative, clusters of one block, and zeros for the hints.
#[unsafe(no_mangle)]
pub extern "C" fn cuGraphKernelNodeGetAttribute(
    handle: CUgraphNode,
    number: u32,
    value: Out<AttributeValue>,
) -> CUresult {
    read(handle, |_, work| {
        let Work::Kernel(kernel) = work else { return OTHER_KIND };
        let mut words = [0; 16];
        match number {
            COOPERATIVE => words[0] = kernel.cooperative.into(),
            CLUSTER => words[..3].fill(1),
            number if HINTS.contains(&number) => {}
            _ => return Err(CUresult::INVALID_VALUE),
        }
        value.set(words)
    })
}

/// Gives a kernel node the shape that `change` makes of its own.
fn reshape(handle: CUgraphNode, change: impl FnOnce(&'static Driver, &mut Shape) -> Done) -> CUresult {
    in_context(|driver, _| {
        let (_, name) = node(handle)?;
        let index = place(name.graph, handle)?;
        let (_, graph) = find(name.graph)?;
        let place = &mut lock(&graph).nodes[index].work;
        let Work::Kernel(kernel) = &**place else { return OTHER_KIND };
        let mut shape = kernel.shape();
        change(driver, &mut shape)?;
        launch::check(&kernel.function, &driver.model(), &shape)?;
        *place = Work::Kernel(kernel.with_shape(shape)).into();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphKernelNodeSetAttribute(
    handle: CUgraphNode,
    number: u32,
    value: In<AttributeValue>,
) -> CUresult {
    reshape(handle, |driver, shape| launch::set_attribute(shape, &driver.model(), number, value.one()?))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphKernelNodeCopyAttributes(to: CUgraphNode, from: CUgraphNode) -> CUresult {
    let mut cooperative = false;
    let code = read(from, |_, work| {
        let Work::Kernel(kernel) = work else { return OTHER_KIND };
        cooperative = kernel.cooperative;
        Ok(())
    });
    if code != CUresult::SUCCESS {
        return code;
    }
    reshape(to, |_, shape| {
        shape.cooperative = cooperative;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphMemcpyNodeGetParams(handle: CUgraphNode, out: Out<Copy3D>) -> CUresult {
    read(handle, |_, work| match work {
        Work::Copy(copy) => out.set(Copy3D::of(copy)),
        _ => OTHER_KIND,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphMemcpyNodeSetParams(handle: CUgraphNode, copy: In<Copy3D>) -> CUresult {
    replace(handle, |driver, _| Ok(Work::Copy(copy.one()?.resolve(driver)?)))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphMemsetNodeGetParams(handle: CUgraphNode, out: Out<FillParams>) -> CUresult {
    read(handle, |_, work| match work {
        Work::Fill(fill) => out.set(FillParams::of(fill)),
        _ => OTHER_KIND,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphMemsetNodeSetParams(handle: CUgraphNode, params: In<FillParams>) -> CUresult {
    replace(handle, |_, _| params.one()?.work())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphHostNodeGetParams(handle: CUgraphNode, out: Out<HostParams>) -> CUresult {
    read(handle, |_, work| match work {
        Work::Host(callback) => out.set(HostParams::of(*callback)),
        _ => OTHER_KIND,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphHostNodeSetParams(handle: CUgraphNode, params: In<HostParams>) -> CUresult {
    replace(handle, |_, _| params.one()?.work())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphEventRecordNodeGetEvent(handle: CUgraphNode, out: Out<CUevent>) -> CUresult {
    read(handle, |driver, work| match work {
        Work::RecordEvent(event) => out.set(driver.events.handle_of(event).ok_or(CUresult::INVALID_HANDLE)?),
        _ => OTHER_KIND,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphEventRecordNodeSetEvent(handle: CUgraphNode, event: CUevent) -> CUresult {
    replace(handle, |driver, _| graph_params::record_event(driver, event))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphEventWaitNodeGetEvent(handle: CUgraphNode, out: Out<CUevent>) -> CUresult {
    read(handle, |driver, work| match work {
        Work::WaitEvent(event) => out.set(driver.events.handle_of(event).ok_or(CUresult::INVALID_HANDLE)?),
        _ => OTHER_KIND,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphEventWaitNodeSetEvent(handle: CUgraphNode, event: CUevent) -> CUresult {
    replace(handle, |driver, _| graph_params::wait_event(driver, event))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphMemAllocNodeGetParams(handle: CUgraphNode, out: Out<AllocateParams>) -> CUresult {
    read(handle, |driver, work| match work {
        Work::Allocate(address) => out.set(AllocateParams::of(driver, *address)),
        _ => OTHER_KIND,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphMemFreeNodeGetParams(handle: CUgraphNode, out: Out<u64>) -> CUresult {
    read(handle, |_, work| match work {
        Work::Free(address) => out.set(*address),
        _ => OTHER_KIND,
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphNodeSetParams(handle: CUgraphNode, params: In<NodeParams>) -> CUresult {
    replace(handle, |driver, context| graph_params::any(driver, context, params))
}
