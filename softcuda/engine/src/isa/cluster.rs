//! Clusters of thread blocks (PTX ISA 9.7.9.23, 9.7.9.24, 9.7.13.3). Every cluster has one block: its shared memory is the cluster's, and every
//! rank is 0.

use super::row::{Mods, Row, row};
use crate::count::Class::{Misc, Sync};
use crate::exec::sync::{Arrival, CLUSTER};
use crate::exec::{Exec, exec};
use crate::memory::lanes;
use crate::report::FaultKind;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("mapa{.shared::cluster}.(u32|u64) d, a, b:u32",              "9.7.9.23", Misc, |m| Some(mapa(m))).since(90),
        row("getctarank{.shared::cluster}.(u32|u64) d:u32, a",           "9.7.9.24", Misc, |_| Some(exec!(|c, i| {
            c.warp.regs.put::<u32>(i.o[0], c.mask, &[0; 32]);
            Flow::Next
        }))).since(90),
        row("barrier.cluster.arrive{.release|.relaxed}{.aligned}",       "9.7.13.3", Sync, |_| Some(barrier(true))).since(90),
        row("barrier.cluster.wait{.acquire}{.aligned}",                  "9.7.13.3", Sync, |_| Some(barrier(false))).since(90),
    ]
}

/// The address of a in the block of rank b: there is one block. `mods` 1: 64 bits.
fn mapa(m: &Mods) -> Exec {
    exec!(|c, i| {
        let ranks = c.warp.regs.r32[i.o[2] as usize];
        if let Some(l) = lanes(c.mask).find(|&l| ranks[l] != 0) {
            let what = format!("mapa to rank {} of a cluster of one block", ranks[l]);
            return c.fail(i, 1 << l, FaultKind::OutOfBounds, what);
        }
        if i.mods != 0 {
            let a = c.warp.regs.r64[i.o[1] as usize];
            c.warp.regs.put::<u64>(i.o[0], c.mask, &a);
        } else {
            let a = c.warp.regs.r32[i.o[1] as usize];
            c.warp.regs.put::<u32>(i.o[0], c.mask, &a);
        }
        Flow::Next
    })
    .with(u32::from(m.ty().bits() == 64))
}

/// The block completes it; see `exec::block`. `.aligned` and not: a warp that comes in parts arrives in parts.
fn barrier(arrive: bool) -> Exec {
    exec!(|c, i| {
        c.arrival = Arrival { id: CLUSTER, count: 0, arrive: i.mods != 0, yes: 0 };
        Flow::Barrier
    })
    .with(u32::from(arrive))
}
