//! What hand-written PTX may say and compilers do not: vector registers (`.reg .v4 .u32 v`), registers as parameters of functions and calls,
//! `lop3` with a predicate. They become plain statements here, so that nothing behind the parser knows of them.

use super::{Body, Imm, Operand, Space, Stmt, Ty, Variable};

/// A mnemonic of `ld.param`, `st.param` or `mov` for `count` registers of `bits` bits.
fn mnemonic(kind: &str, count: usize, bits: u32) -> Option<&'static str> {
    const ALL: [&str; 21] = [
        "ld.param.b16",
        "ld.param.b32",
        "ld.param.b64",
        "ld.param.v2.b16",
        "ld.param.v2.b32",
        "ld.param.v2.b64",
        "ld.param.v4.b16",
        "ld.param.v4.b32",
        "ld.param.v4.b64",
        "st.param.b16",
        "st.param.b32",
        "st.param.b64",
        "st.param.v2.b16",
        "st.param.v2.b32",
        "st.param.v2.b64",
        "st.param.v4.b16",
        "st.param.v4.b32",
        "st.param.v4.b64",
        "mov.b16",
        "mov.b32",
        "mov.b64",
    ];
    let bits = bits.max(16);
    let name = if count == 1 { format!("{kind}.b{bits}") } else { format!("{kind}.v{count}.b{bits}") };
    ALL.iter().find(|a| **a == name).copied()
}

/// A body under construction, as far as statements are made for it.
pub struct Maker<'m, 'a> {
    /// The body.
    pub body: &'m mut Body<'a>,
    /// Statement that asks for it: line, text, guard and position are taken from there.
    pub like: Stmt<'a>,
}

impl<'a> Maker<'_, 'a> {
    fn push(&mut self, op: &'a str, operands: Vec<Operand<'a>>) {
        self.body.stmts.push(Stmt { op, operands, ..self.like.clone() });
    }

    fn fresh(&mut self, ty: Ty) -> u32 {
        self.body.regs.push(super::RegDecl { name: "%", number: None, ty });
        self.body.regs.len() as u32 - 1
    }

    fn list(registers: &[u32]) -> Operand<'a> {
        match registers {
            [one] => Operand::Reg(*one),
            many => Operand::Vector(many.iter().map(|r| Operand::Reg(*r)).collect()),
        }
    }

    fn bits(&self, registers: &[u32]) -> u32 {
        self.body.regs[registers[0] as usize].ty.bits()
    }

    /// `st.param [at], registers`; `None` if they have no such form.
    pub fn store(&mut self, at: Operand<'a>, registers: &[u32]) -> Option<()> {
        let mut registers = registers.to_vec();
        if self.bits(&registers) == 1 {
            let word = self.fresh(Ty::B32);
            let [one, zero] = [1, 0].map(|v| Operand::Imm(Imm::Int(v)));
            self.push("selp.b32", vec![Operand::Reg(word), one, zero, Operand::Reg(registers[0])]);
            registers = vec![word];
        }
        let op = mnemonic("st.param", registers.len(), self.bits(&registers))?;
        self.push(op, vec![Operand::Address(Box::new(at)), Self::list(&registers)]);
        Some(())
    }

    /// `ld.param registers, [at]`; `None` if they have no such form.
    pub fn load(&mut self, registers: &[u32], at: Operand<'a>) -> Option<()> {
        let at = Operand::Address(Box::new(at));
        if self.bits(registers) == 1 {
            let word = self.fresh(Ty::B32);
            self.push("ld.param.b32", vec![Operand::Reg(word), at]);
            self.push("setp.ne.b32", vec![Operand::Reg(registers[0]), Operand::Reg(word), Operand::Imm(Imm::Int(0))]);
            return Some(());
        }
        let op = mnemonic("ld.param", registers.len(), self.bits(registers))?;
        self.push(op, vec![Self::list(registers), at]);
        Some(())
    }

    /// `mov.v4 d, a`: through fresh registers, because both sides may name the same ones.
    pub fn moves(&mut self, d: &[Operand<'a>], a: &[Operand<'a>], ty: Ty) -> Option<()> {
        let op = mnemonic("mov", 1, ty.bits())?;
        let between: Vec<u32> = a.iter().map(|_| self.fresh(ty)).collect();
        for (t, a) in between.iter().zip(a) {
            self.push(op, vec![Operand::Reg(*t), a.clone()]);
        }
        for (d, t) in d.iter().zip(&between) {
            self.push(op, vec![d.clone(), Operand::Reg(*t)]);
        }
        Some(())
    }

    /// `lop3.(or|and).b32 d|p, a, b, c, table, q`: p is whether d is not zero, or (and) q. `None` if the operands are others.
    pub fn lop3(&mut self, stmt: &Stmt<'a>) -> Option<()> {
        let compare = match stmt.op {
            "lop3.or.b32" => "setp.ne.or.b32",
            "lop3.and.b32" => "setp.ne.and.b32",
            _ => return None,
        };
        let [Operand::Pair(out), a, b, c, table, q] = stmt.operands.as_slice() else { return None };
        let (d, p) = &**out;
        let bits = Operand::Reg(self.fresh(Ty::B32));
        self.push("lop3.b32", [&bits, a, b, c, table].map(Clone::clone).to_vec());
        self.push("mov.b32", vec![d.clone(), bits.clone()]);
        // Last, because p may be the guard.
        self.push(compare, vec![p.clone(), bits, Operand::Imm(Imm::Int(0)), q.clone()]);
        Some(())
    }

    /// A register that holds a constant of so many bytes.
    pub fn constant(&mut self, value: Operand<'a>, bytes: u64) -> Option<Operand<'a>> {
        let ty = [(2, Ty::B16), (4, Ty::B32), (8, Ty::B64)].iter().find(|t| t.0 == bytes)?.1;
        let register = self.fresh(ty);
        self.push(mnemonic("mov", 1, ty.bits())?, vec![Operand::Reg(register), value]);
        Some(Operand::Reg(register))
    }

    /// A `.param` variable for an argument or a result held in registers.
    pub fn variable(&mut self, registers: &[u32]) -> Operand<'a> {
        let each = self.bits(registers).div_ceil(8).max(2);
        let element = if self.bits(registers) == 1 { 4 } else { each };
        let size = u64::from(element) * registers.len() as u64;
        let (name, space, line) = ("", Space::Param, self.like.line);
        self.body.vars.push(Variable {
            name,
            space,
            align: size as u32,
            element,
            size,
            init: Vec::new(),
            external: false,
            register: None,
            line,
        });
        Operand::Var(self.body.vars.len() as u32 - 1)
    }
}

/// The registers of an operand, if it names nothing else.
pub fn registers(o: &Operand<'_>) -> Option<Vec<u32>> {
    match o {
        Operand::Reg(r) => Some(vec![*r]),
        Operand::Vector(list) if !list.is_empty() => {
            list.iter().map(|o| if let Operand::Reg(r) = o { Some(*r) } else { None }).collect()
        }
        _ => None,
    }
}
