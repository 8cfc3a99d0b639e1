//! Words to a [`Unit`]: directives, declarations, statements. Every directive that nvcc writes is known; another is an error with its line.

use super::lex::{Kind, Token, lex};
use super::operand::number;
use super::scope::Scopes;
use super::{Body, Function, Imm, Init, Space, Ty, Unit, Variable};
use crate::module::{LoadError, LoadErrorKind};
use std::collections::HashMap;

pub(super) type Result<T> = std::result::Result<T, LoadError>;

/// Parses a module.
///
/// # Errors
/// Text that is not PTX: line, text, reason.
pub fn parse(source: &str) -> Result<Unit<'_>> {
    let mut p =
        Parser { source, tokens: lex(source)?, at: 0, loc: None, hoisted: Vec::new(), signatures: HashMap::new() };
    let mut unit = Unit::default();
    while p.peek().kind != Kind::End {
        p.top_level(&mut unit)?;
    }
    if unit.version == 0 || unit.target == 0 {
        return Err(p.refuse("a module needs .version and .target"));
    }
    Ok(unit)
}

pub(super) struct Parser<'a> {
    pub(super) source: &'a str,
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) at: usize,
    pub(super) loc: Option<(u32, u32)>,
    /// `.global` and `.const` variables of a body: they live as long as the module's.
    pub(super) hoisted: Vec<Variable<'a>>,
    /// Bytes of each parameter of the functions seen so far.
    pub(super) signatures: HashMap<&'a str, Vec<u64>>,
}

/// A body under construction.
pub(super) struct Building<'a> {
    pub(super) body: Body<'a>,
    pub(super) scopes: Scopes<'a>,
    /// Registers of `.reg` results: what `ret` hands over.
    pub(super) results: Vec<(u32, Vec<u32>)>,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    pub(super) fn next(&mut self) -> Token<'a> {
        let t = self.tokens[self.at];
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        t
    }

    pub(super) fn refuse(&self, reason: impl Into<String>) -> LoadError {
        let t = self.peek();
        let text = self.source.lines().nth(t.line as usize - 1).unwrap_or_default().trim().to_string();
        LoadError { line: t.line, text, reason: reason.into(), kind: LoadErrorKind::Syntax }
    }

    pub(super) fn is(&self, c: u8) -> bool {
        self.peek().kind == Kind::Punct(c)
    }

    pub(super) fn accept(&mut self, c: u8) -> bool {
        let yes = self.is(c);
        if yes {
            self.next();
        }
        yes
    }

    pub(super) fn expect(&mut self, c: u8) -> Result<()> {
        if self.accept(c) {
            Ok(())
        } else {
            Err(self.refuse(format!("expected `{}`, found `{}`", c as char, self.peek().text)))
        }
    }

    pub(super) fn ident(&mut self) -> Result<&'a str> {
        match self.peek().kind {
            Kind::Ident => Ok(self.next().text),
            _ => Err(self.refuse(format!("expected a name, found `{}`", self.peek().text))),
        }
    }

    pub(super) fn integer(&mut self) -> Result<i64> {
        let negative = self.accept(b'-');
        let t = self.peek();
        match number(t.text) {
            Some(Imm::Int(v)) if t.kind == Kind::Number => {
                self.next();
                Ok(if negative { -v } else { v } as i64)
            }
            _ => Err(self.refuse(format!("expected an integer, found `{}`", t.text))),
        }
    }

    pub(super) fn skip_line(&mut self) {
        let line = self.peek().line;
        while self.peek().line == line && self.peek().kind != Kind::End {
            self.next();
        }
    }

    /// Skips to after the brace that closes the next open one.
    pub(super) fn skip_braces(&mut self) -> Result<()> {
        while !self.is(b'{') && self.peek().kind != Kind::End {
            self.next();
        }
        let mut depth = 0;
        loop {
            match self.next().kind {
                Kind::Punct(b'{') => depth += 1,
                Kind::Punct(b'}') => depth -= 1,
                Kind::End => return Err(self.refuse("block without an end")),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    pub(super) fn top_level(&mut self, unit: &mut Unit<'a>) -> Result<()> {
        let t = self.peek();
        match t.text {
            ".version" => {
                self.next();
                let text = self.next().text;
                let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
                let both = (major.parse::<u32>(), minor.parse::<u32>());
                let (Ok(major), Ok(minor)) = both else { return Err(self.refuse("malformed .version")) };
                unit.version = major * 10 + minor;
            }
            ".target" => {
                self.next();
                let name = self.ident()?;
                let digits = name.strip_prefix("sm_").map(|d| d.trim_end_matches(['a', 'f']));
                unit.target = digits.and_then(|d| d.parse().ok()).ok_or_else(|| self.refuse("malformed .target"))?;
                unit.target_name = name;
                while self.accept(b',') {
                    self.ident()?;
                }
            }
            ".address_size" => {
                self.next();
                if self.integer()? != 64 {
                    return Err(self.refuse("only 64-bit addresses are supported"));
                }
            }
            ".file" => {
                let line = self.next().line;
                let number = self.integer()? as u32;
                let name = self.next();
                if name.kind != Kind::Text {
                    return Err(self.refuse("malformed .file"));
                }
                unit.files.push((number, name.text));
                while self.peek().line == line && self.peek().kind != Kind::End {
                    self.next();
                }
            }
            ".section" => self.skip_braces()?,
            ".loc" => self.skip_line(),
            ".pragma" => {
                while !self.accept(b';') {
                    self.next();
                }
            }
            _ => self.declaration(unit)?,
        }
        Ok(())
    }

    pub(super) fn declaration(&mut self, unit: &mut Unit<'a>) -> Result<()> {
        let mut external = false;
        loop {
            let t = self.peek();
            match t.text {
                ".visible" | ".weak" | ".common" => {
                    self.next();
                }
                ".extern" => {
                    external = true;
                    self.next();
                }
                ".entry" | ".func" => {
                    let f = self.function()?;
                    unit.functions.push(f);
                    for v in self.hoisted.drain(..) {
                        if unit.variables.iter().any(|w| w.name == v.name) {
                            let reason = "a variable of this name exists already".to_string();
                            let (line, text, kind) = (v.line, v.name.to_string(), LoadErrorKind::Unsupported);
                            return Err(LoadError { line, text, reason, kind });
                        }
                        unit.variables.push(v);
                    }
                    return Ok(());
                }
                ".global" | ".const" | ".shared" => {
                    self.next();
                    let space = space(t.text).expect("one of the three");
                    self.variables(space, external, &mut |v| unit.variables.push(v))?;
                    return self.expect(b';');
                }
                _ => return Err(self.refuse(format!("`{}` is not a directive known here", t.text))),
            }
        }
    }

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
                ".align" => align = Some(self.integer()? as u32),
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
                ".attribute" | ".managed" => {
                    while !self.accept(b')') {
                        self.next();
                    }
                }
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
                count *= self.integer()? as u64;
                self.expect(b']')?;
            }
            let mut init = Vec::new();
            if self.accept(b'=') {
                self.initialiser(&mut init)?;
                if unsized_array {
                    count = init.len() as u64;
                    unsized_array = false;
                }
            }
            let size = if unsized_array { 0 } else { count * u64::from(element) };
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

    pub(super) fn initialiser(&mut self, out: &mut Vec<Init<'a>>) -> Result<()> {
        if self.accept(b'{') {
            while !self.accept(b'}') {
                self.initialiser(out)?;
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

    pub(super) fn dims(&mut self) -> Result<[u32; 3]> {
        let mut d = [self.integer()? as u32, 1, 1];
        for v in &mut d[1..] {
            if self.accept(b',') {
                *v = self.integer()? as u32;
            }
        }
        Ok(d)
    }

    pub(super) fn function(&mut self) -> Result<Function<'a>> {
        let entry = self.next().text == ".entry";
        let returns = if self.is(b'(') { self.parameters()? } else { Vec::new() };
        let name = self.ident()?;
        let params = if self.is(b'(') { self.parameters()? } else { Vec::new() };
        self.signatures.insert(name, params.iter().map(|p| p.size).collect());
        let (max_threads, required_threads, min_blocks) = (None, None, None);
        let mut f = Function { name, entry, returns, params, max_threads, required_threads, min_blocks, body: None };
        loop {
            let t = self.peek();
            match t.text {
                ";" => {
                    self.next();
                    return Ok(f);
                }
                "{" => break,
                ".maxntid" => {
                    self.next();
                    f.max_threads = Some(self.dims()?);
                }
                ".reqntid" => {
                    self.next();
                    f.required_threads = Some(self.dims()?);
                }
                ".minnctapersm" => {
                    self.next();
                    f.min_blocks = Some(self.integer()? as u32);
                }
                ".maxnreg" | ".maxnctapersm" | ".abi_preserve" | ".abi_preserve_control" => {
                    self.next();
                    self.integer()?;
                }
                ".noreturn" => {
                    self.next();
                }
                ".pragma" => {
                    while !self.accept(b';') {
                        self.next();
                    }
                }
                ".loc" => self.skip_line(),
                _ => return Err(self.refuse(format!("`{}` is not a directive known on a function", t.text))),
            }
        }
        self.loc = None;
        f.body = Some(self.body(&f)?);
        Ok(f)
    }
}

pub(super) fn space(directive: &str) -> Option<Space> {
    Some(match directive {
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" => Space::Param,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Operand;
    use super::*;

    const HEAD: &str = ".version 9.0\n.target sm_80\n.address_size 64\n";

    #[test]
    fn scopes_shadow_and_labels_are_found_forward() {
        let text = format!(
            "{HEAD}.visible .entry k(\n.param .align 8 .b8 k_param_0[24],\n.param .u64 .ptr .global .align 16 p)\n.maxntid 64, 2\n{{\n\
             .reg .b32 %r<3>; .reg .pred p;\n{{ .reg .b16 %r1; mov.b16 %r1, 1; L: @!p bra L; bra END; }}\n\
             mov.b32 %r1, %tid.x; L: bra L;\nEND: ret;\n}}"
        );
        let unit = parse(&text).unwrap();
        let f = &unit.functions[0];
        assert_eq!((f.params[0].size, f.params[0].align, f.params[1].size, f.params[1].align), (24, 8, 8, 8));
        assert_eq!(f.max_threads, Some([64, 2, 1]));
        let body = f.body.as_ref().unwrap();
        let regs: Vec<_> = body.stmts.iter().map(|s| s.operands.first().cloned()).collect();
        assert_eq!(regs[0], Some(Operand::Reg(4)), "the inner %r1");
        assert_eq!(regs[1], Some(Operand::Label(1)));
        assert_eq!(regs[2], Some(Operand::Label(5)));
        assert_eq!(regs[3], Some(Operand::Reg(1)), "the outer %r1");
        assert_eq!(regs[4], Some(Operand::Label(4)));
        assert_eq!(body.stmts[1].guard, Some((3, true)));
        assert_eq!(body.stmts[1].text, "@!p bra L;");
    }

    #[test]
    fn operands_and_constants() {
        let text = format!(
            "{HEAD}.func f() {{ .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .pred %p<9>;\n\
             ld.global.v4.u32 {{%r1,_, %r2, %r3}}, [%rd1+-16];\nsetp.eq.s32 %p1|%p2, %r1, -3;\nfma.rn.f32 %r1, 0f3F800000, 1.5, 0x10U;\n\
             mov.b64 %rd1, sym+8; st.shared.u32 [sym], %r1; }}"
        );
        let unit = parse(&text).unwrap();
        let s = &unit.functions[0].body.as_ref().unwrap().stmts;
        let Operand::Vector(v) = &s[0].operands[0] else { panic!("a vector") };
        assert_eq!(v[1], Operand::Sink);
        let address = Operand::Offset(Box::new(Operand::Reg(10)), -16);
        assert_eq!(s[0].operands[1], Operand::Address(Box::new(address)));
        assert!(matches!(&s[1].operands[0], Operand::Pair(p) if **p == (Operand::Reg(19), Operand::Reg(20))));
        assert_eq!(s[1].operands[2], Operand::Imm(Imm::Int(-3)));
        assert_eq!(s[2].operands[1], Operand::Imm(Imm::F32(0x3f80_0000)));
        assert_eq!(s[2].operands[2], Operand::Imm(Imm::F64(1.5f64.to_bits())));
        assert_eq!(s[2].operands[3], Operand::Imm(Imm::Int(16)));
        assert_eq!(s[3].operands[1], Operand::Offset(Box::new(Operand::Symbol("sym")), 8));
    }

    #[test]
    fn refusals_name_the_line() {
        let e = parse(&format!("{HEAD}.entry k() {{\n  .reg .q32 %r<2>;\n}}")).unwrap_err();
        assert_eq!((e.line, e.text.as_str()), (5, ".reg .q32 %r<2>;"));
        assert!(parse("junk").is_err());
        assert!(parse("").is_err());
    }
}
