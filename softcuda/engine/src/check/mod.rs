//! What can be wrong with a kernel, and the detectors that notice it. Detectors never print; `report/` does.

mod global_race;
mod init;
mod order;
mod shared_race;

pub(crate) use global_race::{BlockActor, GlobalRace, Knowledge};
pub use init::InitMap;
pub(crate) use shared_race::{Actor, Earlier, SharedRace};
