//! Waiting for one another: member masks of `.sync` instructions, and barriers.

use super::ctx::Ctx;
use super::inst::{ABSENT, Flow, Inst};
use crate::report::FaultKind;

/// Runs `f` for each set of lanes that named each other and are all here; exited lanes are not waited for. Lanes whose partners are
/// elsewhere stay. `slot` holds the member masks.
#[inline(always)]
pub fn members(c: &mut Ctx<'_, '_>, i: &Inst, slot: u32, f: impl Fn(&mut Ctx<'_, '_>, &Inst, u32) -> Flow) -> Flow {
    let masks = &c.warp.regs.r32[slot as usize];
    let first = masks[c.mask.trailing_zeros() as usize & 31];
    let mut unlike = 0;
    for l in 0..32 {
        unlike |= u32::from(masks[l] != first) << l;
    }
    if c.mask & (unlike | !first) == 0 {
        return if first & c.warp.live & !c.mask == 0 { f(c, i, c.mask) } else { Flow::Wait };
    }
    differing(c, i, *masks_of(c, slot), f)
}

fn masks_of<'a>(c: &'a Ctx<'_, '_>, slot: u32) -> &'a [u32; 32] {
    &c.warp.regs.r32[slot as usize]
}

#[inline(never)]
fn differing(
    c: &mut Ctx<'_, '_>,
    i: &Inst,
    masks: [u32; 32],
    f: impl Fn(&mut Ctx<'_, '_>, &Inst, u32) -> Flow,
) -> Flow {
    let (whole, mut rest, mut ready) = (c.mask, c.mask, 0);
    while rest != 0 {
        let mask = masks[rest.trailing_zeros() as usize];
        let set = (0..32).filter(|&l| whole >> l & 1 != 0 && masks[l] == mask).fold(0u32, |m, l| m | 1 << l);
        rest &= !set;
        if set & !mask != 0 {
            let what = format!("a lane is not in its own member mask {mask:#010x}");
            return c.fail(i, set & !mask, FaultKind::WarpSync, what);
        }
        if mask & c.warp.live & !set == 0 {
            match f(c, i, set) {
                Flow::Next => ready |= set,
                other => return other,
            }
        }
    }
    c.taken = ready;
    match ready {
        0 => Flow::Wait,
        r if r == whole => Flow::Next,
        _ => Flow::Part,
    }
}

/// `mods` of `bar.warp.sync`.
pub const WARP_SYNC: u32 = 1 << 31;

/// What a barrier instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BarrierKind {
    /// Waits.
    Sync,
    /// Is counted, goes on.
    Arrive,
    /// Waits, and receives the number of true predicates.
    Popc,
    /// Waits, and receives whether all are true.
    And,
    /// Waits, and receives whether one is true.
    Or,
}

/// The lanes of a group arrive at a barrier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    /// Barrier number, 0 to 15, or [`CLUSTER`].
    pub id: u32,
    /// Threads awaited; 0 for all of the block.
    pub count: u32,
    /// Only counted.
    pub arrive: bool,
    /// Predicates of a reduction.
    pub yes: u32,
}

/// The barrier of the cluster, at which threads arrive and wait in two steps.
pub const CLUSTER: u32 = 16;

/// The kind that `mods` of a barrier row holds.
pub fn kind(mods: u32) -> BarrierKind {
    [BarrierKind::Sync, BarrierKind::Arrive, BarrierKind::Popc, BarrierKind::And, BarrierKind::Or][(mods & 7) as usize]
}

/// `bar` and `barrier`. The block completes it; see `super::block`.
pub fn barrier(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let (kind, aligned, first) = (kind(i.mods), i.mods >> 3 & 1 != 0, (i.mods >> 4) as usize);
    if aligned && c.mask != c.warp.live {
        return Flow::Wait;
    }
    let lane = c.mask.trailing_zeros() as usize & 31;
    let id = c.warp.regs.r32[i.o[first] as usize][lane];
    let count = if i.o[first + 1] == ABSENT { 0 } else { c.warp.regs.r32[i.o[first + 1] as usize][lane] };
    let same = |slot: u32, v: u32| (0..32).all(|l| c.mask >> l & 1 == 0 || c.warp.regs.r32[slot as usize][l] == v);
    let uniform = same(i.o[first], id) && (count == 0 || same(i.o[first + 1], count));
    if id > 15 || count % 32 != 0 || !uniform {
        let what =
            format!("barrier {id} with {count} threads: a number from 0 to 15, a multiple of 32, the same in a warp");
        return c.fail(i, c.mask, FaultKind::BarrierDivergence, what);
    }
    let yes = if first == 1 { c.predicate(i, i.o[3]) } else { 0 };
    c.arrival = Arrival { id, count, arrive: kind == BarrierKind::Arrive, yes };
    Flow::Barrier
}
