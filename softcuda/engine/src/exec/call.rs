//! Into functions and back. Each lane has its own stack: frames in local memory, and aside of them the registers of functions that are called
//! again while they run.

use super::code::{CallSite, Code, Run};
use super::ctx::Ctx;
use super::regs::{File, Regs};
use super::shadow::Source;
use super::warp::{Group, State};
use crate::memory::lanes;
use crate::report::FaultKind;

/// Group `g` calls: to each lane's function, with arguments in its frame. `None` when a lane's stack is full, which is in `Ctx::fault`.
pub fn enter(c: &mut Ctx<'_, '_>, code: &Code, g: usize, pc: u32) -> Option<()> {
    let i = &code.insts[pc as usize];
    let site = &code.calls[i.mods as usize];
    let targets = site.targets(code);
    let mask = c.warp.groups[g].mask;
    let bases = c.warp.regs.r64[code.frame as usize];
    let registers: u32 = ranges(code, site).iter().map(|(first, end)| end - first).sum();
    for l in lanes(mask) {
        let target = &targets[c.targets[l] as usize];
        let end = bases[l] + u64::from(site.frame) + u64::from(target.frame);
        let saved = c.warp.stacks.get(l).map_or(0, Vec::len) + registers as usize;
        if end > c.warp.regs.r64[code.stack as usize][l] || saved > SAVED || c.warp.groups[g].calls.len() >= NESTED {
            let what = format!("calls nested too deep: {end} bytes of stack in use");
            c.fail(i, 1 << l, FaultKind::StackOverflow, what);
            return None;
        }
    }
    let inner = bases.map(|b| b + u64::from(site.frame));
    for l in lanes(mask) {
        c.door.forget_local(c.warp.index, 1 << l, &inner, targets[c.targets[l] as usize].frame);
    }
    for Run { caller, callee, size } in &site.arguments {
        c.door.move_local(c.warp.index, mask, (&bases, *caller), (&inner, *callee), *size);
    }
    save(c, code, site, mask);
    lanes(mask).for_each(|l| c.warp.regs.r64[code.frame as usize][l] = inner[l]);
    let groups = &mut c.warp.groups;
    groups[g].calls.push(pc + 1);
    let mut rest = mask;
    while rest != 0 {
        let target = c.targets[rest.trailing_zeros() as usize];
        let set = lanes(rest).filter(|&l| c.targets[l] == target).fold(0, |m, l| m | 1 << l);
        let (at, calls) = (targets[target as usize].at, groups[g].calls.clone());
        if rest == mask {
            (groups[g].pc, groups[g].mask) = (at, set);
        } else {
            groups.push(Group { pc: at, mask: set, calls, state: State::Ready });
        }
        rest &= !set;
    }
    Some(())
}

/// Calls that may be under way at once.
const NESTED: usize = 4096;
/// Registers that a lane may have put aside: 512 KB, the local memory that a device gives a thread.
const SAVED: usize = 64 << 10;

/// Group `g` returns to `back`.
pub fn leave(c: &mut Ctx<'_, '_>, code: &Code, g: usize, back: u32) {
    let site = &code.calls[code.insts[back as usize - 1].mods as usize];
    let mask = c.warp.groups[g].mask;
    let inner = c.warp.regs.r64[code.frame as usize];
    let bases = inner.map(|b| b.wrapping_sub(u64::from(site.frame)));
    lanes(mask).for_each(|l| c.warp.regs.r64[code.frame as usize][l] = bases[l]);
    restore(c, code, site, mask);
    for Run { caller, callee, size } in &site.results {
        c.door.move_local(c.warp.index, mask, (&inner, *callee), (&bases, *caller), *size);
    }
    c.warp.groups[g].pc = back;
}

/// The slots that the caller's registers have in each file, if the call puts them aside.
fn ranges(code: &Code, site: &CallSite) -> [(u32, u32); 3] {
    if site.saves { code.ranges[site.function] } else { [(0, 0); 3] }
}

/// The registers of the caller, file by file.
fn slots(code: &Code, site: &CallSite) -> impl DoubleEndedIterator<Item = (File, u32)> {
    let file = |(file, (first, end)): (File, (u32, u32))| (first..end).map(move |slot| (file, slot));
    [File::R32, File::R64, File::Pred]
        .into_iter()
        .zip(ranges(code, site))
        .flat_map(file)
        .collect::<Vec<_>>()
        .into_iter()
}

fn get(regs: &Regs, file: File, slot: u32, lane: usize) -> u64 {
    match file {
        File::R32 => u64::from(regs.r32[slot as usize][lane]),
        File::R64 => regs.r64[slot as usize][lane],
        File::Pred => u64::from(regs.pred[slot as usize] >> lane & 1),
    }
}

fn put(regs: &mut Regs, file: File, slot: u32, lane: usize, value: u64) {
    match file {
        File::R32 => regs.r32[slot as usize][lane] = value as u32,
        File::R64 => regs.r64[slot as usize][lane] = value,
        File::Pred => regs.put_pred(slot, 1 << lane, (value as u32) << lane),
    }
}

/// Puts the caller's registers and the end of its stack aside.
fn save(c: &mut Ctx<'_, '_>, code: &Code, site: &CallSite, mask: u32) {
    if c.warp.stacks.is_empty() {
        c.warp.stacks = vec![Vec::new(); 32];
    }
    for l in lanes(mask) {
        let (regs, stack) = (&c.warp.regs, &mut c.warp.stacks[l]);
        stack.push(regs.r64[code.stack as usize][l]);
        for (file, slot) in slots(code, site) {
            stack.push(get(regs, file, slot, l));
            if c.launch.init {
                let bits = regs.shadow.bits(file, slot, l);
                stack.extend(regs.shadow.source(file, slot, l).into_iter().flat_map(Source::words));
                stack.push(bits);
            }
        }
    }
}

/// The reverse of [`save`].
fn restore(c: &mut Ctx<'_, '_>, code: &Code, site: &CallSite, mask: u32) {
    for l in lanes(mask) {
        let (regs, stack) = (&mut c.warp.regs, &mut c.warp.stacks[l]);
        let mut pop = || stack.pop().expect("what a call pushed");
        for (file, slot) in slots(code, site).rev() {
            if c.launch.init {
                let bits = pop();
                let source = if bits == 0 { Source::UNSET } else { Source::from_reversed([pop(), pop()]) };
                regs.shadow.set(file, slot, l, bits, source);
            }
            put(regs, file, slot, l, pop());
        }
        regs.r64[code.stack as usize][l] = pop();
    }
}
