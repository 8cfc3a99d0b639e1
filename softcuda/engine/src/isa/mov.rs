//! Moves, packs, byte permutation and address conversion (PTX ISA 9.7.9).

use super::row::{Mods, Row, row};
use crate::arith::bits::{self, PrmtMode};
use crate::count::Class::{Compare, Move};
use crate::exec::lift::lift3;
use crate::exec::{Ctx, Exec, Flow, Inst, Taint, by_width, exec, lane1, lane3};
use crate::memory::Space;
use crate::memory::space::{PARAM_WINDOW, SHARED_WINDOW, local_window, window_of};
use crate::ptx::Ty;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("mov.pred p, a:pred",                                          "9.7.9.3", Compare, |_| Some(exec!(|c, i| {
            let a = c.warp.regs.pred[i.o[1] as usize];
            c.warp.regs.put_pred(i.o[0], c.mask, a);
            Flow::Next
        }))),
        // Packs and unpacks stand here too: `mov.b32 d, {a, b}` and `mov.b32 {a, b}, d` are decoded to `pack` and `unpack`.
        row("mov.(b16|b32|b64|u16|u32|u64|s16|s32|s64|f32|f64) d, a",      "9.7.9.3", Move, |m| by_width!(m.ty(), T => lane1!(T, |a: T| a).taint(Taint::Copy))),
        row("prmt.b32{.f4e|.b4e|.rc8|.ecl|.ecr|.rc16} d, a, b, c",         "9.7.9.7", Move, prmt),
        row("isspacep.(global|const|local|param|shared|shared::cta|shared::cluster) p, a:u64", "9.7.9.19", Compare, isspacep),
        row("cvta.to.(global|const|local|param|shared|shared::cta|shared::cluster).(u32|u64) d, a", "9.7.9.20", Move, |m| cvta(m, true)),
        row("cvta.(global|const|local|param|shared|shared::cta|shared::cluster).(u32|u64) d, a",    "9.7.9.20", Move, |m| cvta(m, false)),
    ]
}

fn prmt(m: &Mods) -> Option<Exec> {
    use PrmtMode::{B4e, Ecl, Ecr, F4e, Index, Rc8, Rc16};
    Some(match m.which(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]) {
        // The selector is nearly always a constant, the same in every lane, and picks bytes without their signs.
        None => exec!(|c, i| {
            let s = &c.warp.regs.r32[i.o[3] as usize];
            let mut unlike = s[0] & 0x8888;
            for l in 0..32 {
                unlike |= s[l] ^ s[0];
            }
            if unlike == 0 {
                bytes(c, i, s[0])
            } else {
                lift3(c, i, |a: u32, b: u32, s: u32| bits::prmt(a, b, s, Index))
            }
        })
        .taint(Taint::Prmt),
        Some("f4e") => lane3!(u32, |a, b, s| bits::prmt(a, b, s, F4e)),
        Some("b4e") => lane3!(u32, |a, b, s| bits::prmt(a, b, s, B4e)),
        Some("rc8") => lane3!(u32, |a, b, s| bits::prmt(a, b, s, Rc8)),
        Some("ecl") => lane3!(u32, |a, b, s| bits::prmt(a, b, s, Ecl)),
        Some("ecr") => lane3!(u32, |a, b, s| bits::prmt(a, b, s, Ecr)),
        Some(_) => lane3!(u32, |a, b, s| bits::prmt(a, b, s, Rc16)),
    })
}

/// `prmt` with one selector for all lanes: which operand a byte comes from and its shift do not vary, so the loop is straight.
#[inline(always)]
fn bytes(c: &mut Ctx<'_, '_>, i: &Inst, selector: u32) -> Flow {
    let mut out = [0; 32];
    for k in 0..4 {
        let nibble = selector >> (4 * k) & 7;
        let source = &c.warp.regs.r32[i.o[if nibble < 4 { 1 } else { 2 }] as usize];
        let shift = 8 * (nibble & 3);
        for l in 0..32 {
            out[l] |= (source[l] >> shift & 0xff) << (8 * k);
        }
    }
    c.warp.regs.put::<u32>(i.o[0], c.mask, &out);
    Flow::Next
}

/// The state space of `cvta` and `isspacep`; constant memory has global addresses.
fn space(m: &Mods) -> Space {
    match m.which(&["shared", "shared::cta", "shared::cluster", "local", "param", "const"]) {
        Some("local") => Space::Local,
        Some("param") => Space::Param,
        Some("const") => Space::Const,
        Some(_) => Space::Shared,
        None => Space::Global,
    }
}

const SPACES: [Space; 5] = [Space::Global, Space::Const, Space::Shared, Space::Local, Space::Param];

/// What `mods` of `cvta` and `isspacep` holds: a place in `SPACES`.
fn space_mods(m: &Mods) -> u32 {
    SPACES.iter().position(|s| *s == space(m)).unwrap_or(0) as u32
}

/// Where the generic addresses of a space begin for each lane; 0 for global and constant memory.
#[inline(always)]
fn windows(c: &Ctx<'_, '_>, i: &Inst) -> [u64; 32] {
    let first = c.warp.index * 32;
    match SPACES[i.mods as usize] {
        Space::Shared => [SHARED_WINDOW; 32],
        Space::Param => [PARAM_WINDOW; 32],
        Space::Local => std::array::from_fn(|l| local_window(first + l as u32)),
        _ => [0; 32],
    }
}

fn cvta(m: &Mods, to_space: bool) -> Option<Exec> {
    if m.ty() != Ty::U64 {
        return None;
    }
    let exec = if to_space {
        exec!(|c, i| convert(c, i, u64::wrapping_sub))
    } else {
        exec!(|c, i| convert(c, i, u64::wrapping_add))
    };
    Some(exec.with(space_mods(m)))
}

#[inline(always)]
fn convert(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn(u64, u64) -> u64) -> Flow {
    let (windows, a) = (windows(c, i), &c.warp.regs.r64[i.o[1] as usize]);
    let out = std::array::from_fn(|l| f(a[l], windows[l]));
    c.warp.regs.put::<u64>(i.o[0], c.mask, &out);
    Flow::Next
}

fn isspacep(m: &Mods) -> Option<Exec> {
    let exec = exec!(|c, i| space_test(c, i, |a| window_of(a).0 == SPACES[i.mods as usize]));
    Some(exec.with(space_mods(m)))
}

#[inline(always)]
fn space_test(c: &mut Ctx<'_, '_>, i: &Inst, f: impl Fn(u64) -> bool) -> Flow {
    let a = &c.warp.regs.r64[i.o[1] as usize];
    let bits = (0..32).fold(0, |m, l| m | u32::from(f(a[l])) << l);
    c.warp.regs.put_pred(i.o[0], c.mask, bits);
    Flow::Next
}

/// `mov d, {a, b, ..}`: elements of `list`, lowest first, into one register. `mem.element` holds bits of an element, `mem.register` those of d.
pub fn pack() -> Exec {
    exec!(|c, i| {
        let bits = u32::from(i.mem.element);
        // Bytes live in registers of 16 bits, which may hold more than a byte.
        let keep = u64::MAX >> (64 - bits);
        let mut out = [0u64; 32];
        for (k, slot) in i.list.iter().enumerate() {
            let part = c.warp.regs.widened(*slot, bits == 64);
            for l in 0..32 {
                out[l] |= (part[l] & keep) << (k as u32 * bits);
            }
        }
        if i.mem.register == 64 {
            c.warp.regs.put::<u64>(i.o[0], c.mask, &out);
        } else {
            c.warp.regs.put::<u32>(i.o[0], c.mask, &out.map(|x| x as u32));
        }
        Flow::Next
    })
    .taint(Taint::Pack)
}

/// `mov {a, b, ..}, d`: the reverse.
pub fn unpack() -> Exec {
    exec!(|c, i| {
        let bits = u32::from(i.mem.element);
        let whole = c.warp.regs.widened(i.o[0], i.mem.register == 64);
        let keep = u64::MAX >> (64 - bits);
        for (k, slot) in i.list.iter().enumerate() {
            let part = whole.map(|x| x >> (k as u32 * bits) & keep);
            if bits == 64 {
                c.warp.regs.put::<u64>(*slot, c.mask, &part);
            } else {
                c.warp.regs.put::<u32>(*slot, c.mask, &part.map(|x| x as u32));
            }
        }
        Flow::Next
    })
    .taint(Taint::Unpack)
}

/// `mov d, variable` in a function, or with `generic` `cvta.local d, variable`: the frame's place in `o[1]` plus `offset`.
pub fn frame_address(generic: bool) -> Exec {
    exec!(|c, i| {
        let (bases, first) = (&c.warp.regs.r64[i.o[1] as usize], c.warp.index * 32);
        let window = |l: usize| if i.mods != 0 { local_window(first + l as u32) } else { 0 };
        let out: [u64; 32] = std::array::from_fn(|l| bases[l].wrapping_add(i.offset as u64).wrapping_add(window(l)));
        if i.mem.register == 64 {
            c.warp.regs.put::<u64>(i.o[0], c.mask, &out);
        } else {
            c.warp.regs.put::<u32>(i.o[0], c.mask, &out.map(|a| a as u32));
        }
        Flow::Next
    })
    .with(u32::from(generic))
}
