//! Memory of one launch: the device's global memory, borrowed, and what each block has of its own.

use super::async_copy::AsyncQueue;
use super::local::LocalMemory;
use super::shared::SharedMemory;
use super::space::GlobalSpace;
use crate::config::Checks;

/// What memory has to know about a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchShape {
    /// Threads of a block.
    pub threads: u32,
    /// Static and dynamic shared bytes of a block.
    pub shared_bytes: u32,
    /// Local bytes of a thread.
    pub local_bytes: u32,
    /// Instructions of the kernel; every [`super::Site`] has a smaller `pc`.
    pub instructions: usize,
    /// What to look for.
    pub checks: Checks,
    /// Whether to count.
    pub count: bool,
}

/// Memory of one launch, shared by its workers. It borrows the device's memory exclusively: no host copy happens meanwhile.
pub struct LaunchMemory<'d> {
    space: &'d GlobalSpace,
    params: &'d [u8],
    shape: LaunchShape,
}

impl<'d> LaunchMemory<'d> {
    /// Memory for a launch with these parameter bytes.
    pub fn new(space: &'d mut GlobalSpace, params: &'d [u8], shape: LaunchShape) -> LaunchMemory<'d> {
        LaunchMemory { space, params, shape }
    }

    /// The device's memory.
    pub fn space(&self) -> &GlobalSpace {
        self.space
    }

    /// The parameter block.
    pub fn params(&self) -> &[u8] {
        self.params
    }

    /// What was asked for.
    pub fn shape(&self) -> &LaunchShape {
        &self.shape
    }

    /// Fresh memory for the block with this linear number.
    pub fn block(&self, number: u64) -> Box<BlockMemory> {
        Box::new(BlockMemory {
            number,
            shared: SharedMemory::new(self.shape.shared_bytes as usize),
            local: LocalMemory::new(self.shape.threads as usize, self.shape.local_bytes as usize),
            copies: Vec::new(),
        })
    }
}

/// Shared and local memory of one block.
pub struct BlockMemory {
    /// Linear number of the block in its grid.
    pub number: u64,
    pub(crate) shared: SharedMemory,
    pub(crate) local: LocalMemory,
    /// By warp; empty until a warp copies.
    copies: Vec<AsyncQueue>,
}

impl BlockMemory {
    pub(crate) fn empty() -> BlockMemory {
        BlockMemory { number: 0, shared: SharedMemory::new(0), local: LocalMemory::new(0, 0), copies: Vec::new() }
    }

    pub(crate) fn queue(&mut self, warp: u32) -> &mut AsyncQueue {
        if self.copies.len() <= warp as usize {
            self.copies.resize_with(warp as usize + 1, AsyncQueue::default);
        }
        &mut self.copies[warp as usize]
    }
}
