//! Occupancy: how many blocks fit on a multiprocessor. CUDA C++ Programming Guide, "Occupancy Calculator", with the limits of the model:
//! blocks, threads (by whole warps), shared memory (in units of 128 bytes, 1 KiB more for the system per block), and registers if
//! `SOFTCUDA_PTXAS` names who knows them (in units of 256 a warp).

use super::abi::{In, Out};
use super::device::RESERVED_SHARED;
use super::function::find;
use super::in_context;
use super::launch::LaunchConfig;
use super::result::CUresult;
use crate::state::module::Function;
use crate::state::{CUfunction, ptxas};
use softcuda_engine::Model;
use std::ffi::c_int;
use std::sync::Arc;

const SHARED_UNIT: u32 = 128;
const REGISTER_UNIT: u32 = 256;

/// Resident blocks of one multiprocessor; 0 when one block is too much.
pub fn resident_blocks(function: &Function, model: &Model, threads: u32, dynamic_shared: u64) -> u32 {
    let shared = u64::from(function.kernel().static_shared) + dynamic_shared;
    if threads == 0 || threads > function.max_threads(model) || shared > u64::from(model.max_shared_per_block) {
        return 0;
    }
    let warps = threads.div_ceil(32);
    let taken = (shared as u32 + RESERVED_SHARED).next_multiple_of(SHARED_UNIT);
    let registers = (ptxas::registers_if_named(function, model) * 32).next_multiple_of(REGISTER_UNIT) * warps;
    let by_registers = model.regs_per_sm.checked_div(registers).unwrap_or(u32::MAX);
    let by_threads = model.max_threads_per_sm / 32 / warps;
    model.max_blocks_per_sm.min(by_threads).min(model.max_shared_per_sm / taken).min(by_registers)
}

fn max_active(out: Out<c_int>, handle: CUfunction, threads: c_int, dynamic_shared: usize) -> CUresult {
    in_context(|driver, context| {
        let function = find(driver, context, handle)?;
        let model = driver.model();
        let threads = u32::try_from(threads).map_err(|_| CUresult::INVALID_VALUE)?;
        if threads == 0 || threads > model.max_threads_per_block {
            return Err(CUresult::INVALID_VALUE);
        }
        out.set(resident_blocks(&function, &model, threads, dynamic_shared as u64) as c_int)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    out: Out<c_int>,
    function: CUfunction,
    threads: c_int,
    dynamic_shared: usize,
) -> CUresult {
    max_active(out, function, threads, dynamic_shared)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    out: Out<c_int>,
    function: CUfunction,
    threads: c_int,
    dynamic_shared: usize,
    flags: u32,
) -> CUresult {
    if flags > 1 { CUresult::INVALID_VALUE } else { max_active(out, function, threads, dynamic_shared) }
}

/// `CUoccupancyB2DSize`: dynamic shared bytes of a block of that many threads.
type SharedOf = Option<unsafe extern "C" fn(c_int) -> usize>;

/// The block size with the most resident threads, the larger one of equals, and the blocks that then fill the device.
fn potential(
    grid: Out<c_int>,
    block: Out<c_int>,
    handle: CUfunction,
    shared_of: SharedOf,
    dynamic_shared: usize,
    limit: c_int,
) -> CUresult {
    in_context(|driver, context| {
        let function = find(driver, context, handle)?;
        let model = driver.model();
        let shared = |threads: u32| match shared_of {
            // SAFETY: the caller promises a callable function of this type.
            Some(f) => unsafe { f(threads as c_int) as u64 },
            None => dynamic_shared as u64,
        };
        let most = function.max_threads(&model);
        let most = if limit > 0 { most.min(limit as u32) } else { most };
        let (mut best, mut best_blocks) = (0, 0);
        for threads in (32..=most).step_by(32).chain((most % 32 != 0).then_some(most)) {
            let blocks = resident_blocks(&function, &model, threads, shared(threads));
            if blocks > 0 && blocks * threads >= best_blocks * best {
                (best, best_blocks) = (threads, blocks);
            }
        }
        grid.set((best_blocks * model.sm_count) as c_int)?;
        block.set(best as c_int)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxPotentialBlockSize(
    grid: Out<c_int>,
    block: Out<c_int>,
    function: CUfunction,
    shared_of: SharedOf,
    dynamic_shared: usize,
    limit: c_int,
) -> CUresult {
    potential(grid, block, function, shared_of, dynamic_shared, limit)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    grid: Out<c_int>,
    block: Out<c_int>,
    function: CUfunction,
    shared_of: SharedOf,
    dynamic_shared: usize,
    limit: c_int,
    flags: u32,
) -> CUresult {
    if flags > 1 {
        return CUresult::INVALID_VALUE;
    }
    potential(grid, block, function, shared_of, dynamic_shared, limit)
}

/// The most dynamic shared bytes with which `blocks` blocks of `threads` threads fit on a multiprocessor.
#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    out: Out<usize>,
    handle: CUfunction,
    blocks: c_int,
    threads: c_int,
) -> CUresult {
    in_context(|driver, context| {
        let function: Arc<Function> = find(driver, context, handle)?;
        let model = driver.model();
        let (Ok(blocks), Ok(threads)) = (u32::try_from(blocks), u32::try_from(threads)) else {
            return Err(CUresult::INVALID_VALUE);
        };
        if blocks == 0 || resident_blocks(&function, &model, threads, 0) < blocks {
            return Err(CUresult::INVALID_VALUE);
        }
        let each = model.max_shared_per_sm / blocks / SHARED_UNIT * SHARED_UNIT;
        let all = each.saturating_sub(RESERVED_SHARED).min(model.max_shared_per_block);
        out.set(all.saturating_sub(function.kernel().static_shared) as usize)
    })
}

/// Clusters exist from compute capability 9.0 on; softcuda runs those of one block.
#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxActiveClusters(
    out: Out<c_int>,
    handle: CUfunction,
    config: In<LaunchConfig>,
) -> CUresult {
    in_context(|driver, context| {
        let function = find(driver, context, handle)?;
        let (model, config) = (driver.model(), config.one()?);
        if model.compute_capability.0 < 9 {
            return Err(CUresult::INVALID_CLUSTER_SIZE);
        }
        let fit = if config.cluster()? == 1 { config.resident_blocks(&function, &model) * model.sm_count } else { 0 };
        out.set(fit as c_int)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuOccupancyMaxPotentialClusterSize(
    out: Out<c_int>,
    handle: CUfunction,
    config: In<LaunchConfig>,
) -> CUresult {
    in_context(|driver, context| {
        let function = find(driver, context, handle)?;
        let (model, config) = (driver.model(), config.one()?);
        if model.compute_capability.0 < 9 {
            return Err(CUresult::INVALID_CLUSTER_SIZE);
        }
        out.set(config.resident_blocks(&function, &model).min(1) as c_int)
    })
}
