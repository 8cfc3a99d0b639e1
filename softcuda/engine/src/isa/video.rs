//! The SIMD video instructions that CUDA C++ still becomes (PTX ISA 9.7.18). The fourth operand is the addend of `.add`; otherwise it would fill
//! the parts that a mask leaves out, and no mask is supported.

use super::row::{Mods, Row, row};
use crate::arith::bits;
use crate::count::Class::Int;
use crate::exec::{Exec, exec, lift::lift3};
use crate::ptx::Ty;

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        row("vabsdiff2.(u32|s32).(u32|s32).(u32|s32){.add} d:b32, a:b32, b:b32, c:b32", "9.7.18.2", Int, |m| difference(m, 16)),
        row("vabsdiff4.(u32|s32).(u32|s32).(u32|s32){.add} d:b32, a:b32, b:b32, c:b32", "9.7.18.3", Int, |m| difference(m, 8)),
    ]
}

/// `mods`: bits of a part, signs of a and b, `.add`.
fn difference(m: &Mods, width: u32) -> Option<Exec> {
    let signed = |n: usize| m.nth_ty(n) == Some(Ty::S32);
    let mods = width | u32::from(signed(1)) << 8 | u32::from(signed(2)) << 9 | u32::from(m.has("add")) << 10;
    Some(
        exec!(|c, i| {
            let (width, signs, add) =
                (i.mods & 0xff, [i.mods >> 8 & 1 != 0, i.mods >> 9 & 1 != 0], i.mods >> 10 & 1 != 0);
            lift3(c, i, |a: u32, b: u32, addend: u32| {
                let parts = bits::absolute_differences(a, b, width, signs);
                if add { parts.0.wrapping_add(addend) } else { parts.1 }
            })
        })
        .with(mods),
    )
}
