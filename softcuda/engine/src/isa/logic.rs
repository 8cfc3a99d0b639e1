//! Logic and shifts (PTX ISA 9.7.8).

use super::row::{Mods, Row, row};
use crate::arith::bits;
use crate::count::Class::{Compare, Int};
use crate::exec::{Exec, Taint, by_int, by_width, exec, lane1, lane2, lane3};

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("and.(b16|b32|b64) d, a, b",               "9.7.8.1", Int, |m| by_width!(m.ty(), T => lane2!(T, |a: T, b: T| a & b).taint(Taint::And))),
        row("and.pred p, a, b",                        "9.7.8.1", Compare, |_| Some(exec!(|c, i| pred(c, i, |a, b| a & b)))),
        row("or.(b16|b32|b64) d, a, b",                "9.7.8.2", Int, |m| by_width!(m.ty(), T => lane2!(T, |a: T, b: T| a | b).taint(Taint::Or))),
        row("or.pred p, a, b",                         "9.7.8.2", Compare, |_| Some(exec!(|c, i| pred(c, i, |a, b| a | b)))),
        row("xor.(b16|b32|b64) d, a, b",               "9.7.8.3", Int, |m| by_width!(m.ty(), T => lane2!(T, |a: T, b: T| a ^ b).taint(Taint::Bytewise))),
        row("xor.pred p, a, b",                        "9.7.8.3", Compare, |_| Some(exec!(|c, i| pred(c, i, |a, b| a ^ b)))),
        row("not.(b16|b32|b64) d, a",                  "9.7.8.4", Int, |m| by_width!(m.ty(), T => lane1!(T, |a: T| !a).taint(Taint::Bytewise))),
        row("not.pred p, a",                           "9.7.8.4", Compare, |_| Some(exec!(|c, i| {
            let a = c.warp.regs.pred[i.o[1] as usize];
            c.warp.regs.put_pred(i.o[0], c.mask, !a);
            Flow::Next
        }))),
        row("cnot.(b16|b32|b64) d, a",                 "9.7.8.5", Int, |m| by_width!(m.ty(), T => lane1!(T, |a: T| T::from(a == 0)))),
        row("lop3.b32 d, a, b, c, e",                  "9.7.8.6", Int, |_| Some(exec!(|c, i| lop3(c, i)).taint(Taint::Lop3))),
        row("shf.(l|r).(clamp|wrap).b32 d, a, b, c:u32", "9.7.8.7", Int, shf),
        row("shl.(b16|b32|b64) d, a, b:u32",           "9.7.8.8", Int, |m| by_width!(m.ty(), T => lane2!(T, u32 => T, |a: T, n: u32| bits::shl(a, n)).taint(Taint::Left))),
        row("shr.(b16|b32|b64|u16|u32|u64|s16|s32|s64) d, a, b:u32", "9.7.8.9", Int, |m| by_int!(m.ty(), T => lane2!(T, u32 => T, |a: T, n: u32| bits::shr(a, n)).taint(if m.ty().signed() { Taint::Whole } else { Taint::Right }))),
    ]
}

fn pred(c: &mut crate::exec::Ctx<'_, '_>, i: &crate::exec::Inst, f: impl Fn(u32, u32) -> u32) -> crate::exec::Flow {
    let (a, b) = (c.warp.regs.pred[i.o[1] as usize], c.warp.regs.pred[i.o[2] as usize]);
    c.warp.regs.put_pred(i.o[0], c.mask, f(a, b));
    crate::exec::Flow::Next
}

/// The table is the fifth operand, a constant register: the same in every lane.
#[inline(always)]
fn lop3(c: &mut crate::exec::Ctx<'_, '_>, i: &crate::exec::Inst) -> crate::exec::Flow {
    let lut = c.warp.regs.r32[i.o[4] as usize][0] as u8;
    // The tables that matter, each a loop of its own.
    match lut {
        0xea => crate::exec::lift::lift3(c, i, |a: u32, b: u32, c: u32| a & b | c),
        0xc0 => crate::exec::lift::lift3(c, i, |a: u32, b: u32, _: u32| a & b),
        0xf8 => crate::exec::lift::lift3(c, i, |a: u32, b: u32, c: u32| a | b & c),
        0x96 => crate::exec::lift::lift3(c, i, |a: u32, b: u32, c: u32| a ^ b ^ c),
        0xfe => crate::exec::lift::lift3(c, i, |a: u32, b: u32, c: u32| a | b | c),
        0x6a => crate::exec::lift::lift3(c, i, |a: u32, b: u32, c: u32| a & b ^ c),
        _ => crate::exec::lift::lift3(c, i, |a: u32, b: u32, c: u32| bits::lop3(a, b, c, lut)),
    }
}

fn shf(m: &Mods) -> Option<Exec> {
    Some(match (m.has("l"), m.has("clamp")) {
        (true, true) => lane3!(u32, bits::shf_l_clamp),
        (true, false) => lane3!(u32, bits::shf_l_wrap),
        (false, true) => lane3!(u32, bits::shf_r_clamp),
        (false, false) => lane3!(u32, bits::shf_r_wrap),
    })
}
