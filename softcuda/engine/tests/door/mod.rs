//! A door without an interpreter, for tests of memory, checks and counters.
#![allow(dead_code)] // Each test binary uses a part of it.

use softcuda_engine::Checks;
use softcuda_engine::memory::{Access, Door, GlobalSpace, LaunchMemory, LaunchShape, Order, Space};
use softcuda_engine::report::Site;

/// An empty device of 1 GiB.
pub fn space() -> GlobalSpace {
    GlobalSpace::new(1 << 30)
}

/// Runs `f` with the doors of blocks 0 and 1 of a launch of 128 threads a block, 4096 shared and 64 local bytes.
pub fn with_doors<R>(
    space: &mut GlobalSpace,
    checks: Checks,
    f: impl FnOnce(&LaunchMemory, &mut Door, &mut Door) -> R,
) -> R {
    let shape = LaunchShape {
        threads: 128,
        shared_bytes: 4096,
        local_bytes: 64,
        padding: Vec::new(),
        instructions: 64,
        checks,
        count: true,
        late_stores: false,
    };
    let launch = LaunchMemory::new(space, &[1, 2, 3, 4, 5, 6, 7, 8], shape);
    let (mut a, mut b) = (Door::new(&launch), Door::new(&launch));
    a.swap_block(launch.block(0));
    b.swap_block(launch.block(1));
    f(&launch, &mut a, &mut b)
}

/// Runs `f` with the door of block 0.
pub fn with_door<R>(space: &mut GlobalSpace, checks: Checks, f: impl FnOnce(&mut Door) -> R) -> R {
    with_doors(space, checks, |_, door, _| f(door))
}

/// A weak access by warp 0 at pc 1, line 10.
pub fn access(space: Space, size: u32, mask: u32) -> Access {
    Access::weak(Site { pc: 1, line: 10 }, 0, mask, space, size)
}

/// The same by another warp and instruction; its line is ten times its pc.
pub fn by(warp: u32, pc: u32, access: Access) -> Access {
    Access { warp, site: Site { pc, line: 10 * pc }, ..access }
}

/// The same with an order.
pub fn ordered(order: Order, access: Access) -> Access {
    Access { order, ..access }
}

/// An address for each lane.
pub fn lanes(f: impl Fn(u64) -> u64) -> [u64; 32] {
    std::array::from_fn(|l| f(l as u64))
}
