//! Everything else (PTX ISA 9.7.13.13 griddepcontrol, 9.7.19 miscellaneous), and the registers that change while a kernel runs.

use super::mem::nothing;
use super::row::{Row, row};
use crate::count::Class::Misc;
use crate::exec::{Exec, exec};

/// The rows.
#[rustfmt::skip] // One instruction a line.
pub fn rows() -> Vec<Row> {
    vec![
        // One kernel runs at a time: what it depends on is complete.
        row("griddepcontrol.(launch_dependents|wait)", "9.7.13.13", Misc, |_| Some(nothing())).hint().since(90),
        row("brkpt",                                   "9.7.19.1", Misc, |_| Some(nothing())).hint(),
        row("nanosleep.u32 a",                         "9.7.19.2", Misc, |_| Some(exec!(|_c, _i| Flow::Yield))).hint(),
        row("pmevent{.mask} a:u32",                    "9.7.19.3", Misc, |_| Some(nothing())).hint(),
    ]
}

/// `mov d, %clock` and the like. The clock counts the block's warp instructions; `mem.register` is the width of d, `mods` 1 takes the
/// upper half.
pub fn clock(name: &str) -> Option<Exec> {
    let high = matches!(name, "%clock_hi" | "%globaltimer_hi");
    matches!(name, "%clock" | "%clock64" | "%clock_hi" | "%globaltimer" | "%globaltimer_lo" | "%globaltimer_hi").then(
        || {
            exec!(|c, i| {
                let now = if i.mods != 0 { c.clock >> 32 } else { c.clock };
                if i.mem.register == 64 {
                    c.warp.regs.put::<u64>(i.o[0], c.mask, &[now; 32]);
                } else {
                    c.warp.regs.put::<u32>(i.o[0], c.mask, &[now as u32; 32]);
                }
                Flow::Next
            })
            .with(u32::from(high))
        },
    )
}
