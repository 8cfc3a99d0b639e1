//! What can be wrong with a kernel's accesses, and the detectors that notice it. Detectors never print; `report/` does.
//!
//! | detector | where | switched by | finds |
//! |---|---|---|---|
//! | addresses | `memory/global.rs`, `access.rs` | always on | out of bounds, freed, misaligned, wrong state space, read only |
//! | unfinished copies | `memory/shared.rs` | `memory` or `race` | access to bytes of a `cp.async` that was not waited for |
//! | [`InitMap`] | `init.rs`, `memory/param.rs` | `init` | bytes that nobody wrote, handed to the registers with the load that brought them |
//! | unwritten registers | `exec/taint.rs` | `init` | a use of such bytes or of a register that no instruction wrote |
//! | shared races | `shared_race.rs` | `race` | two threads of a block, one byte, no order |
//! | global races | `global_race.rs` | `race` | two blocks of a launch, one byte, no order |
//!
//! The order of checks of one access is that of the table, so that a wild address is reported as such and not as a race with whoever owns
//! the bytes. `order.rs` holds the hooks by which the interpreter tells of barriers, warp synchronisation and fences. Each detector's file
//! opens with its definition, its method, and what it can miss.

mod global_race;
mod init;
mod order;
mod shared_race;

pub(crate) use global_race::{BlockActor, GlobalRace, Held, Knowledge, RECORDS};
pub use init::InitMap;
pub(crate) use shared_race::{Actor, Earlier, SharedRace};
