//! One statement to one instruction.

use super::{Draft, Env, Graph, Layout, Preloads, Reg, Result, Use, file_of, is_label, no_mem, refuse};
use crate::exec::code::Preload;
use crate::exec::regs::File;
use crate::exec::{ABSENT, Exec, Inst, choose};
use crate::isa::{self, Mods, OperandTy, Role, Row};
use crate::memory::Space;
use crate::module::LoadErrorKind::{Syntax, Undefined, Unsupported};
use crate::ptx::{Function, Operand, Stmt, Ty};
use std::collections::HashMap;

/// The parts of a call.
#[derive(Clone, Copy)]
pub struct Call<'s, 'a> {
    /// Results.
    pub results: &'s [Operand<'a>],
    /// A function's name, or a register with its address.
    pub target: &'s Operand<'a>,
    /// Arguments.
    pub arguments: &'s [Operand<'a>],
}

/// Whether a statement calls, though perhaps nothing that can be called.
fn is_call(stmt: &Stmt<'_>) -> bool {
    matches!(stmt.op, "call" | "call.uni")
}

/// The parts of a call statement that names a function or a register.
pub fn call<'s, 'a>(stmt: &'s Stmt<'a>) -> Option<Call<'s, 'a>> {
    if !is_call(stmt) {
        return None;
    }
    let list = |o: Option<&'s Operand<'a>>| if let Some(Operand::List(l)) = o { Some(l.as_slice()) } else { None };
    let results = list(stmt.operands.first());
    let at = usize::from(results.is_some());
    let target = stmt.operands.get(at).filter(|o| matches!(o, Operand::Symbol(_) | Operand::Reg(_)))?;
    Some(Call { results: results.unwrap_or(&[]), target, arguments: list(stmt.operands.get(at + 1)).unwrap_or(&[]) })
}

/// Decodes the statements of one function.
pub struct Decoder<'d, 'a> {
    /// The module.
    pub env: &'d Env<'a>,
    /// The function.
    pub function: &'a Function<'a>,
    /// Its number in the kernel; 0 is the entry.
    pub number: usize,
    /// The kernel and what it calls.
    pub graph: &'d Graph<'a>,
    /// Where variables live.
    pub layout: &'d Layout,
    /// Where each function's instructions begin.
    pub starts: &'d HashMap<&'a str, u32>,
}

impl<'a> Decoder<'_, 'a> {
    /// The instruction of a statement of the function that begins at `start`.
    pub fn draft(&self, stmt: &Stmt<'a>, start: u32, preloads: &mut Preloads) -> Result<Draft> {
        let mut draft = if stmt.op.starts_with('.') {
            self.blank(stmt, isa::nothing(), crate::Class::Control)
        } else if is_call(stmt) {
            self.call(stmt, preloads)?
        } else if let Some(draft) = self.frame_address(stmt, preloads)? {
            draft
        } else if stmt.op.starts_with("mov.") && stmt.operands.iter().any(|o| matches!(o, Operand::Vector(_))) {
            self.pack(stmt, preloads)?
        } else if let Some(draft) = self.clock(stmt)? {
            draft
        } else {
            self.regular(stmt, preloads)?
        };
        if let Some((r, negated)) = stmt.guard {
            let reg = self.reg(r);
            if reg.file() != File::Pred {
                return Err(refuse(stmt, Syntax, "the guard is not a predicate"));
            }
            draft.guard = Some((reg, Use::Decide));
            draft.inst.guard_not = negated;
        }
        self.flow(stmt, start, &mut draft)?;
        Ok(draft)
    }

    pub(super) fn blank(&self, stmt: &Stmt<'a>, exec: Exec, class: crate::Class) -> Draft {
        let inst = Inst {
            run: choose(exec.tiers, self.env.base_tier),
            o: [ABSENT; 6],
            list: Box::new([]),
            offset: 0,
            second_offset: 0,
            mods: exec.mods,
            negated: false,
            guard: ABSENT,
            guard_not: false,
            mem: no_mem(),
            target: 0,
            line: stmt.line,
            class,
            taint: exec.taint,
        };
        Draft { inst, places: [None; 6], elements: Vec::new(), guard: None, targets: Vec::new(), falls: true }
    }

    pub(super) fn reg(&self, r: u32) -> Reg {
        let bits = super::body(self.function).regs[r as usize].ty.bits();
        Reg::Own(r, file_of(bits), bits)
    }

    /// Branch targets, and whether the next statement can follow.
    fn flow(&self, stmt: &Stmt<'a>, start: u32, draft: &mut Draft) -> Result<()> {
        let name = stmt.op.split('.').next().unwrap_or_default();
        match name {
            "bra" => {
                let Some(to) = stmt.operands.first().and_then(is_label) else {
                    return Err(refuse(stmt, Undefined, "the branch target is not a label of this function"));
                };
                draft.targets = vec![to];
                draft.inst.target = start + to;
                draft.falls = stmt.guard.is_some();
            }
            "brx" => {
                let stmts = &super::body(self.function).stmts;
                let table = stmt.operands.get(1).and_then(is_label).and_then(|at| stmts.get(at as usize));
                let Some(table) = table.filter(|t| t.op == ".branchtargets") else {
                    return Err(refuse(stmt, Undefined, "brx.idx needs the label of a .branchtargets"));
                };
                let targets: Option<Vec<u32>> = table.operands.iter().map(is_label).collect();
                draft.targets = targets.ok_or_else(|| refuse(table, Undefined, "a branch target is not a label"))?;
                draft.inst.list = draft.targets.iter().map(|to| start + to).collect();
                draft.falls = stmt.guard.is_some();
            }
            "alloca" => draft.inst.offset = i64::from(self.layout.frames[self.number]),
            "ret" | "exit" | "trap" => draft.falls = stmt.guard.is_some(),
            _ => {}
        }
        Ok(())
    }

    /// `mov` or `cvta` of the name of a variable in a function's frame: a sum, because frames have no fixed place.
    fn frame_address(&self, stmt: &Stmt<'a>, preloads: &mut Preloads) -> Result<Option<Draft>> {
        let Some((Operand::Reg(d), source)) = stmt.operands.first().zip(stmt.operands.get(1)) else { return Ok(None) };
        let generic = stmt.op.starts_with("cvta.local.");
        let named = matches!(source, Operand::Var(_) | Operand::Param(_) | Operand::Return(_) | Operand::Offset(..));
        if self.number == 0 || !named || !(generic || stmt.op.starts_with("mov.")) {
            return Ok(None);
        }
        let (address, space) = self.symbol(stmt, source)?;
        if space != Space::Local {
            return Ok(None);
        }
        let mut draft = self.blank(stmt, isa::frame_address(generic), crate::Class::Move);
        draft.inst.offset = address as i64;
        let reg = self.reg(*d);
        if !matches!(reg.bits(), 32 | 64) {
            return Err(refuse(stmt, Syntax, "an address has 32 or 64 bits"));
        }
        draft.places[0] = Some((reg, Use::Write));
        draft.places[1] = Some((preloads.reg(File::R64, Preload::Frame), Use::Read));
        draft.inst.mem.register = reg.bits() as u8;
        Ok(Some(draft))
    }

    /// `mov` from a register that changes while the kernel runs.
    fn clock(&self, stmt: &Stmt<'a>) -> Result<Option<Draft>> {
        let (Some(Operand::Reg(d)), Some(Operand::Special(name))) = (stmt.operands.first(), stmt.operands.get(1))
        else {
            return Ok(None);
        };
        let Some(exec) = isa::clock(name).filter(|_| stmt.op.starts_with("mov.")) else { return Ok(None) };
        let mut draft = self.blank(stmt, exec, crate::Class::Misc);
        let reg = self.reg(*d);
        draft.places[0] = Some((reg, Use::Write));
        draft.inst.mem.register = reg.bits() as u8;
        Ok(Some(draft))
    }

    /// `mov d, {a, b}` and `mov {a, b}, d`.
    fn pack(&self, stmt: &Stmt<'a>, preloads: &mut Preloads) -> Result<Draft> {
        let ty = stmt.op.strip_prefix("mov.").and_then(Ty::by_name);
        let Some(ty) = ty.filter(|t| matches!(t.bits(), 16 | 32 | 64)) else {
            return Err(refuse(stmt, Unsupported, "packs and unpacks of 16, 32 and 64 bits are supported"));
        };
        let [d, a] = stmt.operands.as_slice() else { return Err(refuse(stmt, Syntax, "mov has two operands")) };
        let (list, whole, exec, used) = match (d, a) {
            (Operand::Vector(list), whole) => (list, whole, isa::unpack(), Use::Write),
            (whole, Operand::Vector(list)) => (list, whole, isa::pack(), Use::Read),
            _ => return Err(refuse(stmt, Syntax, "one side of a pack is a vector")),
        };
        let part = match (ty.bits(), list.len()) {
            (16, 2) | (32, 4) => Ty::B8,
            (32, 2) | (64, 4) => Ty::B16,
            (64, 2) => Ty::B32,
            (bits, n) => return Err(refuse(stmt, Syntax, format!("{bits} bits are not a vector of {n}"))),
        };
        let mut draft = self.blank(stmt, exec, crate::Class::Move);
        for o in list {
            let reg = self.value(stmt, o, part, used, false, preloads)?;
            draft.elements.push((reg, used));
        }
        let other = if used == Use::Write { Use::Read } else { Use::Write };
        let reg = self.value(stmt, whole, ty, other, false, preloads)?;
        draft.places[0] = Some((reg, other));
        draft.inst.mem.element = part.bits() as u8;
        draft.inst.mem.register = ty.bits() as u8;
        Ok(draft)
    }

    /// The row of a statement, by spelling and number of operands.
    pub(super) fn row(&self, stmt: &Stmt<'a>) -> Result<((&'static Row, Mods), Exec, crate::Class)> {
        let found = isa::lookup(stmt.op);
        if found.is_empty() {
            let mut reason = String::from("instruction not known");
            let near: Vec<&str> = isa::rows_named(stmt.op).map(|r| r.syntax).collect();
            if !near.is_empty() {
                reason += ", known are: ";
                reason += &near.join("; ");
            }
            if let Some(why) = isa::refused(stmt.op) {
                reason = format!("not supported: {why}");
            }
            return Err(refuse(stmt, Unsupported, reason));
        }
        let mut reason = String::from("this combination of modifiers does not exist");
        for (row, mods) in found {
            if row.operands.iter().all(|o| o.ty != OperandTy::Special) && align(row, &stmt.operands).is_none() {
                reason = format!("operands do not fit `{}`", row.syntax);
                continue;
            }
            if let Some(exec) = (row.build)(&mods) {
                let target = self.env.unit.target;
                if row.since > target {
                    let reason = format!("it needs .target sm_{}, the module's is sm_{target}", row.since);
                    return Err(refuse(stmt, Syntax, reason));
                }
                return Ok(((row, mods), exec, row.class));
            }
        }
        Err(refuse(stmt, Unsupported, reason))
    }

    fn regular(&self, stmt: &Stmt<'a>, preloads: &mut Preloads) -> Result<Draft> {
        let ((row, mods), exec, class) = self.row(stmt)?;
        let mut draft = self.blank(stmt, exec, class);
        let Some(given) = align(row, &stmt.operands) else {
            return Err(refuse(stmt, Syntax, format!("operands do not fit `{}`", row.syntax)));
        };
        let decides = matches!(class, crate::Class::Control | crate::Class::Sync | crate::Class::Atomic);
        // Loads, stores and conversions take registers wider than their types.
        let wider = matches!(class, crate::Class::Memory | crate::Class::Cvt);
        let mut addresses = 0;
        for (k, (spec, operand)) in row.operands.iter().zip(given).enumerate() {
            let used = match spec.role {
                Role::Write => Use::Write,
                Role::Read if decides => Use::Decide,
                Role::Read => Use::Read,
                Role::Address | Role::Decide => Use::Decide,
            };
            let Some(operand) = operand else {
                if spec.role == Role::Write {
                    let bits = if spec.ty == OperandTy::Fixed(Ty::Pred) { 1 } else { mods.ty().bits() };
                    draft.places[k] = Some((Reg::Trash(file_of(bits)), Use::Write));
                }
                continue;
            };
            if spec.role == Role::Address {
                self.address(stmt, operand, &mods, k, addresses, &mut draft, preloads)?;
                addresses += 1;
                continue;
            }
            let (count, ty) = match spec.ty {
                OperandTy::Special => continue,
                OperandTy::Last => (0, mods.ty()),
                OperandTy::Nth(n) => (0, mods.nth_ty(n).unwrap_or(mods.ty())),
                OperandTy::Fixed(ty) => (0, ty),
                OperandTy::Wide => (0, wide(mods.ty())),
                OperandTy::Vector => (isa::vector_count(&mods), mods.ty()),
                OperandTy::Elements(n, ty) => (n, ty),
            };
            if count == 0 {
                let reg = self.value(stmt, operand, ty, used, wider, preloads)?;
                if let Operand::Not(_) = operand {
                    draft.inst.negated = true;
                }
                draft.places[k] = Some((reg, used));
                if class == crate::Class::Cvt {
                    if spec.role == Role::Write {
                        draft.inst.mem.register = reg.bits() as u8;
                    } else {
                        draft.inst.mem.base64 = reg.file() == File::R64;
                        draft.inst.mem.element = ty.bits() as u8;
                    }
                }
                continue;
            }
            let single = [operand.clone()];
            let list = match operand {
                Operand::Vector(list) => list.as_slice(),
                _ => &single,
            };
            if list.len() as u32 != count {
                return Err(refuse(
                    stmt,
                    Syntax,
                    format!("operand {} has {} elements, not {count}", k + 1, list.len()),
                ));
            }
            draft.inst.o[k] = draft.elements.len() as u32;
            let mut bits = None;
            for o in list {
                let reg = self.value(stmt, o, ty, used, wider, preloads)?;
                if let Reg::Own(_, _, own) = reg
                    && *bits.get_or_insert(own) != own
                {
                    return Err(refuse(stmt, Syntax, "the registers of a vector have different widths"));
                }
                draft.elements.push((reg, used));
            }
            if spec.ty == OperandTy::Vector {
                // Sinks and constants adapt to the registers beside them.
                let bits = bits.unwrap_or(ty.bits().max(16));
                for (reg, _) in &mut draft.elements {
                    if let Reg::Trash(file) = reg {
                        *file = file_of(bits);
                    }
                }
                draft.inst.mem.register = bits as u8;
                draft.inst.mem.element = ty.bytes() as u8;
                draft.inst.mem.count = count as u8;
                draft.inst.mem.signed = ty.signed();
            }
        }
        Ok(draft)
    }
}

/// Fits operands to a row's places; `None` for a place left out.
fn align<'o, 'a>(row: &Row, given: &'o [Operand<'a>]) -> Option<Vec<Option<&'o Operand<'a>>>> {
    let plain = row.operands.iter().filter(|s| !s.piped);
    let required = plain.filter(|s| !s.optional).count();
    let mut extra = given.len().checked_sub(required)?;
    let mut rest = given.iter();
    let mut second: Option<&Operand<'a>> = None;
    let mut list = Vec::with_capacity(row.operands.len());
    for (k, spec) in row.operands.iter().enumerate() {
        if spec.piped {
            if second.is_none() && !spec.optional {
                return None;
            }
            list.push(second.take());
            continue;
        }
        if spec.optional {
            if extra == 0 {
                list.push(None);
                continue;
            }
            extra -= 1;
        }
        let operand = rest.next()?;
        match operand {
            Operand::Pair(pair) if row.operands.get(k + 1).is_some_and(|s| s.piped) => {
                second = Some(&pair.1);
                list.push(Some(&pair.0));
            }
            Operand::Pair(_) => return None,
            _ => list.push(Some(operand)),
        }
    }
    (rest.next().is_none() && extra == 0).then_some(list)
}

fn wide(ty: Ty) -> Ty {
    match ty {
        Ty::U16 => Ty::U32,
        Ty::S16 => Ty::S32,
        Ty::U32 => Ty::U64,
        _ => Ty::S64,
    }
}
