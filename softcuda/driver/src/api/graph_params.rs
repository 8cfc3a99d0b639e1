//! What graph nodes do, as the API describes it, made into work and back.

use super::abi::{Callback, Host, In, Out};
use super::copy_shapes::Copy3D;
use super::function::find;
use super::graph::find as find_graph;
use super::launch::{Shape, check, prepare};
use super::result::{CUresult, Done};
use crate::state::context::Context;
use crate::state::table::Handle;
use crate::state::work::{Fill, KernelWork, Work};
use crate::state::{CUcontext, CUevent, CUfunction, CUgraph, Driver};
use softcuda_engine::Model;
use std::ffi::c_void;
use std::sync::Arc;

/// `CUDA_KERNEL_NODE_PARAMS_v1`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KernelParams {
    function: CUfunction,
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
    params: In<Host>,
    extra: In<usize>,
}

/// `CUDA_KERNEL_NODE_PARAMS_v2` and `_v3`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KernelNodeParams {
    base: KernelParams,
    /// `CUkernel`, used when `function` is null.
    kernel: usize,
    context: CUcontext,
}

/// A launch of the node's function, or of the library's kernel.
pub fn kernel(driver: &'static Driver, context: &Arc<Context>, params: KernelParams, kernel: usize) -> Done<Work> {
    let KernelParams { function, grid, block, dynamic_shared, params, extra } = params;
    let function = if function.is_null() { Handle::new(kernel) } else { function };
    let shape = Shape { grid, block, dynamic_shared, cooperative: false };
    Ok(Work::Kernel(prepare(find(driver, context, function)?, &driver.model(), shape, params, extra)?))
}

impl KernelParams {
    /// The launch of a kernel node. The parameters are those that the node keeps.
    pub fn of(driver: &Driver, work: &KernelWork) -> Done<KernelParams> {
        let function = driver.functions.handle_of(&work.function).ok_or(CUresult::INVALID_HANDLE)?;
        let KernelWork { grid, block, dynamic_shared, .. } = *work;
        Ok(KernelParams { function, grid, block, dynamic_shared, params: work.places(), extra: In::null() })
    }

    pub fn with_context(self, context: CUcontext) -> KernelNodeParams {
        KernelNodeParams { base: self, kernel: 0, context }
    }
}

impl KernelNodeParams {
    pub fn work(&self, driver: &'static Driver, context: &Arc<Context>) -> Done<Work> {
        kernel(driver, context, self.base, self.kernel)
    }
}

/// `CUDA_MEMSET_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FillParams {
    address: u64,
    pitch: usize,
    value: u32,
    size: u32,
    width: usize,
    height: usize,
}

impl FillParams {
    pub fn work(&self) -> Done<Work> {
        let FillParams { address, pitch, value, size, width, height } = *self;
        if !matches!(size, 1 | 2 | 4) || !address.is_multiple_of(size.into()) || width == 0 || height == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        Ok(Work::Fill(Fill { address, value, size: size as usize, count: width, rows: height, pitch }))
    }

    pub fn of(fill: &Fill) -> FillParams {
        let Fill { address, value, size, count, rows, pitch } = *fill;
        FillParams { address, pitch, value, size: size as u32, width: count, height: rows }
    }
}

/// `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostParams {
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    data: Host,
}

impl HostParams {
    pub fn work(&self) -> Done<Work> {
        let HostParams { function, data } = *self;
        if function.is_none() { Err(CUresult::INVALID_VALUE) } else { Ok(Work::Host(Callback { function, data })) }
    }

    pub fn of(callback: Callback) -> HostParams {
        HostParams { function: callback.function, data: callback.data }
    }
}

/// `CUDA_MEM_ALLOC_NODE_PARAMS`, whose first part is `CUmemPoolProps`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AllocateParams {
    properties: [u64; 11],
    accesses: usize,
    count: usize,
    bytes: usize,
    address: u64,
}

impl AllocateParams {
    /// The memory is made at once; its node stands for it.
    pub fn work(mut self, driver: &Driver, context: &Context, out: Out<AllocateParams>) -> Done<Work> {
        self.address = driver.allocate(context.handle, self.bytes)?;
        out.set(self)?;
        Ok(Work::Allocate(self.address))
    }

    pub fn of(driver: &Driver, address: u64) -> AllocateParams {
        let bytes = driver.allocations.holding(address).map_or(0, |a| a.bytes);
        // Pinned device memory (allocation type 1), no handles, location type 1: device 0.
        let mut properties = [0; 11];
        (properties[0], properties[1]) = (1, 1);
        AllocateParams { properties, accesses: 0, count: 0, bytes, address }
    }
}

/// New work of a node, of the same kind as its old work. A kernel node keeps its attributes.
pub fn successor(old: &Work, mut new: Work, model: &Model) -> Done<Arc<Work>> {
    if old.kind() != new.kind() {
        return Err(CUresult::INVALID_VALUE);
    }
    if let (Work::Kernel(old), Work::Kernel(new)) = (old, &mut new) {
        new.cooperative = old.cooperative;
        check(&new.function, model, &new.shape())?;
    }
    Ok(new.into())
}

pub fn child(graph: CUgraph) -> Done<Work> {
    let graph = crate::state::table::lock(&find_graph(graph)?.1).ordered().ok_or(CUresult::INVALID_VALUE)?;
    Ok(Work::Child(graph))
}

pub fn record_event(driver: &Driver, event: CUevent) -> Done<Work> {
    Ok(Work::RecordEvent(driver.events.get(event).ok_or(CUresult::INVALID_HANDLE)?))
}

pub fn wait_event(driver: &Driver, event: CUevent) -> Done<Work> {
    Ok(Work::WaitEvent(driver.events.get(event).ok_or(CUresult::INVALID_HANDLE)?))
}

pub fn free(driver: &Driver, address: u64) -> Done<Work> {
    let known = driver.allocations.holding(address).is_some_and(|a| a.address == address);
    if known { Ok(Work::Free(address)) } else { Err(CUresult::INVALID_VALUE) }
}

/// `CUgraphNodeParams`: a number of `CUgraphNodeType` and a union of 232 bytes.
#[repr(C)]
pub struct NodeParams {
    kind: u32,
    reserved: [i32; 3],
    body: [u64; 29],
    end: u64,
}

/// `CUDA_MEMCPY_NODE_PARAMS`.
#[repr(C)]
struct CopyParams {
    flags: [i32; 2],
    context: CUcontext,
    copy: Copy3D,
}

/// The work of the union's member that `kind` names.
pub fn any(driver: &'static Driver, context: &Arc<Context>, params: In<NodeParams>) -> Done<Work> {
    let given = params.one()?;
    let body = given.body.as_ptr() as usize;
    let handle = given.body[0] as usize;
    match given.kind {
        0 => In::<KernelNodeParams>::from_address(body).one()?.work(driver, context),
        1 => Ok(Work::Copy(In::<CopyParams>::from_address(body).one()?.copy.resolve(driver)?)),
        2 => In::<FillParams>::from_address(body).one()?.work(),
        3 => In::<HostParams>::from_address(body).one()?.work(),
        4 => child(Handle::new(handle)),
        5 => Ok(Work::Empty),
        6 => wait_event(driver, Handle::new(handle)),
        7 => record_event(driver, Handle::new(handle)),
        10 => {
            let place = Out::<AllocateParams>::from_address(body);
            place.get()?.work(driver, context, place)
        }
        11 => free(driver, given.body[0]),
        8 | 9 | 12 | 13 => Err(CUresult::NOT_SUPPORTED),
        _ => Err(CUresult::INVALID_VALUE),
    }
}
