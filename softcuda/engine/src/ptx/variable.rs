//! Declarations of variables and parameters, with their first values.

use super::lex::Kind;
use super::operand::number;
use super::parse::{Parser, Result};
use super::{Imm, Init, Space, Ty, Variable};

/// Dimensions that an initialiser may have.
const DEPTH: u32 = 32;

impl<'a> Parser<'a> {
    /// After the space: `.align 4 .b8 name[8] = {..}, name2`.
    pub(super) fn variables(&mut self, space: Space, external: bool, add: &mut dyn FnMut(Variable<'a>)) -> Result<()> {
        let (mut ty, mut align, mut lanes) = (None, None, 1);
        loop {
            let t = self.peek();
            if t.kind != Kind::Directive {
                break;
            }
            self.next();
            match t.text {
                ".align" => {
                    let t = self.peek();
                    let bytes = Some(self.count()?).filter(|a| a.is_power_of_two());
                    align = Some(bytes.ok_or_else(|| self.refuse_at(t, "an alignment must be a power of two"))?);
                }
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                ".v8" => lanes = 8,
                // `.ptr` and what follows describe a pointer's target: no effect on layout, except `.align`, which then is not ours.
                ".ptr" => {
                    while self.peek().kind == Kind::Directive {
                        if self.next().text == ".align" {
                            self.integer()?;
                        }
                    }
                }
                ".attribute" | ".managed" => self.skip_past(b')')?,
                word => {
                    ty = Some(Ty::by_name(&word[1..]).ok_or_else(|| self.refuse(format!("`{word}` is not a type")))?)
                }
            }
        }
        let Some(ty) = ty else { return Err(self.refuse("variable without a type")) };
        let element = ty.bytes() * lanes;
        loop {
            let line = self.peek().line;
            let name = self.ident()?;
            let (mut count, mut unsized_array) = (1u64, false);
            while self.accept(b'[') {
                if self.accept(b']') {
                    unsized_array = true;
                    continue;
                }
                let t = self.peek();
                let more = u64::try_from(self.integer()?).ok();
                count = more
                    .and_then(|n| n.checked_mul(count))
                    .ok_or_else(|| self.refuse_at(t, "an array of this size"))?;
                self.expect(b']')?;
            }
            let mut init = Vec::new();
            if self.accept(b'=') {
                self.initialiser(&mut init, 0)?;
                if unsized_array {
                    count = init.len() as u64;
                    unsized_array = false;
                }
            }
            let Some(size) = u64::from(element).checked_mul(if unsized_array { 0 } else { count }) else {
                return Err(self.refuse("an array of this size"));
            };
            let name = if name == "_" { "" } else { name };
            let align = align.unwrap_or(element).max(1);
            // Predicates travel as words.
            let (size, align) = if ty == Ty::Pred { (4, 4) } else { (size, align) };
            let register = Some((lanes, ty));
            add(Variable { name, space, align, element: ty.bytes(), size, init, external, register, line });
            // In parameter lists the comma separates declarations.
            if space == Space::Param || !self.accept(b',') {
                return Ok(());
            }
        }
    }

    fn initialiser(&mut self, out: &mut Vec<Init<'a>>, depth: u32) -> Result<()> {
        if self.accept(b'{') {
            if depth == DEPTH {
                return Err(self.refuse(format!("braces nested more than {DEPTH} deep")));
            }
            while !self.accept(b'}') {
                self.initialiser(out, depth + 1)?;
                self.accept(b',');
            }
            return Ok(());
        }
        let t = self.peek();
        if t.kind == Kind::Ident {
            self.next();
            let generic = t.text == "generic" && self.accept(b'(');
            let name = if generic { self.ident()? } else { t.text };
            if generic {
                self.expect(b')')?;
            }
            let offset = if self.accept(b'+') { self.integer()? } else { 0 };
            out.push(Init::Address(name, generic, offset));
            return Ok(());
        }
        let negative = self.accept(b'-');
        let t = self.next();
        let value = match number(t.text) {
            Some(Imm::Int(v)) => (if negative { -v } else { v }) as u64,
            Some(Imm::F32(bits)) => u64::from(bits),
            Some(Imm::F64(bits)) => bits,
            None => return Err(self.refuse(format!("`{}` is not a constant", t.text))),
        };
        if self.is(b'(') {
            return Err(self.refuse("masked addresses in initialisers are not supported"));
        }
        out.push(Init::Bits(value));
        Ok(())
    }

    pub(super) fn parameters(&mut self) -> Result<Vec<Variable<'a>>> {
        let mut list = Vec::new();
        self.expect(b'(')?;
        while !self.accept(b')') {
            match self.next().text {
                ".param" => {
                    self.variables(Space::Param, false, &mut |v| list.push(Variable { register: None, ..v }))?
                }
                ".reg" => self.variables(Space::Param, false, &mut |v| list.push(v))?,
                other => return Err(self.refuse(format!("expected .param, found `{other}`"))),
            }
            self.accept(b',');
        }
        Ok(list)
    }
}
