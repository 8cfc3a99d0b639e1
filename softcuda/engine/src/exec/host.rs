//! Functions that the device provides to kernels: `vprintf` and `__assertfail`. `Inst::list` holds the local offsets of arguments and result.

use super::ctx::Ctx;
use super::inst::{Exec, Flow, Inst};
use super::lift::exec;
use crate::memory::{Access, Space, Wide};
use crate::report::FaultKind;
use std::fmt::Write;

/// The function of this name.
pub fn builtin(name: &str) -> Option<Exec> {
    Some(match name {
        "vprintf" => exec!(|c, i| printf(c, i)),
        "__assertfail" => exec!(|c, i| assertfail(c, i)),
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

fn lanes(mask: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |l| mask >> l & 1 != 0)
}

fn printf(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let [format, arguments, result] = [0, 1, 2].map(|k| u64::from(i.list.get(k).copied().unwrap_or(0)));
    for lane in lanes(c.mask) {
        let Some(out) = (|| {
            let format = peek(c, i, lane, Space::Local, format, 8)?;
            let format = text(c, i, lane, format)?;
            let arguments = peek(c, i, lane, Space::Local, arguments, 8)?;
            formatted(c, i, lane, &format, arguments)
        })() else {
            return Flow::Fault;
        };
        eprint!("{out}");
        if i.list.len() > 2 {
            let access = Access::weak(c.site(i), c.warp.index, 1 << lane, Space::Local, 4);
            let mut count = Wide::new();
            count.words[0][lane as usize] = out.len() as u32;
            if let Err(fault) = c.door.store(&access, &[result; 32], &count) {
                return c.fault(fault);
            }
        }
    }
    Flow::Next
}

/// The text of one `printf`: arguments lie one after the other, each aligned to its size (4 or 8 bytes).
fn formatted(c: &mut Ctx<'_, '_>, i: &Inst, lane: u32, format: &str, arguments: u64) -> Option<String> {
    let mut out = String::new();
    let mut at = 0u64;
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out += &rest[..start];
        rest = &rest[start + 1..];
        let end =
            rest.find(|ch: char| ch.is_ascii_alphabetic() && !matches!(ch, 'l' | 'h' | 'z' | 'j' | 't') || ch == '%');
        let Some(end) = end else { break };
        let (spec, kind) = (&rest[..end], rest.as_bytes()[end]);
        rest = &rest[end + 1..];
        if kind == b'%' {
            out.push('%');
            continue;
        }
        let long = spec.contains(['l', 'z', 'j', 't'])
            || matches!(kind, b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b's' | b'p');
        let size = if long { 8 } else { 4 };
        at = at.next_multiple_of(size);
        let value = peek(c, i, lane, Space::Generic, arguments + at, size as u32)?;
        at += size;
        let flags: String = spec.chars().take_while(|ch| "-+ #0".contains(*ch)).collect();
        let numbers = spec[flags.len()..].trim_end_matches(char::is_alphabetic);
        let (width, precision) =
            numbers.split_once('.').map_or((numbers, None), |(w, p)| (w, Some(p.parse().unwrap_or(0))));
        let signed = if long { value as i64 } else { i64::from(value as i32) };
        let float = f64::from_bits(value);
        let body = match kind {
            b'd' | b'i' => signed.to_string(),
            b'u' => value.to_string(),
            b'x' => format!("{value:x}"),
            b'X' => format!("{value:X}"),
            b'o' => format!("{value:o}"),
            b'p' => format!("{value:#x}"),
            b'c' => (value as u8 as char).to_string(),
            b's' => text(c, i, lane, value)?,
            b'e' | b'E' => format!("{float:.*e}", precision.unwrap_or(6)),
            b'g' | b'G' | b'a' => float.to_string(),
            _ => format!("{float:.*}", precision.unwrap_or(6)),
        };
        let width: usize = width.parse().unwrap_or(0);
        let _ = match (flags.contains('-'), flags.contains('0')) {
            (true, _) => write!(out, "{body:<width$}"),
            (_, true) => write!(out, "{}{body}", "0".repeat(width.saturating_sub(body.len()))),
            _ => write!(out, "{body:>width$}"),
        };
    }
    Some(out + rest)
}

/// `__assertfail(message, file, line, function, char size)`
fn assertfail(c: &mut Ctx<'_, '_>, i: &Inst) -> Flow {
    let lane = c.mask.trailing_zeros();
    let offsets = i.list.clone();
    let Some(what) = (|| {
        let mut get = |k: usize, size| peek(c, i, lane, Space::Local, u64::from(*offsets.get(k)?), size);
        let (message, file, line, function) = (get(0, 8)?, get(1, 8)?, get(2, 4)?, get(3, 8)?);
        let [message, file, function] = [message, file, function].map(|a| text(c, i, lane, a));
        Some(format!("assertion `{}` failed in {} at {}:{line}", message?, function?, file?))
    })() else {
        return Flow::Fault;
    };
    c.fail(i, c.mask, FaultKind::Assert, what)
}
