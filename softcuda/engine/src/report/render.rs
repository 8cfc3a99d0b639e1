//! The only code that turns a report into text.
//!
//! ```text
//! softcuda: <whose> fault: <what happened, both parties>
//!   --> <kernel>, block (x,y,z), warp w, line n:   <instruction>;   (2) just happened
//!       source <file>:<line>, inlined at <file>:<line>
//!       line m:   <instruction>;   (1) happened earlier, ..
//!       source ..
//!   = allocation: ..
//!   = rule: ..
//!   = again: SOFTCUDA_SEED=..
//!   = this is a fault of the kernel
//! ```
//! Kind first, then both parties, then evidence, then how to see it again, then whose fault it is.

use super::violation::{AccessKind, Blame, Detail, FaultKind, Party, Place, Report, Used};
use crate::memory::Space;
use crate::memory::space::Label;
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = &self.fault;
        let (head, tail) = match fault.kind.blame() {
            Blame::Kernel => ("kernel fault", "this is a fault of the kernel"),
            Blame::Host => ("host fault", "this is a fault of the host program, not of a kernel"),
            Blame::Unsupported => ("unsupported", "unsupported by softcuda, not a fault of the kernel"),
            Blame::Limit => ("limit reached", "a limit of this run was reached, perhaps no fault of the kernel"),
            Blame::Bug => ("internal error", "this is a bug in softcuda, not a fault of the kernel"),
        };
        let (title, notes) = match &fault.detail {
            Some(detail) => self.words(detail),
            None => (fault.what.clone(), Vec::new()),
        };
        writeln!(f, "softcuda: {head}: {title}")?;
        if !self.kernel.is_empty() {
            let [x, y, z] = self.block;
            write!(f, "  --> {}, block ({x},{y},{z}), warp {}", self.kernel, fault.warp)?;
            if let (Some(lane), None) = (fault.lane, &fault.detail) {
                write!(f, ", thread {}", fault.warp * 32 + lane)?;
            }
            write!(f, ", {}", line(fault.site.line, &self.text))?;
            writeln!(f, "{}", if fault.other.is_some() { "   (2) just happened" } else { "" })?;
        }
        let source = |f: &mut fmt::Formatter<'_>, source: &Option<String>| match source {
            Some(source) => writeln!(f, "      source {source}"),
            None => Ok(()),
        };
        source(f, &self.source)?;
        if let (Some((site, what)), Some(text)) = (&fault.other, &self.other_text) {
            writeln!(f, "      {}   (1) {what}", line(site.line, text))?;
            source(f, &self.other_source)?;
        }
        for note in notes.iter().chain(&fault.notes) {
            writeln!(f, "  = {note}")?;
        }
        if !self.kernel.is_empty() {
            writeln!(f, "  = again: SOFTCUDA_SEED={}", self.seed)?;
        }
        write!(f, "  = {tail}")
    }
}

fn line(number: u32, text: &str) -> String {
    let text = text.trim().trim_end_matches(';');
    if text.is_empty() { format!("line {number}") } else { format!("line {number}:   {text};") }
}

/// First word of an instruction that is no guard, or what the access does.
fn mnemonic(text: &str, kind: AccessKind) -> String {
    let word = text.split_whitespace().find(|w| !w.starts_with('@') && !w.ends_with(':') && *w != "{");
    let name = match kind {
        AccessKind::Load => "load",
        AccessKind::Store => "store",
        AccessKind::Atomic => "atomic",
        AccessKind::AsyncSource | AccessKind::AsyncTarget => "cp.async",
    };
    word.map_or(name, |w| w.trim_end_matches(';')).to_string()
}

impl Report {
    /// Title and notes of what a memory detector found.
    fn words(&self, detail: &Detail) -> (String, Vec<String>) {
        let thread = self.fault.thread();
        let by = |kind: AccessKind| format!("{} by thread {thread}", mnemonic(&self.text, kind));
        let rule = |text: &str| format!("rule: {text}");
        let first = |p: &Party| {
            format!("(1) {} by thread {}", mnemonic(self.other_text.as_deref().unwrap_or_default(), p.kind), p.thread)
        };
        let second = |p: &Party| format!("(2) {} by thread {}", mnemonic(&self.text, p.kind), p.thread);
        let range =
            |address: u64, bytes: u32| format!("bytes {address:#x}..{:#x}", address.saturating_add(bytes as u64));
        match detail {
            Detail::OutOfBounds { kind, space, address, bytes, limit, place } => (
                format!("out of bounds: {}, {bytes} bytes at {address:#x} of {}", by(*kind), name(*space)),
                vec![match space {
                    Space::Global | Space::Const | Space::Generic => allocation(place),
                    _ => format!("allocation: {}, {limit} bytes", name(*space)),
                }],
            ),
            Detail::UseAfterFree { kind, address, bytes, place } => {
                (format!("use after free: {}, {bytes} bytes at {address:#x}", by(*kind)), vec![allocation(place)])
            }
            Detail::Misaligned { kind, space, address, bytes } => (
                format!("misaligned address: {}, {bytes} bytes at {address:#x} of {}", by(*kind), name(*space)),
                vec![rule("an address is a multiple of the access's whole width (PTX ISA, Addresses as Operands)")],
            ),
            Detail::WrongSpace { kind, space, belongs, address } => {
                let used = match space {
                    Space::Global | Space::Const | Space::Generic => format!("an address of {}", name(*space)),
                    _ => format!("an offset in {}", name(*space)),
                };
                let is = format!("{address:#x} is a generic address of {}", name(*belongs));
                (
                    format!("wrong state space: {}, {is}, used as {used}", by(*kind)),
                    vec![rule("cvta changes between generic addresses and those of a state space (PTX ISA, cvta)")],
                )
            }
            Detail::ReadOnly { space, address, place } => {
                let title =
                    format!("store to read-only memory: {}, {address:#x} of {}", by(AccessKind::Store), name(*space));
                (title, place.iter().map(|_| allocation(place)).collect())
            }
            Detail::Unwritten { space, address, bytes, place } => {
                let title = format!(
                    "use of bytes that nobody wrote: {}, {bytes} bytes at {address:#x} of {}",
                    by(AccessKind::Atomic),
                    name(*space)
                );
                (title, place.iter().map(|_| allocation(place)).collect())
            }
            Detail::Uninitialised { used, brought } => {
                let word = mnemonic(&self.text, AccessKind::Store);
                let who = match used {
                    Used::Address => format!("the address of {word}"),
                    Used::Guard => format!("the guard of {word}"),
                    Used::Decision | Used::Atomic => format!("an operand of {word}"),
                    Used::Result => format!("the value of {word}"),
                };
                let moved = rule("bytes may be moved before anybody wrote them, not used or computed with");
                let Some(b) = brought else {
                    let title = format!("use of a register that nobody wrote: {who} by thread {thread} depends on it");
                    return (title, vec![moved]);
                };
                let from = format!("{:#x} of {}", b.address, name(b.space));
                let title = format!(
                    "use of bytes that nobody wrote: {} read {from}, and (2) {who} by thread {thread} depends on it",
                    first(&b.load)
                );
                (title, b.place.iter().map(|p| allocation(&Some(p.clone()))).chain([moved]).collect())
            }
            Detail::ForeignLocal { kind, address, owner } => (
                format!("wrong state space: {}, {address:#x} is in the local memory of thread {owner}", by(*kind)),
                vec![rule("local memory is private to its thread (PTX ISA, Local State Space)")],
            ),
            Detail::AsyncPending { copy, access, address, bytes } => (
                format!(
                    "access to an unfinished cp.async: {} and {}, {} of shared memory",
                    first(copy),
                    second(access),
                    range(*address, *bytes)
                ),
                vec![rule(
                    "the bytes are there after the copying thread's cp.async.wait_group or wait_all (PTX ISA, cp.async)",
                )],
            ),
            Detail::SharedRace { first: a, second: b, address, bytes, limit } => (
                format!("race on shared memory between {} and {}, {}", first(a), second(b), range(*address, *bytes)),
                vec![
                    format!("allocation: shared memory, {limit} bytes"),
                    rule(if a.thread / 32 != b.thread / 32 {
                        "different warps, no barrier orders the two accesses (PTX ISA, Memory Consistency Model)"
                    } else if a.thread != b.thread {
                        "different lanes, no bar.warp.sync or barrier orders the two accesses (PTX ISA, Memory Consistency Model)"
                    } else {
                        "a cp.async is ordered only by its wait (PTX ISA, cp.async)"
                    }),
                ],
            ),
            Detail::GlobalRace { first: a, second: b, address, bytes, place } => (
                format!(
                    "race on global memory between {} of block {} and {} of block {}, {}",
                    first(a),
                    a.block,
                    second(b),
                    b.block,
                    range(*address, *bytes)
                ),
                vec![
                    allocation(place),
                    rule(
                        "blocks are ordered only by a fence and an atomic after (1) that an atomic before (2) has seen (PTX ISA, Memory Consistency Model)",
                    ),
                ],
            ),
            Detail::HostRange { kind, address, bytes, place } => {
                let verb = if *kind == AccessKind::Load { "read" } else { "write" };
                (
                    format!("{verb} of {bytes} bytes at {address:#x} is not inside one live allocation"),
                    vec![allocation(place)],
                )
            }
            Detail::BadFree { address, twice, place } => {
                let verb = if *twice { "second free" } else { "free" };
                (format!("{verb} of {address:#x}, which is no live allocation's start"), vec![allocation(place)])
            }
        }
    }
}

/// The state space's name in a sentence.
fn name(space: Space) -> &'static str {
    match space {
        Space::Global => "global memory",
        Space::Shared => "shared memory",
        Space::Local => "local memory",
        Space::Param => "parameter memory",
        Space::Const => "constant memory",
        Space::Generic => "generic memory",
    }
}

fn allocation(place: &Option<Place>) -> String {
    let Some(place) = place else { return "allocation: none on this device".to_string() };
    let what = match &place.label {
        Label::Device => format!("device allocation {}", place.serial),
        Label::Global(name) => format!(".global {name}"),
        Label::Const(name) => format!(".const {name}"),
        Label::Host => "pinned host memory".to_string(),
    };
    let (size, offset) = (place.size as i64, place.offset);
    let distance = if offset < 0 {
        format!("{} bytes before its start", -offset)
    } else if offset == size {
        "the byte after its end".to_string()
    } else if offset > size {
        format!("{} bytes after its end", offset - size)
    } else {
        format!("byte {offset} of it")
    };
    let freed = if place.freed { ", freed" } else { "" };
    format!("allocation: {what}, {size} bytes at {:#x}{freed}; the address is {distance}", place.base)
}

impl FaultKind {
    /// A name for lists and tests, such as `out-of-bounds`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.extend(c.to_lowercase());
        }
        name
    }
}
