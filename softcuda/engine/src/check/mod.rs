//! What can be wrong with a kernel, and the detectors that notice it. Detectors never print; `report/` does.

mod init;
mod order;

pub use init::InitMap;
