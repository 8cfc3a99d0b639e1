//! Counters of one launch. Counts, never times.
//!
//! | file | holds |
//! |---|---|
//! | `counts.rs` | counts by instruction, filled while a kernel runs |
//! | `stats.rs`, `class.rs` | their sums by launch, class and PTX line |
//! | `table.rs` | these as text |
//! | `sectors.rs`, `banks.rs`, `footprint.rs` | what a request moves |

mod banks;
mod class;
mod counts;
mod footprint;
mod sectors;
mod stats;
mod table;

pub use banks::Banks;
pub use class::Class;
pub use counts::{Counts, SiteCounts, Traffic};
pub use footprint::Touched;
pub use sectors::{Sectors, local_sectors};
pub use stats::{LaunchStats, LineStats};
pub use table::grouped;
