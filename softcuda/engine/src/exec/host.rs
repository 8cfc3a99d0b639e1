//! Functions that the device provides to kernels: `vprintf` and `__assertfail`. `Inst::list` holds the offsets of arguments and result in the
//! frame, whose place is in `o[0]`.

use super::ctx::Ctx;
use super::inst::{Exec, Flow, Inst};
use super::lift::exec;
use super::printf::{Values, formatted};
use crate::memory::{Access, Space, Wide};
use crate::report::FaultKind;

/// A function that the device provides.
pub struct Builtin {
    /// What a call of it does.
    pub exec: Exec,
    /// Bytes of each argument.
    pub arguments: &'static [u32],
    /// Bytes of each result.
    pub results: &'static [u32],
}

/// The function of this name.
pub fn builtin(name: &str) -> Option<Builtin> {
    Some(match name {
        "vprintf" => Builtin { exec: exec!(|c, i| printf(c, i)), arguments: &[8, 8], results: &[4] },
        "__assertfail" => Builtin { exec: exec!(|c, i| assertfail(c, i)), arguments: &[8, 8, 4, 8, 8], results: &[] },
        _ => return None,
    })
}

/// Up to 8 bytes of one lane.
fn peek(c: &mut Ctx<'_, '_>, i: &Inst, lane: u32, space: Space, address: u64, size: u32) -> Option<u64> {
    let access = Access::weak(c.site(i), c.warp.index, 1 << lane, space, size);
    let mut wide = Wide::new();
    match c.door.load(&access, &[address; 32], &mut wide) {
        Ok(()) => {
            let words = wide.lane(lane as usize);
            Some(u64::from(words[0]) | if size == 8 { u64::from(words[1]) << 32 } else { 0 })
        }
        Err(fault) => {
            c.fault = Some(fault);
            None
        }
    }
}

/// A NUL-terminated text at a generic address.
fn text(c: &mut Ctx<'_, '_>, i: &Inst, lane: u32, address: u64) -> Option<String> {
    let mut bytes = Vec::new();
    while bytes.len() < 4096 {
        match peek(c, i, lane, Space::Generic, address + bytes.len() as u64, 1)? as u8 {
            0 => break,
            b => bytes.push(b),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where a lane's frame begins.
fn frame(c: &Ctx<'_, '_>, i: &Inst, lane: u32) -> u64 {
    c.warp.regs.r64[i.o[0] as usize][lane as usize]
}

/// The k-th argument of a lane.
fn operand(c: &mut Ctx<'_, '_>, i: &Inst, lane: u32, k: usize, size: u32) -> Option<u64> {
    let address = frame(c, i, lane) + u64::from(i.list[k]);
    peek(c, i, lane, Space::Local, address, size)
}

fn lanes(mask: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |l| mask >> l & 1 != 0)
}

/// The arguments of one lane's `printf`: one after the other, each aligned to its size.
struct Arguments<'c, 'a, 'l> {
    c: &'c mut Ctx<'a, 'l>,
    i: &'c Inst,
    lane: u32,
    at: u64,
}

impl Values for Arguments<'_, '_, '_> {
    fn next(&mut self, bytes: u32) -> Option<u64> {
        let bytes64 = u64::from(bytes);
        let at = self.at.wrapping_add(bytes64 - 1) & !(bytes64 - 1);
        self.at = at.wrapping_add(bytes64);
        peek(self.c, self.i, self.lane, Space::Generic, at, bytes)
    }

    fn text(&mut self, address: u64) -> Option<String> {
        text(self.c, self.i, self.lane, address)
    }
}

/// `vprintf(format, arguments)`: writes to standard error; the result is the number of arguments.
fn printf(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    for lane in lanes(c.mask) {
        let Some((out, used)) = (|| {
            let format = operand(c, i, lane, 0, 8)?;
            let format = text(c, i, lane, format)?;
            let at = operand(c, i, lane, 1, 8)?;
            formatted(&format, &mut Arguments { c, i, lane, at })
        })() else {
            return Flow::Fault;
        };
        eprint!("{out}");
        let access = Access::weak(c.site(i), c.warp.index, 1 << lane, Space::Local, 4);
        let mut count = Wide::new();
        count.words[0][lane as usize] = used;
        let address = frame(c, i, lane) + u64::from(i.list[2]);
        if let Err(fault) = c.door.store(&access, &[address; 32], &count) {
            return c.fault(fault);
        }
    }
    Flow::Next
}

/// `__assertfail(message, file, line, function, char size)`
fn assertfail(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let lane = c.mask.trailing_zeros();
    let Some(what) = (|| {
        let mut get = |k: usize, size| operand(c, i, lane, k, size);
        let (message, file, line, function) = (get(0, 8)?, get(1, 8)?, get(2, 4)?, get(3, 8)?);
        let [message, file, function] = [message, file, function].map(|a| text(c, i, lane, a));
        Some(format!("assertion `{}` failed in {} at {}:{line}", message?, function?, file?))
    })() else {
        return Flow::Fault;
    };
    c.fail(i, c.mask, FaultKind::Assert, what)
}
