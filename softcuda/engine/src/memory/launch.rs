//! Memory of one launch: the device's global memory, borrowed, and what each block has of its own.

use super::async_copy::AsyncQueue;
use super::late::LateStores;
use super::local::LocalMemory;
use super::shared::SharedMemory;
use super::space::GlobalSpace;
use crate::check::{GlobalRace, Knowledge};
use crate::config::Checks;
use crate::count::Touched;
use crate::report::{AccessKind, Site};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What memory has to know about a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchShape {
    /// Threads of a block.
    pub threads: u32,
    /// Static and dynamic shared bytes of a block.
    pub shared_bytes: u32,
    /// Local bytes of a thread.
    pub local_bytes: u32,
    /// Bytes of the parameter block that belong to no parameter: offset and length.
    pub padding: Vec<(u32, u32)>,
    /// Instructions of the kernel; every [`super::Site`] has a smaller `pc`.
    pub instructions: usize,
    /// What to look for.
    pub checks: Checks,
    /// Whether to count.
    pub count: bool,
    /// Whether weak stores become visible to other blocks late.
    pub late_stores: bool,
}

/// Memory of one launch, shared by its workers. It borrows the device's memory exclusively: no host copy happens meanwhile.
pub struct LaunchMemory<'d> {
    space: &'d GlobalSpace,
    params: &'d [u8],
    shape: LaunchShape,
    /// Sectors read and written, for each allocation of the table; empty when nothing is counted.
    touched: Vec<[Touched; 2]>,
    /// Who wrote what in this launch, when races are looked for.
    pub(crate) race: Option<GlobalRace>,
    /// Line of each instruction that was seen to access memory, for reports.
    lines: Vec<AtomicU32>,
}

impl<'d> LaunchMemory<'d> {
    /// Memory for a launch with these parameter bytes.
    pub fn new(space: &'d mut GlobalSpace, params: &'d [u8], shape: LaunchShape) -> LaunchMemory<'d> {
        space.refresh();
        let space = &*space;
        let touched = if shape.count { space.table().iter().map(|_| Default::default()).collect() } else { Vec::new() };
        let lines = (0..shape.instructions).map(|_| AtomicU32::new(0)).collect();
        let race = (shape.checks.race && !shape.late_stores).then(|| GlobalRace::new(space.table().len()));
        LaunchMemory { space, params, shape, touched, race, lines }
    }

    /// The sectors that accesses of this kind touched in an allocation, and how many it has.
    #[inline(always)]
    pub(crate) fn touched(&self, index: usize, kind: AccessKind) -> (&Touched, usize) {
        let allocation = &self.space.table()[index];
        let sectors = (allocation.size() / 32 + 2) as usize;
        (&self.touched[index][usize::from(kind != AccessKind::Load)], sectors)
    }

    /// Distinct sectors of global memory that the launch read, and that it wrote.
    pub fn distinct_sectors(&self) -> (u64, u64) {
        let sum = |i: usize| self.touched.iter().map(|t| t[i].count()).sum();
        (sum(0), sum(1))
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
        let threads = self.shape.threads as usize;
        Box::new(BlockMemory {
            number,
            shared: SharedMemory::new(self.shape.shared_bytes as usize, threads, self.shape.checks.race),
            local: LocalMemory::new(threads, self.shape.local_bytes as usize),
            copies: Vec::new(),
            fences: 0,
            knows: Knowledge::default(),
            late: None,
        })
    }

    /// A finished block's memory made fresh for the next block of the same launch.
    pub fn renew(&self, mut used: Box<BlockMemory>, number: u64) -> Box<BlockMemory> {
        used.number = number;
        used.shared.renew();
        used.local.renew();
        used.copies.clear();
        used.fences = 0;
        used.knows = Knowledge::default();
        used.late = None;
        used
    }

    /// Remembers the line of an instruction, for reports that name it later.
    #[inline(always)]
    pub(crate) fn remember_line(&self, site: Site) {
        self.lines[site.pc as usize].store(site.line, Relaxed);
    }

    /// The site of an instruction that accessed memory before.
    pub(crate) fn site(&self, pc: u32) -> Site {
        Site { pc, line: self.lines.get(pc as usize).map_or(0, |l| l.load(Relaxed)) }
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
    /// Fences of device scope that the block executed.
    pub(crate) fences: u32,
    /// What the block knows of the others.
    pub(crate) knows: Knowledge,
    /// Stores that the other blocks do not see yet.
    pub late: Option<LateStores>,
}

impl BlockMemory {
    pub(crate) fn empty() -> BlockMemory {
        let shared = SharedMemory::new(0, 0, false);
        BlockMemory {
            number: 0,
            shared,
            local: LocalMemory::new(0, 0),
            copies: Vec::new(),
            fences: 0,
            knows: Knowledge::default(),
            late: None,
        }
    }

    /// The unfinished copy that covers one of these shared bytes: its instruction and thread.
    pub(crate) fn copy_at(&self, offset: usize, size: usize) -> Option<(Site, u32)> {
        self.copies.iter().enumerate().find_map(|(warp, queue)| {
            let (site, lane) = queue.find(offset as u64, size as u64)?;
            Some((site, warp as u32 * 32 + lane))
        })
    }

    pub(crate) fn queue(&mut self, warp: u32) -> &mut AsyncQueue {
        if self.copies.len() <= warp as usize {
            self.copies.resize_with(warp as usize + 1, AsyncQueue::default);
        }
        &mut self.copies[warp as usize]
    }
}
