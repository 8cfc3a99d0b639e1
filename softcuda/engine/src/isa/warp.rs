//! Exchange between the lanes of a warp (PTX ISA 9.7.9.6 shfl, 9.7.13 vote, match, redux, activemask, elect).

use super::row::{Mods, Row, row};
use crate::count::Class::Warp;
use crate::exec::sync::members;
use crate::exec::{Ctx, Exec, Flow, Inst, Taint, exec};
use crate::ptx::Ty;
use crate::report::FaultKind;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("shfl.sync.(up|down|bfly|idx).b32 d{|p}, a, b:u32, c:u32, m:u32", "9.7.9.6", Warp, shfl),
        row("vote.sync.(all|any|uni).pred p, a:pred, m:u32",                   "9.7.13.9", Warp, vote),
        row("vote.sync.ballot.b32 d, a:pred, m:u32",                           "9.7.13.9", Warp, vote),
        row("match.any.sync.(b32|b64) d:u32, a, m:u32",                        "9.7.13.10", Warp, |m| matching(m, false)),
        row("match.all.sync.(b32|b64) d:u32{|p}, a, m:u32",                    "9.7.13.10", Warp, |m| matching(m, true)),
        row("activemask.b32 d",                                                "9.7.13.11", Warp, |_| Some(exec!(|c, i| {
            c.warp.regs.put::<u32>(i.o[0], c.mask, &[c.mask; 32]);
            Flow::Next
        }))),
        row("redux.sync.(add|min|max).(u32|s32) d, a, m:u32",                  "9.7.13.12", Warp, redux),
        row("redux.sync.(and|or|xor).b32 d, a, m:u32",                         "9.7.13.12", Warp, redux),
        row("elect.sync d:u32|p, m:u32",                                       "9.7.13.14", Warp, |_| Some(exec!(|c, i| {
            members(c, i, i.o[2], |c, i, set| {
                let leader = set.trailing_zeros();
                c.warp.regs.put::<u32>(i.o[0], set, &[leader; 32]);
                c.warp.regs.put_pred(i.o[1], set, 1 << leader);
                Flow::Next
            })
        }))).since(90),
    ]
}

const UP: u32 = 0;
const DOWN: u32 = 1;
const BFLY: u32 = 2;

fn shfl(m: &Mods) -> Option<Exec> {
    let mode = match m.which(&["up", "down", "bfly"]) {
        Some("up") => UP,
        Some("down") => DOWN,
        Some(_) => BFLY,
        None => 3,
    };
    // Operands: d, p, a, b, c, m.
    Some(exec!(|c, i| members(c, i, i.o[5], |c, i, set| shuffle(c, i, set))).with(mode).taint(Taint::Own))
}

/// The source lane of each lane, and whether it was in range (PTX ISA, shfl.sync, semantics).
#[inline(always)]
fn source(mode: u32, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (b, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let min = lane & segment;
    let max = min | clamp & !segment;
    let (j, inside) = match mode {
        UP => (lane.wrapping_sub(b), lane as i32 - b as i32 >= max as i32),
        DOWN => (lane + b, lane + b <= max),
        BFLY => (lane ^ b, lane ^ b <= max),
        _ => (min | b & !segment, min | b & !segment <= max),
    };
    if inside { (j, true) } else { (lane, false) }
}

#[inline(always)]
fn shuffle(c: &mut Ctx<'_, '_>, i: &Inst, set: u32) -> Flow {
    let regs = &c.warp.regs;
    let (a, b, clamp) = (&regs.r32[i.o[2] as usize], &regs.r32[i.o[3] as usize], &regs.r32[i.o[4] as usize]);
    let (mut from, mut inside) = ([0; 32], 0);
    for l in 0..32 {
        let (j, ok) = source(i.mods, l as u32, b[l], clamp[l]);
        from[l] = j;
        inside |= u32::from(ok) << l;
    }
    let (mut out, mut lost) = ([0; 32], 0u32);
    for l in 0..32 {
        out[l] = a[from[l] as usize & 31];
    }
    if set != !0 {
        for l in 0..32 {
            if set >> from[l] & 1 == 0 {
                lost |= 1 << l;
                out[l] = 0xdead_beef;
            }
        }
    }
    lost &= set;
    if lost != 0 && c.launch.checks.sync {
        let lane = lost.trailing_zeros() as usize;
        let what = format!("shfl.sync reads lane {}, which does not take part (lanes {set:#010x} do)", from[lane]);
        return c.fail(i, lost, FaultKind::WarpSync, what);
    }
    if c.launch.init {
        crate::exec::taint::shuffled(c, i, set, &from);
    }
    c.warp.regs.put::<u32>(i.o[0], set, &out);
    c.warp.regs.put_pred(i.o[1], set, inside);
    Flow::Next
}

fn vote(m: &Mods) -> Option<Exec> {
    // Operands: d or p, a, m.
    Some(
        match m.which(&["all", "any", "uni"]) {
            Some("all") => exec!(|c, i| members(c, i, i.o[2], |c, i, set| {
                let yes = c.predicate(i, i.o[1]) & set;
                c.warp.regs.put_pred(i.o[0], set, if yes == set { !0 } else { 0 });
                Flow::Next
            })),
            Some("any") => exec!(|c, i| members(c, i, i.o[2], |c, i, set| {
                let yes = c.predicate(i, i.o[1]) & set;
                c.warp.regs.put_pred(i.o[0], set, if yes != 0 { !0 } else { 0 });
                Flow::Next
            })),
            Some(_) => exec!(|c, i| members(c, i, i.o[2], |c, i, set| {
                let yes = c.predicate(i, i.o[1]) & set;
                c.warp.regs.put_pred(i.o[0], set, if yes == set || yes == 0 { !0 } else { 0 });
                Flow::Next
            })),
            None => exec!(|c, i| members(c, i, i.o[2], |c, i, set| {
                let yes = c.predicate(i, i.o[1]) & set;
                c.warp.regs.put::<u32>(i.o[0], set, &[yes; 32]);
                Flow::Next
            })),
        }
        .taint(Taint::Across),
    )
}

fn matching(m: &Mods, all: bool) -> Option<Exec> {
    // Operands: d, a, m; or d, p, a, m. `mods`: 1 = all, 2 = 64 bits.
    let mods = u32::from(all) | u32::from(m.ty().bits() == 64) << 1;
    let run = exec!(|c, i| {
        let at = if i.mods & 1 != 0 { 2 } else { 1 };
        members(c, i, i.o[at + 1], |c, i, set| {
            let at = if i.mods & 1 != 0 { 2 } else { 1 };
            let a = c.warp.regs.widened(i.o[at], i.mods & 2 != 0);
            let same = |v: u64| (0..32).filter(|&l| set >> l & 1 != 0 && a[l] == v).fold(0u32, |m, l| m | 1 << l);
            if i.mods & 1 != 0 {
                let equal = same(a[set.trailing_zeros() as usize]) == set;
                c.warp.regs.put::<u32>(i.o[0], set, &[if equal { set } else { 0 }; 32]);
                c.warp.regs.put_pred(i.o[1], set, if equal { !0 } else { 0 });
            } else {
                c.warp.regs.put::<u32>(i.o[0], set, &a.map(same));
            }
            Flow::Next
        })
    });
    Some(run.with(mods).taint(Taint::Across))
}

fn redux(m: &Mods) -> Option<Exec> {
    let op = ["add", "min", "max", "and", "or", "xor"].iter().position(|o| m.has(o))? as u32;
    let run = exec!(|c, i| {
        members(c, i, i.o[2], |c, i, set| {
            let a = c.warp.regs.r32[i.o[1] as usize];
            let signed = i.mods & 8 != 0;
            let fold = |x: u32, y: u32| match i.mods & 7 {
                0 => x.wrapping_add(y),
                1 if signed => (x as i32).min(y as i32) as u32,
                1 => x.min(y),
                2 if signed => (x as i32).max(y as i32) as u32,
                2 => x.max(y),
                3 => x & y,
                4 => x | y,
                _ => x ^ y,
            };
            let result = (0..32).filter(|&l| set >> l & 1 != 0).map(|l| a[l]).reduce(fold).unwrap_or(0);
            c.warp.regs.put::<u32>(i.o[0], set, &[result; 32]);
            Flow::Next
        })
    });
    Some(run.with(op | u32::from(m.ty() == Ty::S32) << 3).taint(Taint::Across))
}
