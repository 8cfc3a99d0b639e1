//! Barriers and fences (PTX ISA 9.7.13.1 to 9.7.13.4).

use super::row::{Mods, Row, row};
use crate::count::Class::Sync;
use crate::exec::sync::{self, BarrierKind, members};
use crate::exec::{Exec, exec};
use crate::memory::Scope;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("bar{.cta}.sync a:u32{, b:u32}",                                 "9.7.13.1", Sync, |_| Some(barrier(BarrierKind::Sync, true, 0))),
        row("bar{.cta}.arrive a:u32, b:u32",                                 "9.7.13.1", Sync, |_| Some(barrier(BarrierKind::Arrive, true, 0))),
        row("bar{.cta}.red.popc.u32 d, a:u32{, b:u32}, c:pred",              "9.7.13.1", Sync, |_| Some(barrier(BarrierKind::Popc, true, 1))),
        row("bar{.cta}.red.(and|or).pred p, a:u32{, b:u32}, c:pred",         "9.7.13.1", Sync, |m| Some(barrier(reduce(m), true, 1))),
        row("barrier{.cta}.sync{.aligned} a:u32{, b:u32}",                   "9.7.13.1", Sync, |m| Some(barrier(BarrierKind::Sync, m.has("aligned"), 0))),
        row("barrier{.cta}.arrive{.aligned} a:u32, b:u32",                   "9.7.13.1", Sync, |m| Some(barrier(BarrierKind::Arrive, m.has("aligned"), 0))),
        row("barrier{.cta}.red.popc{.aligned}.u32 d, a:u32{, b:u32}, c:pred", "9.7.13.1", Sync, |m| Some(barrier(BarrierKind::Popc, m.has("aligned"), 1))),
        row("barrier{.cta}.red.(and|or){.aligned}.pred p, a:u32{, b:u32}, c:pred", "9.7.13.1", Sync, |m| Some(barrier(reduce(m), m.has("aligned"), 1))),
        row("bar.warp.sync m:u32",                                           "9.7.13.2", Sync, |_| Some(exec!(|c, i| members(c, i, i.o[0], |c, _i, set| {
            c.door.warp_synced(c.warp.index, set);
            Flow::Next
        })).with(sync::WARP_SYNC))),
        row("membar.(cta|gl|sys)",                                           "9.7.13.4", Sync, |m| Some(fence(m))),
        row("fence.mbarrier_init.release.cluster",                           "9.7.13.4", Sync, |_| Some(fence_of(0))).since(90),
        row("fence.proxy.alias",                                                  "9.7.13.4", Sync, |_| Some(fence_of(0))),
        row("fence.proxy.async{.global|.shared::cta|.shared::cluster}",           "9.7.13.4", Sync, |_| Some(fence_of(0))).since(90),
        row("fence{.sc|.acq_rel|.acquire|.release}.(cta|cluster|gpu|sys)",   "9.7.13.4", Sync, |m| Some(fence(m))),
    ]
}

fn reduce(m: &Mods) -> BarrierKind {
    if m.has("and") { BarrierKind::And } else { BarrierKind::Or }
}

/// Operands from place `first`: the barrier, the thread count; a reduction has d or p before them and its predicate behind.
fn barrier(kind: BarrierKind, aligned: bool, first: u32) -> Exec {
    exec!(|c, i| sync::barrier(c, i)).with(kind as u32 | u32::from(aligned) << 3 | first << 4)
}

fn fence(m: &Mods) -> Exec {
    fence_of(match m.which(&["cta", "sys"]) {
        Some("cta") => 0,
        Some(_) => 2,
        None => 1,
    })
}

fn fence_of(scope: u32) -> Exec {
    exec!(|c, i| {
        let scope = [Scope::Cta, Scope::Gpu, Scope::Sys][i.mods as usize];
        c.door.fence(c.warp.index, c.mask, scope);
        Flow::Next
    })
    .with(scope)
}
