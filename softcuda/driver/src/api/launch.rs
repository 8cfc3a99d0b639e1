//! Launching kernels. What can be checked before the kernel runs is checked here and returned at once; what the kernel does wrong is a
//! sticky error of the context, seen by the next call.

use super::abi::{Host, In};
use super::function::find;
use super::in_context;
use super::occupancy::resident_blocks;
use super::result::{CUresult, Done};
use crate::state::module::Function;
use crate::state::work::{KernelWork, Work};
use crate::state::{CUfunction, CUstream, modes};
use softcuda_engine::Model;
use std::ffi::c_void;
use std::sync::Arc;

/// Shape of a launch.
#[derive(Clone, Copy)]
pub struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub cooperative: bool,
}

/// Largest grid and block in x, y, z, of every compute capability modelled.
const MAX_GRID: [u32; 3] = [0x7fff_ffff, 65535, 65535];
const MAX_BLOCK: [u32; 3] = [1024, 1024, 64];

/// Checks a launch against the model and the function.
pub fn check(function: &Function, model: &Model, shape: &Shape) -> Done {
    let refuse =
        |why: String| Err(modes::explain(CUresult::INVALID_VALUE, format!("{}: {why}", function.kernel().name)));
    for (what, size, most) in [("grid", shape.grid, MAX_GRID), ("block", shape.block, MAX_BLOCK)] {
        if size.iter().zip(most).any(|(n, most)| *n == 0 || *n > most) {
            return refuse(format!("{what} {size:?} is not within 1..={most:?}"));
        }
    }
    let threads: u64 = shape.block.iter().map(|n| u64::from(*n)).product();
    let most = function.max_threads(model);
    if threads > u64::from(most) {
        return refuse(format!("{threads} threads a block, the kernel allows {most}"));
    }
    if let Some(required) = function.kernel().required_block
        && required != shape.block
    {
        return refuse(format!("block {:?}, the kernel requires {required:?}", shape.block));
    }
    if function.check_shared(shape.dynamic_shared, model).is_err() {
        let granted = function.max_dynamic_shared.load(std::sync::atomic::Ordering::Relaxed);
        return refuse(format!("{} dynamic shared bytes, granted are {granted}", shape.dynamic_shared));
    }
    if shape.cooperative {
        let blocks: u64 = shape.grid.iter().map(|n| u64::from(*n)).product();
        let each = resident_blocks(function, model, threads as u32, shape.dynamic_shared.into());
        if blocks > u64::from(each) * u64::from(model.sm_count) {
            return Err(CUresult::COOPERATIVE_LAUNCH_TOO_LARGE);
        }
    }
    Ok(())
}

/// Keys of the `extra` list.
const BUFFER_END: usize = 0;
const BUFFER_POINTER: usize = 1;
const BUFFER_SIZE: usize = 2;

/// The parameter block: every parameter copied from where `params` points, or the whole of it from `extra`.
pub fn parameters(function: &Function, params: In<Host>, extra: In<usize>) -> Done<Vec<u8>> {
    let kernel = function.kernel();
    let mut block = vec![0; kernel.param_bytes as usize];
    if !params.is_null() && !extra.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    if !extra.is_null() {
        let (mut pointer, mut size) = (0, 0);
        for i in 0.. {
            let pair = extra.slice(2 * i + 2).or_else(|_| extra.slice(2 * i + 1))?;
            match pair[2 * i] {
                BUFFER_END => break,
                BUFFER_POINTER => pointer = pair[2 * i + 1],
                BUFFER_SIZE => size = *In::<usize>::from_address(pair[2 * i + 1]).one()?,
                _ => return Err(CUresult::INVALID_VALUE),
            }
        }
        if size < block.len() || pointer == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        block.copy_from_slice(Host(pointer as *mut c_void).bytes(kernel.param_bytes as usize));
        return Ok(block);
    }
    for (param, place) in kernel.params.iter().zip(params.slice(kernel.params.len())?) {
        if place.0.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        let start = param.offset as usize;
        block[start..start + param.size as usize].copy_from_slice(place.bytes(param.size as usize));
    }
    Ok(block)
}

/// A launch with everything checked and copied.
pub fn prepare(
    function: Arc<Function>,
    model: &Model,
    shape: Shape,
    params: In<Host>,
    extra: In<usize>,
) -> Done<KernelWork> {
    check(&function, model, &shape)?;
    let params = parameters(&function, params, extra)?;
    Ok(KernelWork::new(function, shape, params))
}

fn launch(handle: CUfunction, shape: Shape, stream: CUstream, params: In<Host>, extra: In<usize>) -> CUresult {
    in_context(|driver, context| {
        let function = find(driver, context, handle)?;
        let stream = context.stream(driver, stream)?;
        let work = prepare(function, &driver.model(), shape, params, extra)?;
        driver.submit(context, &stream, Work::Kernel(work))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchKernel(
    function: CUfunction,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic_shared: u32,
    stream: CUstream,
    params: In<Host>,
    extra: In<usize>,
) -> CUresult {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    launch(function, Shape { grid, block, dynamic_shared, cooperative: false }, stream, params, extra)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchCooperativeKernel(
    function: CUfunction,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic_shared: u32,
    stream: CUstream,
    params: In<Host>,
) -> CUresult {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    launch(function, Shape { grid, block, dynamic_shared, cooperative: true }, stream, params, In::null())
}

/// `CUlaunchConfig`.
#[repr(C)]
pub struct LaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
    stream: CUstream,
    attributes: In<Attribute>,
    count: u32,
}

impl LaunchConfig {
    /// Blocks of this shape that one multiprocessor holds.
    pub fn resident_blocks(&self, function: &Function, model: &Model) -> u32 {
        let threads = self.block.iter().try_fold(1u32, |all, n| all.checked_mul(*n)).unwrap_or(u32::MAX);
        resident_blocks(function, model, threads, self.dynamic_shared.into())
    }

    /// Blocks of a cluster that the attributes ask for.
    pub fn cluster(&self) -> Done<u64> {
        let attributes = self.attributes.slice(self.count as usize)?;
        let cluster = attributes.iter().find(|a| a.number == CLUSTER);
        Ok(cluster.map_or(1, |a| a.value[..3].iter().map(|n| u64::from(*n)).fold(1, u64::saturating_mul)))
    }
}

/// `CUlaunchAttribute`: a number of `CUlaunchAttributeID` and a union of 64 bytes.
#[repr(C)]
struct Attribute {
    number: u32,
    pad: [u8; 4],
    value: AttributeValue,
}

/// `CUlaunchAttributeValue`.
pub type AttributeValue = [u32; 16];

pub const COOPERATIVE: u32 = 2;
pub const CLUSTER: u32 = 4;
/// Hints of placement, order and priority that change no result: ignored ones, access policy, synchronisation policy, cluster scheduling,
/// programmatic serialisation (a grid that starts early must wait by itself), priority, memory domains, shared carve-out.
pub const HINTS: [u32; 10] = [0, 1, 3, 5, 6, 8, 9, 10, 11, 14];

/// What an attribute does to a launch.
pub fn set_attribute(shape: &mut Shape, model: &Model, number: u32, value: &AttributeValue) -> Done {
    match number {
        COOPERATIVE => shape.cooperative = value[0] != 0,
        CLUSTER if value[..3] == [1, 1, 1] => {}
        CLUSTER if model.compute_capability.0 < 9 => return Err(CUresult::INVALID_CLUSTER_SIZE),
        number if HINTS.contains(&number) => {}
        _ => return Err(CUresult::NOT_SUPPORTED),
    }
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchKernelEx(
    config: In<LaunchConfig>,
    function: CUfunction,
    params: In<Host>,
    extra: In<usize>,
) -> CUresult {
    in_context(|driver, context| {
        let config = config.one()?;
        let function = find(driver, context, function)?;
        let stream = context.stream(driver, config.stream)?;
        let mut shape =
            Shape { grid: config.grid, block: config.block, dynamic_shared: config.dynamic_shared, cooperative: false };
        for attribute in config.attributes.slice(config.count as usize)? {
            set_attribute(&mut shape, &driver.model(), attribute.number, &attribute.value)?;
        }
        let work = prepare(function, &driver.model(), shape, params, extra)?;
        driver.submit(context, &stream, Work::Kernel(work))
    })
}
