//! Running decoded kernels: warps of 32 lanes, blocks that can be suspended, grids over worker threads.

mod block;
mod call;
pub mod code;
mod ctx;
mod grid;
pub mod host;
mod inst;
mod launch;
pub mod lift;
mod printf;
mod random;
pub mod regs;
pub mod shadow;
pub mod sync;
pub mod taint;
mod tiers;
mod warp;

pub use ctx::Ctx;
pub use grid::{Limits, run};
pub use inst::{ABSENT, Exec, Flow, Inst, Mem, Tiers};
pub use launch::{LaunchInfo, special};
pub(crate) use lift::{by_int, by_width, exec, lane1, lane2, lane3};
pub use taint::Taint;
pub use tiers::choose;
