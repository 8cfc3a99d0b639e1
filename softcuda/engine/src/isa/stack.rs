//! Room on a thread's stack (PTX ISA 9.7.17). It grows downwards from the end of local memory, frames upwards from its beginning.

use super::row::{Mods, Row, row};
use crate::count::Class::Misc;
use crate::exec::{ABSENT, Exec, Taint, exec};
use crate::memory::lanes;
use crate::report::FaultKind;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("stacksave.(u32|u64) d",                "9.7.17.1", Misc, |m| Some(save(m))),
        row("stackrestore.(u32|u64) a",             "9.7.17.2", Misc, |m| Some(restore(m))),
        row("alloca.(u32|u64) d, a{, b:u32}",       "9.7.17.3", Misc, |m| Some(alloca(m))),
    ]
}

// `mods` of all three: registers of 64 bits.
fn wide(m: &Mods) -> u32 {
    u32::from(m.ty().bits() == 64)
}

fn save(m: &Mods) -> Exec {
    exec!(|c, i| {
        let end = c.warp.regs.r64[c.launch.code.stack as usize];
        if i.mods != 0 {
            c.warp.regs.put::<u64>(i.o[0], c.mask, &end);
        } else {
            c.warp.regs.put::<u32>(i.o[0], c.mask, &end.map(|a| a as u32));
        }
        Flow::Next
    })
    .with(wide(m))
}

fn restore(m: &Mods) -> Exec {
    exec!(|c, i| {
        let end = c.warp.regs.widened(i.o[0], i.mods != 0);
        c.warp.regs.put::<u64>(c.launch.code.stack, c.mask, &end);
        Flow::Next
    })
    .with(wide(m))
    .taint(Taint::Own)
}

/// The least alignment of what `alloca` gives.
const ALIGN: u64 = 8;

/// `offset` holds the bytes of the function's frame.
fn alloca(m: &Mods) -> Exec {
    exec!(|c, i| {
        let code = &c.launch.code;
        let mut end = c.warp.regs.r64[code.stack as usize];
        let sizes = c.warp.regs.widened(i.o[1], i.mods != 0);
        let align = if i.o[2] == ABSENT { ALIGN } else { u64::from(c.warp.regs.r32[i.o[2] as usize][0]).max(ALIGN) };
        for l in lanes(c.mask) {
            let used = c.warp.regs.r64[code.frame as usize][l] + i.offset as u64;
            let Some(at) = end[l].checked_sub(sizes[l]).map(|at| at & !(align - 1)).filter(|at| *at >= used) else {
                let what = format!("alloca of {} bytes with {} left", sizes[l], end[l].saturating_sub(used));
                return c.fail(i, 1 << l, FaultKind::StackOverflow, what);
            };
            end[l] = at;
        }
        c.warp.regs.put::<u64>(code.stack, c.mask, &end);
        if i.mods != 0 {
            c.warp.regs.put::<u64>(i.o[0], c.mask, &end);
        } else {
            c.warp.regs.put::<u32>(i.o[0], c.mask, &end.map(|a| a as u32));
        }
        Flow::Next
    })
    .with(wide(m))
}
