//! What went wrong, and whose fault it is. Detectors build a [`Fault`]; a launch completes it to a [`Report`]; only `render` prints.

mod render;
mod violation;

pub use violation::{AccessKind, Blame, Brought, Detail, Fault, FaultKind, Party, Place, Report, Site, Used};
