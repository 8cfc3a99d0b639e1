//! Control flow (PTX ISA 9.7.12).

use super::row::{Row, row};
use crate::count::Class::Control;
use crate::exec::{Exec, Taint, exec};
use crate::memory::lanes;
use crate::report::FaultKind;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("bra{.uni} a:special",                       "9.7.12.3", Control, |_| Some(exec!(|c, _i| {
            c.taken = c.mask;
            Flow::Branch
        }).taint(Taint::Own))),
        row("brx.idx{.uni} a:u32, b:special",            "9.7.12.4", Control, |_| Some(exec!(|c, i| {
            // `list` holds the targets.
            let index = c.warp.regs.r32[i.o[0] as usize];
            let outside = (0..32).filter(|&l| c.mask >> l & 1 != 0 && index[l] as usize >= i.list.len()).fold(0u32, |m, l| m | 1 << l);
            if outside != 0 {
                let found = index[outside.trailing_zeros() as usize];
                return c.fail(i, outside, FaultKind::OutOfBounds, format!("brx.idx {found} in a table of {}", i.list.len()));
            }
            for l in 0..32 {
                c.targets[l] = i.list.get(index[l] as usize).copied().unwrap_or(0);
            }
            Flow::Scatter
        }).taint(Taint::Own))),
        row("call{.uni} a:special{, b:special}{, c:special}{, e:special}", "9.7.12.5", Control, |_| Some(exec!(|c, _i| {
            c.targets = [0; 32];
            Flow::Call
        }).taint(Taint::Own))),
        row("ret{.uni}",                                 "9.7.12.6", Control, |_| Some(exec!(|_c, _i| Flow::Return).taint(Taint::Own))),
        row("exit",                                      "9.7.12.7", Control, |_| Some(exec!(|_c, _i| Flow::Exit).taint(Taint::Own))),
        row("trap",                                      "9.7.19.4", Control, |_| Some(exec!(|c, i| c.fail(i, c.mask, FaultKind::Trap, "trap")).taint(Taint::Own))),
    ]
}

/// `call` through the register in place 0: each lane's function among [those that pointers may hold](crate::exec::code::Code::taken).
pub fn indirect_call() -> Exec {
    exec!(|c, i| {
        let addresses = c.warp.regs.r64[i.o[0] as usize];
        let targets = &c.launch.code.taken;
        for l in lanes(c.mask) {
            let Some(target) = targets.iter().position(|t| t.address == addresses[l]) else {
                let what = format!("a call of {:#x}, which is no function of this module", addresses[l]);
                return c.fail(i, 1 << l, FaultKind::OutOfBounds, what);
            };
            c.targets[l] = target as u32;
        }
        Flow::Call
    })
    .taint(Taint::Own)
}
