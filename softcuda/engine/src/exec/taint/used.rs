//! Faults: a use of bits that nobody wrote, and the load that brought them.

use super::super::code::Roles;
use super::super::ctx::Ctx;
use super::super::inst::Inst;
use super::super::regs::File;
use super::super::shadow::Source;
use crate::count::Class;
use crate::memory::Space;
use crate::memory::space::window_of;
use crate::report::{AccessKind, Brought, Detail, Fault, Party, Site, Used};

/// An operand that must be known here is not, in these lanes.
#[cold]
pub fn refuse_operand(c: &mut Ctx<'_, '_>, i: &Inst, roles: &Roles, lanes: u32) {
    let lane = lanes.trailing_zeros() as usize;
    let shadow = &c.warp.regs.shadow;
    let Some(source) = roles.uses.iter().find_map(|u| shadow.source(u.0, u.1, lane)) else { return };
    let used = match i.class {
        Class::Control | Class::Sync | Class::Warp => Used::Decision,
        Class::Atomic => Used::Atomic,
        _ => Used::Address,
    };
    refuse(c, i, lanes, used, source);
}

/// The guard of an instruction depends on bytes that nobody wrote.
#[cold]
pub fn refuse_guard(c: &mut Ctx<'_, '_>, i: &Inst, lanes: u32) {
    let source = c.warp.regs.shadow.source(File::Pred, i.guard, lanes.trailing_zeros() as usize);
    refuse(c, i, lanes, Used::Guard, source.unwrap_or(Source::UNSET));
}

/// Ends the launch.
#[cold]
pub fn refuse(c: &mut Ctx<'_, '_>, i: &Inst, lanes: u32, used: Used, source: Source) {
    let warp = c.warp.index;
    let brought = (source.pc != Source::REGISTER).then(|| {
        let load = &c.launch.code.insts[source.pc as usize];
        let (space, window) = match load.mem.space {
            Space::Generic => window_of(source.address),
            named => (named, 0),
        };
        let place = match space {
            Space::Global | Space::Const => c.door.memory().space().describe(source.address),
            _ => None,
        };
        let site = Site { pc: source.pc, line: load.line };
        let (block, thread) = (c.door.block.number, warp * 32 + u32::from(source.lane));
        let load = Party { site, kind: AccessKind::Load, block, thread };
        Brought { load, space, address: source.address - window, place }
    });
    let detail = Detail::Uninitialised { used, brought };
    c.fault = Some(Fault::found(detail, c.site(i), warp, lanes));
}
