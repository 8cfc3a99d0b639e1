//! What all blocks of a launch have in common, and the special registers that follow from it (PTX ISA 10).

use super::code::Code;
use crate::config::{Checks, Numerics, Schedule};
use std::sync::Arc;

/// Constants of a launch.
pub struct LaunchInfo {
    /// The kernel.
    pub code: Arc<Code>,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Dynamic shared bytes.
    pub dynamic_shared: u32,
    /// Static and dynamic shared bytes.
    pub shared_bytes: u32,
    /// Multiprocessors.
    pub sm_count: u32,
    /// Warps that fit one.
    pub warps_per_sm: u32,
    /// Address of the words that a cooperative launch synchronises its grid by; 0 in other launches.
    pub workspace: u64,
    /// Number of the launch on its device.
    pub serial: u64,
    /// Numerics.
    pub numerics: Numerics,
    /// Seed of everything random.
    pub seed: u64,
    /// Schedule.
    pub schedule: Schedule,
    /// Checks.
    pub checks: Checks,
    /// `checks.init`, looked at by every load.
    pub init: bool,
    /// Count instructions.
    pub count: bool,
}

impl LaunchInfo {
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Blocks of the grid.
    pub fn blocks(&self) -> u64 {
        self.grid.iter().map(|&g| u64::from(g)).product()
    }

    /// Coordinates of a block.
    pub fn coordinates(&self, number: u64) -> [u32; 3] {
        let (x, y) = (u64::from(self.grid[0]), u64::from(self.grid[1]));
        [(number % x) as u32, (number / x % y) as u32, (number / (x * y)) as u32]
    }
}

/// A special register whose value does not change while a block runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are the ISA's.
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    TotalSharedSize,
    DynamicSharedSize,
    /// `%envreg0` to `%envreg2`: the upper and lower half of the workspace's address are the second and the third.
    Env(u8),
    Zero,
    One,
}

#[rustfmt::skip] // One register a line.
const NAMES: [(&str, Special); 43] = [
    ("%tid.x", Special::Tid(0)), ("%tid.y", Special::Tid(1)), ("%tid.z", Special::Tid(2)),
    ("%ntid.x", Special::Ntid(0)), ("%ntid.y", Special::Ntid(1)), ("%ntid.z", Special::Ntid(2)),
    ("%ctaid.x", Special::Ctaid(0)), ("%ctaid.y", Special::Ctaid(1)), ("%ctaid.z", Special::Ctaid(2)),
    ("%nctaid.x", Special::Nctaid(0)), ("%nctaid.y", Special::Nctaid(1)), ("%nctaid.z", Special::Nctaid(2)),
    ("%laneid", Special::LaneId),
    ("%warpid", Special::WarpId),
    ("%nwarpid", Special::NWarpId),
    ("%smid", Special::SmId),
    ("%nsmid", Special::NSmId),
    ("%gridid", Special::GridId),
    ("%lanemask_eq", Special::LanemaskEq),
    ("%lanemask_le", Special::LanemaskLe),
    ("%lanemask_lt", Special::LanemaskLt),
    ("%lanemask_ge", Special::LanemaskGe),
    ("%lanemask_gt", Special::LanemaskGt),
    ("%total_smem_size", Special::TotalSharedSize),
    ("%aggr_smem_size", Special::TotalSharedSize),
    ("%dynamic_smem_size", Special::DynamicSharedSize),
    ("%envreg0", Special::Env(0)), ("%envreg1", Special::Env(1)), ("%envreg2", Special::Env(2)),
    // A launch without clusters: one block a cluster.
    ("%cluster_ctaid.x", Special::Zero), ("%cluster_ctaid.y", Special::Zero), ("%cluster_ctaid.z", Special::Zero),
    ("%cluster_nctaid.x", Special::One), ("%cluster_nctaid.y", Special::One), ("%cluster_nctaid.z", Special::One),
    ("%cluster_ctarank", Special::Zero), ("%cluster_nctarank", Special::One),
    ("%clusterid.x", Special::Ctaid(0)), ("%clusterid.y", Special::Ctaid(1)), ("%clusterid.z", Special::Ctaid(2)),
    ("%nclusterid.x", Special::Nctaid(0)), ("%nclusterid.y", Special::Nctaid(1)), ("%nclusterid.z", Special::Nctaid(2)),
];

/// The special register of this name.
pub fn special(name: &str) -> Option<Special> {
    NAMES.iter().find(|n| n.0 == name).map(|n| n.1)
}

impl Special {
    /// Its value for each lane of a warp.
    pub fn value(self, launch: &LaunchInfo, block: u64, warp: u32) -> [u64; 32] {
        let [nx, ny, _] = launch.block;
        let same = |v: u32| [u64::from(v); 32];
        let lanes = |f: &dyn Fn(u32) -> u32| std::array::from_fn(|l| u64::from(f(l as u32)));
        match self {
            Special::Tid(axis) => lanes(&|l| {
                let t = warp * 32 + l;
                [t % nx, t / nx % ny, t / (nx * ny)][usize::from(axis)]
            }),
            Special::Ntid(axis) => same(launch.block[usize::from(axis)]),
            Special::Ctaid(axis) => same(launch.coordinates(block)[usize::from(axis)]),
            Special::Nctaid(axis) => same(launch.grid[usize::from(axis)]),
            Special::LaneId => lanes(&|l| l),
            Special::WarpId => same(warp),
            Special::NWarpId => same(launch.warps_per_sm),
            Special::SmId => same((block % u64::from(launch.sm_count)) as u32),
            Special::NSmId => same(launch.sm_count),
            Special::GridId => [launch.serial; 32],
            Special::LanemaskEq => lanes(&|l| 1 << l),
            Special::LanemaskLt => lanes(&|l| (1 << l) - 1),
            Special::LanemaskLe => lanes(&|l| (1 << l) - 1 | 1 << l),
            Special::LanemaskGe => lanes(&|l| !((1 << l) - 1)),
            Special::LanemaskGt => lanes(&|l| !((1 << l) - 1 | 1 << l)),
            Special::TotalSharedSize => same(launch.shared_bytes),
            Special::DynamicSharedSize => same(launch.dynamic_shared),
            Special::Env(1) => same((launch.workspace >> 32) as u32),
            Special::Env(2) => same(launch.workspace as u32),
            Special::Env(_) | Special::Zero => same(0),
            Special::One => same(1),
        }
    }
}
