//! Device management and the primary context. There is one device, ordinal 0.

use super::abi::{In, Out, Text};
use super::entry;
use super::result::{CUresult, Done};
use crate::state::table::lock;
use crate::state::{CUcontext, driver, modes};
use softcuda_engine::Model;
use std::ffi::{c_char, c_int};

pub type CUdevice = c_int;

/// `CUuuid`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Uuid([u8; 16]);

/// Refuses every ordinal but 0.
pub fn check(device: CUdevice) -> Done {
    driver()?;
    if device == 0 { Ok(()) } else { Err(CUresult::INVALID_DEVICE) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGet(device: Out<CUdevice>, ordinal: c_int) -> CUresult {
    entry(|| {
        check(ordinal)?;
        device.set(0)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetCount(count: Out<c_int>) -> CUresult {
    entry(|| {
        driver()?;
        count.set(1)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetName(name: Out<c_char>, length: c_int, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        let room = usize::try_from(length).ok().filter(|n| *n > 0).ok_or(CUresult::INVALID_VALUE)?;
        if name.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        let full = format!("softcuda ({} model)", modes::config().model.name);
        let text = full.bytes().take(room - 1).chain([0]).map(|b| b as c_char);
        name.fill(text, room);
        Ok(())
    })
}

fn uuid(out: Out<Uuid>, device: CUdevice) -> Done {
    check(device)?;
    let mut bytes = *b"softcuda\0\0\0\0\0\0\0\0";
    let (major, minor) = modes::config().model.compute_capability;
    bytes[14] = major as u8;
    bytes[15] = minor as u8;
    out.set(Uuid(bytes))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetUuid(out: Out<Uuid>, device: CUdevice) -> CUresult {
    entry(|| uuid(out, device))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetUuid_v2(out: Out<Uuid>, device: CUdevice) -> CUresult {
    entry(|| uuid(out, device))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        bytes.set(modes::config().model.memory_bytes as usize)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceComputeCapability(major: Out<c_int>, minor: Out<c_int>, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        let (high, low) = modes::config().model.compute_capability;
        major.set(high as c_int)?;
        minor.set(low as c_int)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        value.set(device_attribute(&modes::config().model, attribute).ok_or(CUresult::INVALID_VALUE)?)
    })
}

/// Numbers of attributes after the last one of CUDA 13.0 are unknown.
const LAST_ATTRIBUTE: c_int = 147;

/// An attribute's value by its number in `CUdevice_attribute`; 0 for capabilities that softcuda does not have; `None` for an unknown number.
fn device_attribute(model: &Model, attribute: c_int) -> Option<c_int> {
    let (major, minor) = model.compute_capability;
    #[rustfmt::skip] // One attribute a line.
    let value = match attribute {
        1 => model.max_threads_per_block,         // MAX_THREADS_PER_BLOCK
        2 | 3 => 1024,                            // MAX_BLOCK_DIM_X, _Y
        4 => 64,                                  // MAX_BLOCK_DIM_Z
        5 => 0x7fff_ffff,                         // MAX_GRID_DIM_X
        6 | 7 => 65535,                           // MAX_GRID_DIM_Y, _Z
        8 => model.default_shared_per_block,      // MAX_SHARED_MEMORY_PER_BLOCK
        9 => 65536,                               // TOTAL_CONSTANT_MEMORY
        10 => 32,                                 // WARP_SIZE
        11 => 0x7fff_ffff,                        // MAX_PITCH
        12 => model.regs_per_sm,                  // MAX_REGISTERS_PER_BLOCK
        13 => 1_410_000,                          // CLOCK_RATE in kHz: a number, softcuda has no clock
        14 => 512,                                // TEXTURE_ALIGNMENT
        15 => 1,                                  // GPU_OVERLAP
        16 => model.sm_count,                     // MULTIPROCESSOR_COUNT
        19 => 1,                                  // CAN_MAP_HOST_MEMORY
        30 => 512,                                // SURFACE_ALIGNMENT
        31 => 1,                                  // CONCURRENT_KERNELS
        36 => 1_215_000,                          // MEMORY_CLOCK_RATE in kHz: as 13
        37 => 384,                                // GLOBAL_MEMORY_BUS_WIDTH: as 13
        38 => model.l2_bytes,                     // L2_CACHE_SIZE
        39 => model.max_threads_per_sm,           // MAX_THREADS_PER_MULTIPROCESSOR
        40 => 2,                                  // ASYNC_ENGINE_COUNT
        41 => 1,                                  // UNIFIED_ADDRESSING
        51 => 32,                                 // TEXTURE_PITCH_ALIGNMENT
        75 => major,                              // COMPUTE_CAPABILITY_MAJOR
        76 => minor,                              // COMPUTE_CAPABILITY_MINOR
        78 => 1,                                  // STREAM_PRIORITIES_SUPPORTED
        79 | 80 => 1,                             // GLOBAL_, LOCAL_L1_CACHE_SUPPORTED
        81 => model.max_shared_per_sm,            // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
        82 => model.regs_per_sm,                  // MAX_REGISTERS_PER_MULTIPROCESSOR
        83 => 1,                                  // MANAGED_MEMORY
        87 => if minor == 0 { 2 } else { 64 },    // SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO
        89 | 90 => 1,                             // CONCURRENT_MANAGED_ACCESS, COMPUTE_PREEMPTION_SUPPORTED
        91 => 1,                                  // CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
        95 => 1,                                  // COOPERATIVE_LAUNCH
        97 => model.max_shared_per_block,         // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        99 => 1,                                  // HOST_REGISTER_SUPPORTED
        106 => model.max_blocks_per_sm,           // MAX_BLOCKS_PER_MULTIPROCESSOR
        111 => RESERVED_SHARED,                   // RESERVED_SHARED_MEMORY_PER_BLOCK
        115 => 1,                                 // MEMORY_POOLS_SUPPORTED
        126 => 1,                                 // MEM_SYNC_DOMAIN_COUNT
        _ if (1..=LAST_ATTRIBUTE).contains(&attribute) => 0,
        _ => return None,
    };
    Some(value as c_int)
}

/// Shared bytes that the system takes of every block from compute capability 8.0 on.
pub const RESERVED_SHARED: u32 = 1024;

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRetain(context: Out<CUcontext>, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        if context.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        context.set(driver()?.retain_primary().handle)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        driver()?.release_primary()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxReset_v2(device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        driver()?.reset_primary();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxSetFlags_v2(device: CUdevice, flags: u32) -> CUresult {
    entry(|| {
        check(device)?;
        let mut primary = lock(&driver()?.primary);
        primary.flags = flags;
        if let Some(context) = &primary.context {
            context.flags.store(flags, std::sync::atomic::Ordering::SeqCst);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxGetState(device: CUdevice, flags: Out<u32>, active: Out<c_int>) -> CUresult {
    entry(|| {
        check(device)?;
        let primary = lock(&driver()?.primary);
        flags.set(primary.flags)?;
        active.set((primary.retained > 0).into())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceCanAccessPeer(can: Out<c_int>, device: CUdevice, peer: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        check(peer)?;
        can.set(0)
    })
}

/// There is no second device to be a peer.
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetP2PAttribute(
    _out: Out<c_int>,
    _attribute: u32,
    device: CUdevice,
    peer: CUdevice,
) -> CUresult {
    entry(|| {
        check(device)?;
        check(peer)?;
        Err(CUresult::INVALID_DEVICE)
    })
}

/// Where the device pretends to be.
const BUS_ID: &str = "0000:00:00.0";

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetByPCIBusId(out: Out<CUdevice>, id: Text) -> CUresult {
    entry(|| {
        driver()?;
        let id = id.str()?;
        // Domain and function may be left out.
        let matches = [BUS_ID, "00:00.0", "0000:00:00", "00:00"].contains(&id);
        if matches { out.set(0) } else { Err(CUresult::INVALID_DEVICE) }
    })
}

/// `CUdevprop`, the old form of attributes.
#[repr(C)]
pub struct Properties {
    max_threads_per_block: c_int,
    max_block: [c_int; 3],
    max_grid: [c_int; 3],
    shared_per_block: c_int,
    constant_memory: c_int,
    warp_size: c_int,
    pitch: c_int,
    registers_per_block: c_int,
    clock_rate: c_int,
    texture_alignment: c_int,
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetProperties(out: Out<Properties>, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        let model = modes::config().model;
        let of = |number| device_attribute(&model, number).unwrap_or(0);
        out.set(Properties {
            max_threads_per_block: of(1),
            max_block: [of(2), of(3), of(4)],
            max_grid: [of(5), of(6), of(7)],
            shared_per_block: of(8),
            constant_memory: of(9),
            warp_size: of(10),
            pitch: of(11),
            registers_per_block: of(12),
            clock_rate: of(13),
            texture_alignment: of(14),
        })
    })
}

/// Contexts cannot be bound to a part of the device.
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetExecAffinitySupport(out: Out<c_int>, _kind: u32, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        out.set(0)
    })
}

/// Graphs keep no memory that could be given back.
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGraphMemTrim(device: CUdevice) -> CUresult {
    entry(|| check(device))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetGraphMemAttribute(device: CUdevice, attribute: u32, value: Out<u64>) -> CUresult {
    entry(|| {
        check(device)?;
        if attribute <= 3 { value.set(0) } else { Err(CUresult::INVALID_VALUE) }
    })
}

/// High-water marks (attributes 1 and 3) can be reset.
#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceSetGraphMemAttribute(device: CUdevice, attribute: u32, value: In<u64>) -> CUresult {
    entry(|| {
        check(device)?;
        if matches!(attribute, 1 | 3) && *value.one()? == 0 { Ok(()) } else { Err(CUresult::INVALID_VALUE) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetPCIBusId(out: Out<c_char>, length: c_int, device: CUdevice) -> CUresult {
    entry(|| {
        check(device)?;
        let room = usize::try_from(length).ok().filter(|n| *n > 0).ok_or(CUresult::INVALID_VALUE)?;
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        out.fill(BUS_ID.bytes().take(room - 1).chain([0]).map(|b| b as c_char), room);
        Ok(())
    })
}
