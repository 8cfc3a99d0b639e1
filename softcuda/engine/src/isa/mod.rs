//! The instructions: one row each, in the notation of the manual. What the rest of the engine knows of an instruction it takes from here.

mod atom;
mod cluster;
mod cmp;
mod control;
mod cvt;
mod float;
mod half;
mod int;
mod logic;
mod matrix;
mod mbarrier;
mod mem;
mod misc;
mod mods;
mod mov;
mod refused;
mod row;
mod special;
mod stack;
mod sync;
mod video;
mod warp;
mod wmma;

pub use control::indirect_call;
pub use mem::{count as vector_count, nothing};
pub use misc::clock;
pub use mov::{frame_address, pack, unpack};
pub use refused::{REFUSED, refused};
pub use row::{Mods, OperandTy, Result, Role, Row};

use std::collections::HashMap;
use std::sync::LazyLock;

/// Every row, in manual order within its chapter.
pub static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    [
        int::rows(),
        float::rows(),
        special::rows(),
        half::rows(),
        cmp::rows(),
        logic::rows(),
        mov::rows(),
        mem::rows(),
        cvt::rows(),
        control::rows(),
        sync::rows(),
        cluster::rows(),
        mbarrier::rows(),
        atom::rows(),
        warp::rows(),
        wmma::rows(),
        matrix::rows(),
        stack::rows(),
        video::rows(),
        misc::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
});

static BY_NAME: LazyLock<HashMap<&'static str, Vec<&'static Row>>> = LazyLock::new(|| {
    let mut map: HashMap<_, Vec<_>> = HashMap::new();
    for row in ROWS.iter() {
        map.entry(row.name).or_default().push(row);
    }
    map
});

/// The rows that have this spelling, each with its modifiers.
pub fn lookup(op: &str) -> Vec<(&'static Row, Mods)> {
    let mut parts = op.split('.');
    let name = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    let rows = BY_NAME.get(name).map(Vec::as_slice).unwrap_or_default();
    rows.iter().filter_map(|row| Some((*row, row.matches(&parts)?))).collect()
}

/// The rows of a mnemonic, for an error that says what is known.
pub fn rows_named(op: &str) -> impl Iterator<Item = &'static Row> {
    let name = op.split('.').next().unwrap_or_default();
    BY_NAME.get(name).into_iter().flatten().copied()
}
