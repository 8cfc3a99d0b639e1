//! Operands and constants.

use super::lex::Kind;
use super::parse::{Parser, Result};
use super::scope::Scopes;
use super::{Imm, Operand};

/// Brackets within brackets: `({[a+4], b|c})` is deeper than anything that has a meaning.
const DEPTH: u32 = 8;

impl<'a> Parser<'a> {
    pub(super) fn operand(&mut self, scopes: &Scopes<'a>) -> Result<Operand<'a>> {
        self.nested(scopes, 0)
    }

    fn nested(&mut self, scopes: &Scopes<'a>, depth: u32) -> Result<Operand<'a>> {
        let first = self.primary(scopes, depth)?;
        if self.accept(b'|') {
            let second = self.primary(scopes, depth)?;
            return Ok(Operand::Pair(Box::new((first, second))));
        }
        Ok(first)
    }

    fn list(&mut self, scopes: &Scopes<'a>, close: u8, depth: u32) -> Result<Vec<Operand<'a>>> {
        let mut list = Vec::new();
        while !self.accept(close) {
            list.push(self.nested(scopes, depth)?);
            self.accept(b',');
        }
        Ok(list)
    }

    fn primary(&mut self, scopes: &Scopes<'a>, depth: u32) -> Result<Operand<'a>> {
        if depth > DEPTH {
            return Err(self.refuse("operands nested too deep"));
        }
        if self.accept(b'!') {
            return Ok(Operand::Not(Box::new(self.primary(scopes, depth + 1)?)));
        }
        if self.accept(b'{') {
            return Ok(Operand::Vector(self.list(scopes, b'}', depth + 1)?));
        }
        if self.accept(b'(') {
            return Ok(Operand::List(self.list(scopes, b')', depth + 1)?));
        }
        if self.accept(b'[') {
            let inner = self.nested(scopes, depth + 1)?;
            self.expect(b']')?;
            return Ok(Operand::Address(Box::new(inner)));
        }
        let negative = self.accept(b'-');
        let t = self.next();
        let base = match t.kind {
            Kind::Number => match number(t.text) {
                Some(Imm::Int(v)) => Operand::Imm(Imm::Int(if negative { -v } else { v })),
                Some(Imm::F32(bits)) => Operand::Imm(Imm::F32(bits ^ u32::from(negative) << 31)),
                Some(Imm::F64(bits)) => Operand::Imm(Imm::F64(bits ^ u64::from(negative) << 63)),
                None => return Err(self.refuse(format!("`{}` is not a constant", t.text))),
            },
            Kind::Ident if !negative => match t.text {
                "_" => Operand::Sink,
                "WARP_SZ" => Operand::Imm(Imm::Int(32)),
                name if scopes.find_register(name).is_none() && scopes.find_vector(name).is_some() => {
                    scopes.find_vector(name).expect("just seen")
                }
                name if name.starts_with('%') => match scopes.find_register(name) {
                    Some(r) => Operand::Reg(r),
                    None => Operand::Special(name),
                },
                // A register may have a plain name: `.reg .pred p;`
                name => match scopes.find_register(name) {
                    Some(r) => Operand::Reg(r),
                    None => Operand::Name(name, scopes.current()),
                },
            },
            _ => return Err(self.refuse(format!("`{}` is not an operand", t.text))),
        };
        let sign = match self.peek().kind {
            Kind::Punct(b'+') => 1,
            Kind::Punct(b'-') => -1,
            _ => return Ok(base),
        };
        self.next();
        let offset = self.integer()?.wrapping_mul(sign);
        Ok(Operand::Offset(Box::new(base), offset))
    }
}

/// A constant as written, without its sign.
pub(super) fn number(text: &str) -> Option<Imm> {
    let lower = text.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0f").filter(|h| h.len() == 8) {
        return u32::from_str_radix(hex, 16).ok().map(Imm::F32);
    }
    if let Some(hex) = lower.strip_prefix("0d").filter(|h| h.len() == 16) {
        return u64::from_str_radix(hex, 16).ok().map(Imm::F64);
    }
    let digits = lower.trim_end_matches('u');
    let int = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(|v| Imm::Int(v.into()));
    if let Some(hex) = digits.strip_prefix("0x") {
        return int(hex, 16);
    }
    if let Some(bin) = digits.strip_prefix("0b") {
        return int(bin, 2);
    }
    if digits.contains(['.', 'e']) {
        return lower.parse::<f64>().ok().map(|v| Imm::F64(v.to_bits()));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return int(&digits[1..], 8);
    }
    int(digits, 10)
}
