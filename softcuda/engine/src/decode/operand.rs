//! Operands to registers: typed constants, special registers, addresses of variables, memory operands.

use super::statement::Decoder;
use super::{Draft, Preloads, Reg, Result, Use, file_of, refuse};
use crate::exec::code::Preload;
use crate::exec::regs::File;
use crate::exec::special;
use crate::isa::Mods;
use crate::memory::{Order, Space};
use crate::module::LoadErrorKind::{Syntax, Undefined, Unsupported};
use crate::ptx::{Imm, Operand, Space as Declared, Stmt, Ty};

impl<'a> Decoder<'_, 'a> {
    /// The register of a scalar operand of a type.
    pub(super) fn value(
        &self,
        stmt: &Stmt<'a>,
        o: &Operand<'a>,
        ty: Ty,
        used: Use,
        wider: bool,
        preloads: &mut Preloads,
    ) -> Result<Reg> {
        let file = file_of(ty.bits());
        match o {
            Operand::Reg(r) => {
                let reg = self.reg(*r);
                // There are no 8-bit registers: 8-bit values live in 16 bits.
                let fits = match (ty.bits(), reg.bits()) {
                    (1, have) => have == 1,
                    (_, 1) => false,
                    (want, have) => have == want || want < 16 && have == 16 || wider && have > want,
                };
                if !fits {
                    let decl = super::body(self.function).regs[*r as usize];
                    let number = decl.number.map_or(String::new(), |n| n.to_string());
                    let reason = format!(
                        "a .{} operand in register {}{number}, which has {} bits",
                        ty.name(),
                        decl.name,
                        reg.bits()
                    );
                    return Err(refuse(stmt, Syntax, reason));
                }
                Ok(reg)
            }
            Operand::Sink if used == Use::Write => Ok(Reg::Trash(file)),
            Operand::Not(inner) if ty == Ty::Pred && used != Use::Write => {
                self.value(stmt, inner, ty, used, wider, preloads)
            }
            _ if used == Use::Write => Err(refuse(stmt, Syntax, "a result must be a register or `_`")),
            Operand::Imm(imm) => match constant(*imm, ty) {
                Some(bits) => Ok(preloads.reg(file, Preload::Const(bits))),
                None => Err(refuse(stmt, Syntax, format!("not a constant of type .{}", ty.name()))),
            },
            Operand::Special(name) => match special(name) {
                Some(s) if ty != Ty::Pred => Ok(preloads.reg(file, Preload::Special(s))),
                _ => Err(refuse(stmt, Undefined, format!("register `{name}` is not declared"))),
            },
            _ => {
                let (address, space) = self.symbol(stmt, o)?;
                if space == Space::Local && self.number != 0 {
                    return Err(refuse(stmt, Unsupported, "the address of a function's variable needs a mov"));
                }
                if !matches!(ty.bits(), 32 | 64) {
                    return Err(refuse(stmt, Syntax, "an address has 32 or 64 bits"));
                }
                Ok(preloads.reg(file, Preload::Const(address)))
            }
        }
    }

    /// The address of a variable in its own space, and that space.
    pub(super) fn symbol(&self, stmt: &Stmt<'a>, o: &Operand<'a>) -> Result<(u64, Space)> {
        let missing = |name: &str| refuse(stmt, Undefined, format!("`{name}` is not defined"));
        Ok(match o {
            Operand::Offset(inner, offset) => {
                let (address, space) = self.symbol(stmt, inner)?;
                (address.wrapping_add(*offset as u64), space)
            }
            Operand::Var(v) => {
                let declared = &super::body(self.function).vars[*v as usize];
                let at = self.layout.vars.get(&(self.number, *v)).copied().map(u64::from);
                match declared.space {
                    Declared::Shared => (at.ok_or_else(|| missing(declared.name))?, Space::Shared),
                    Declared::Local | Declared::Param => (at.ok_or_else(|| missing(declared.name))?, Space::Local),
                    // The parser made these the module's.
                    Declared::Global | Declared::Const => return Err(missing(declared.name)),
                }
            }
            Operand::Param(n) => {
                let space = if self.number == 0 { Space::Param } else { Space::Local };
                (u64::from(self.layout.params[&(self.number, *n)]), space)
            }
            Operand::Return(n) => (u64::from(self.layout.returns[&(self.number, *n)]), Space::Local),
            Operand::Symbol(name) => {
                if let Some(at) = self.layout.shared.get(*name) {
                    (u64::from(*at), Space::Shared)
                } else if let Some(address) = self.env.globals.get(name) {
                    (*address, Space::Global)
                } else if let Some(address) = self.env.addresses.get(name) {
                    (*address, Space::Generic)
                } else {
                    return Err(missing(name));
                }
            }
            _ => return Err(refuse(stmt, Syntax, "not an operand that can stand here")),
        })
    }

    #[allow(clippy::too_many_arguments)] // The parts of one operand.
    pub(super) fn address(
        &self,
        stmt: &Stmt<'a>,
        operand: &Operand<'a>,
        mods: &Mods,
        k: usize,
        nth: usize,
        draft: &mut Draft,
        preloads: &mut Preloads,
    ) -> Result<()> {
        let Operand::Address(inner) = operand else {
            return Err(refuse(stmt, Syntax, "an address stands in brackets"));
        };
        let (base, mut offset) = match &**inner {
            Operand::Offset(base, offset) => (&**base, *offset),
            base => (base, 0),
        };
        // The second address of `cp.async` is the global one.
        let mut space = if nth == 0 { space(mods) } else { Space::Global };
        let reg = match base {
            Operand::Reg(r) => {
                let reg = self.reg(*r);
                if !matches!(reg.bits(), 32 | 64) {
                    return Err(refuse(stmt, Syntax, "an address has 32 or 64 bits"));
                }
                // Parameters of functions live in local memory.
                if space == Space::Param && self.number != 0 {
                    space = Space::Local;
                }
                reg
            }
            Operand::Imm(Imm::Int(v)) => preloads.reg(File::R64, Preload::Const(*v as u64)),
            symbol => {
                let (address, owner) = self.symbol(stmt, symbol)?;
                // Parameters of calls and functions live in local memory.
                if space == Space::Param && owner == Space::Local {
                    space = Space::Local;
                }
                if space == Space::Generic {
                    return Err(refuse(
                        stmt,
                        Unsupported,
                        "a variable by name needs its state space in the instruction",
                    ));
                }
                let same = space == owner || (space == Space::Const && owner == Space::Global);
                if !same {
                    return Err(refuse(stmt, Syntax, format!("the variable is not in .{space:?}").to_lowercase()));
                }
                if space == Space::Local && self.number != 0 {
                    offset = offset.wrapping_add(address as i64);
                    preloads.reg(File::R64, Preload::Frame)
                } else {
                    preloads.reg(File::R64, Preload::Const(address))
                }
            }
        };
        draft.places[k] = Some((reg, Use::Decide));
        let wide = reg.file() == File::R64;
        if nth == 0 {
            draft.inst.offset = offset;
            draft.inst.mem.base64 = wide;
            draft.inst.mem.space = space;
            draft.inst.mem.order = order(mods);
            draft.inst.mem.passes = self::space(mods) == Space::Param && space == Space::Local;
        } else {
            draft.inst.second_offset = offset;
            draft.inst.mem.second64 = wide;
        }
        Ok(())
    }
}

fn space(mods: &Mods) -> Space {
    let names = [
        "global",
        "const",
        "local",
        "param",
        "param::entry",
        "param::func",
        "shared",
        "shared::cta",
        "shared::cluster",
    ];
    // `cp.async.ca.shared.global`: the first address is the shared one.
    match mods.parts.iter().find(|p| names.contains(p)).copied() {
        Some("global") => Space::Global,
        Some("const") => Space::Const,
        Some("local") => Space::Local,
        Some("param" | "param::entry" | "param::func") => Space::Param,
        Some(_) => Space::Shared,
        None => Space::Generic,
    }
}

fn order(mods: &Mods) -> Order {
    match mods.which(&["nc", "volatile", "mmio", "relaxed", "acquire", "release", "acq_rel"]) {
        Some("nc") => Order::NonCoherent,
        Some("volatile" | "mmio") => Order::Volatile,
        Some("relaxed") => Order::Relaxed,
        Some("acquire") => Order::Acquire,
        Some("release") => Order::Release,
        Some(_) => Order::AcqRel,
        None => Order::Weak,
    }
}

/// The bits of a constant in a register of a type.
fn constant(imm: Imm, ty: Ty) -> Option<u64> {
    let bits = match (imm, ty) {
        (Imm::Int(v), Ty::Pred) => u64::from(v != 0),
        // An integer where a float is meant is allowed only where both mean the same.
        (Imm::Int(v), Ty::F32 | Ty::F64) => (v == 0).then_some(0)?,
        (Imm::Int(v), _) => v as u64,
        (Imm::F32(b), Ty::F32 | Ty::B32 | Ty::U32 | Ty::S32) => u64::from(b),
        (Imm::F32(b), Ty::F64) => f64::from(f32::from_bits(b)).to_bits(),
        (Imm::F64(b), Ty::F64 | Ty::B64 | Ty::U64 | Ty::S64) => b,
        (Imm::F64(b), Ty::F32) => u64::from((f64::from_bits(b) as f32).to_bits()),
        _ => return None,
    };
    let width = ty.bits().max(16);
    Some(if ty == Ty::Pred { bits } else { bits & (u64::MAX >> (64 - width.min(64))) })
}
