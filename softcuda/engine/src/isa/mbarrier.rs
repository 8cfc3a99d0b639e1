//! Barrier objects (PTX ISA 9.7.13.15).

use super::row::{Mods, Row, row};
use crate::count::Class::Sync;
use crate::exec::{ABSENT, Ctx, Exec, Flow, Inst, Taint, exec};
use crate::memory::{Access, MAX_COUNT, Object, Order, Space, space::SHARED_WINDOW};

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("mbarrier.init{.shared|.shared::cta}.b64 [a], b:u32",                         "9.7.13.15.9", Sync, |_| Some(exec!(|c, i| init(c, i)).taint(Taint::Own))),
        row("mbarrier.inval{.shared|.shared::cta}.b64 [a]",                               "9.7.13.15.10", Sync, |_| Some(exec!(|c, i| inval(c, i)).taint(Taint::Own))),
        row("mbarrier.expect_tx{.relaxed}{.cta|.cluster}{.shared|.shared::cta|.shared::cluster}.b64 [a], b:u32", "9.7.13.15.11", Sync, |_| Some(transaction(1))).since(90),
        row("mbarrier.complete_tx{.relaxed}{.cta|.cluster}{.shared|.shared::cta|.shared::cluster}.b64 [a], b:u32", "9.7.13.15.12", Sync, |_| Some(transaction(0))).since(90),
        row("mbarrier.arrive{.release}{.cta|.cluster}{.shared|.shared::cta|.shared::cluster}.b64 d, [a]{, b:u32}", "9.7.13.15.13", Sync, |_| Some(arrive(0))),
        row("mbarrier.arrive.expect_tx{.release|.relaxed}{.cta|.cluster}{.shared|.shared::cta|.shared::cluster}.b64 d, [a], b:u32", "9.7.13.15.13", Sync, |_| Some(arrive(EXPECT))).since(90),
        row("mbarrier.arrive.noComplete{.release}{.cta}{.shared|.shared::cta}.b64 d, [a], b:u32", "9.7.13.15.13", Sync, |_| Some(arrive(OPEN))),
        row("mbarrier.arrive_drop{.release}{.cta|.cluster}{.shared|.shared::cta|.shared::cluster}.b64 d, [a]{, b:u32}", "9.7.13.15.14", Sync, |_| Some(arrive(DROP))),
        row("mbarrier.arrive_drop.expect_tx{.release|.relaxed}{.cta|.cluster}{.shared|.shared::cta|.shared::cluster}.b64 d, [a], b:u32", "9.7.13.15.14", Sync, |_| Some(arrive(DROP | EXPECT))).since(90),
        row("mbarrier.arrive_drop.noComplete{.release}{.cta}{.shared|.shared::cta}.b64 d, [a], b:u32", "9.7.13.15.14", Sync, |_| Some(arrive(DROP | OPEN))),
        row("cp.async.mbarrier.arrive{.noinc}{.shared|.shared::cta}.b64 [a]",             "9.7.13.15.15", Sync, |m| Some(copies(m))),
        row("mbarrier.test_wait{.acquire|.relaxed}{.cta|.cluster}{.shared|.shared::cta}.b64 p, [a], b:b64", "9.7.13.15.16", Sync, |_| Some(wait(0))),
        row("mbarrier.test_wait.parity{.acquire|.relaxed}{.cta|.cluster}{.shared|.shared::cta}.b64 p, [a], b:u32", "9.7.13.15.16", Sync, |_| Some(wait(PARITY))),
        row("mbarrier.try_wait{.acquire|.relaxed}{.cta|.cluster}{.shared|.shared::cta}.b64 p, [a], b:b64{, c:u32}", "9.7.13.15.16", Sync, |_| Some(wait(TRY))).since(90),
        row("mbarrier.try_wait.parity{.acquire|.relaxed}{.cta|.cluster}{.shared|.shared::cta}.b64 p, [a], b:u32{, c:u32}", "9.7.13.15.16", Sync, |_| Some(wait(TRY | PARITY))).since(90),
        row("mbarrier.pending_count.b64 d:u32, a",                                        "9.7.13.15.17", Sync, |_| Some(exec!(|c, i| {
            let out = c.warp.regs.r64[i.o[1] as usize].map(|bits| Object::from_bits(bits).pending);
            c.warp.regs.put::<u32>(i.o[0], c.mask, &out);
            Flow::Next
        }))),
    ]
}

/// The access to the objects, and the lanes' offsets in shared memory. The address is in place `k`.
fn objects(c: &Ctx<'_, '_>, i: &Inst, k: usize, order: Order) -> (Access, [u64; 32]) {
    let addresses = c.addresses(i.o[k], i.offset, i.mem.base64);
    let base = if i.mem.space == Space::Generic { SHARED_WINDOW } else { 0 };
    let access = Access { space: Space::Shared, order, ..c.access(i, 8) };
    (access, addresses.map(|a| a.wrapping_sub(base)))
}

fn init(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let (access, addresses) = objects(c, i, 0, Order::Weak);
    let counts = c.warp.regs.r32[i.o[1] as usize];
    let first = c.mask.trailing_zeros() as usize & 31;
    if let Some(bad) = crate::memory::lanes(c.mask).map(|l| counts[l]).find(|n| Object::new(*n).is_none()) {
        let what = format!("a barrier object for {bad} threads: 1 to {MAX_COUNT} are possible");
        return c.fail(i, 1 << first, crate::report::FaultKind::BarrierObject, what);
    }
    for l in 0..32 {
        let bits = Object::new(counts[l]).map_or(0, Object::to_bits);
        c.wide.words[0][l] = bits as u32;
        c.wide.words[1][l] = (bits >> 32) as u32;
    }
    (c.wide.uninit, c.wide.tainted) = ([0; 32], 0);
    c.wrote = true;
    match c.door.store(&access, &addresses, c.wide) {
        Ok(()) => Flow::Next,
        Err(fault) => c.fault(fault),
    }
}

/// The bytes are nobody's again.
fn inval(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let (access, addresses) = objects(c, i, 0, Order::Weak);
    let mut old = [0; 32];
    if let Err(fault) = c.door.look_at_objects(&access, &addresses, &mut old) {
        return c.fault(fault);
    }
    (c.wide.uninit, c.wide.tainted) = ([u16::MAX; 32], u32::MAX);
    c.wrote = true;
    match c.door.store(&access, &addresses, c.wide) {
        Ok(()) => Flow::Next,
        Err(fault) => c.fault(fault),
    }
}

/// `expect_tx` with `mods` 1, `complete_tx` with 0.
fn transaction(mods: u32) -> Exec {
    exec!(|c, i| {
        let (access, addresses) = objects(c, i, 0, Order::Relaxed);
        let bytes = c.warp.regs.r32[i.o[1] as usize];
        let more = i.mods != 0;
        c.wrote = true;
        let mut step = |l: usize, o: Object| {
            let bytes = bytes[l] as i32;
            Ok(if more { o.expect(bytes) } else { o.expect(-bytes).settled() })
        };
        match c.door.update_objects(&access, &addresses, &mut [0; 32], &mut step) {
            Ok(()) => Flow::Next,
            Err(fault) => c.fault(fault),
        }
    })
    .with(mods)
    .taint(Taint::Own)
}

// `mods` of arrivals.
const EXPECT: u32 = 1;
const DROP: u32 = 2;
/// The arrival must not end the phase.
const OPEN: u32 = 4;

fn arrive(mods: u32) -> Exec {
    exec!(|c, i| {
        let (access, addresses) = objects(c, i, 1, Order::Release);
        let operand = if i.o[2] == ABSENT { [1; 32] } else { c.warp.regs.r32[i.o[2] as usize] };
        let mods = i.mods;
        let mut step = |l: usize, o: Object| {
            let (count, bytes) = if mods & EXPECT != 0 { (1, operand[l] as i32) } else { (operand[l], 0) };
            let next = o.expect(bytes).arrive(count, if mods & DROP != 0 { count } else { 0 });
            match next {
                Some(next) if mods & OPEN != 0 && next.odd != o.odd => {
                    Err("an arrival with .noComplete ends the phase".to_string())
                }
                Some(next) => Ok(next),
                None => Err(format!("{count} threads arrive at a barrier object that awaits {}", o.pending)),
            }
        };
        let mut old = [0; 32];
        c.wrote = true;
        if let Err(fault) = c.door.update_objects(&access, &addresses, &mut old, &mut step) {
            return c.fault(fault);
        }
        c.warp.regs.put::<u64>(i.o[0], c.mask, &old);
        Flow::Next
    })
    .with(mods)
}

/// The copies of each lane land now, which is one of the times at which they may; with `.noinc` the lane arrives then.
fn copies(m: &Mods) -> Exec {
    exec!(|c, i| {
        if let Err(fault) = c.door.cp_async_wait_all(c.warp.index, c.mask) {
            return c.fault(fault);
        }
        let (access, addresses) = objects(c, i, 0, Order::Release);
        let arrives = i.mods != 0;
        let mut step = |_: usize, o: Object| {
            let next = if arrives { o.arrive(1, 0) } else { Some(o) };
            next.ok_or_else(|| "a copy arrives at a barrier object that awaits nobody".to_string())
        };
        c.wrote = true;
        match c.door.update_objects(&access, &addresses, &mut [0; 32], &mut step) {
            Ok(()) => Flow::Next,
            Err(fault) => c.fault(fault),
        }
    })
    .with(u32::from(m.has("noinc")))
    .taint(Taint::Own)
}

// `mods` of waits.
const PARITY: u32 = 1;
const TRY: u32 = 2;

/// Operands p, a, b. A phase has ended when the object is in another one than the token or the parity says.
fn wait(mods: u32) -> Exec {
    exec!(|c, i| {
        let (access, addresses) = objects(c, i, 1, Order::Acquire);
        let mut now = [0; 32];
        if let Err(fault) = c.door.look_at_objects(&access, &addresses, &mut now) {
            return c.fault(fault);
        }
        let mut done = 0;
        for l in crate::memory::lanes(c.mask) {
            let odd = if i.mods & PARITY != 0 {
                c.warp.regs.r32[i.o[2] as usize][l] & 1 != 0
            } else {
                Object::from_bits(c.warp.regs.r64[i.o[2] as usize][l]).odd
            };
            done |= u32::from(Object::from_bits(now[l]).odd != odd) << l;
        }
        c.door.phase_seen(c.warp.index, done, &addresses);
        c.warp.regs.put_pred(i.o[0], c.mask, done);
        if done == c.mask || i.mods & TRY == 0 { Flow::Next } else { Flow::Yield }
    })
    .with(mods)
}
