//! Words to a [`Unit`]: directives, declarations, statements. Every directive that nvcc writes is known; another is an error with its line.

use super::lex::{Kind, Token, lex};
use super::operand::number;
use super::scope::Scopes;
use super::{Body, Function, Imm, Loc, Space, Unit, Variable};
use crate::module::{LoadError, LoadErrorKind};
use std::collections::{HashMap, HashSet};

pub(super) type Result<T> = std::result::Result<T, LoadError>;

/// Parses a module.
///
/// # Errors
/// Text that is not PTX: line, text, reason.
pub fn parse(source: &str) -> Result<Unit<'_>> {
    let mut p = Parser {
        source,
        tokens: lex(source)?,
        at: 0,
        loc: None,
        hoisted: Vec::new(),
        signatures: HashMap::new(),
        defined: HashSet::new(),
        named: HashSet::new(),
    };
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
    pub(super) loc: Option<Loc>,
    /// `.global` and `.const` variables of a body: they live as long as the module's.
    pub(super) hoisted: Vec<Variable<'a>>,
    /// Bytes of each parameter of the functions seen so far.
    pub(super) signatures: HashMap<&'a str, Vec<u64>>,
    /// Functions with a body, and variables of the module, seen so far.
    defined: HashSet<&'a str>,
    named: HashSet<&'a str>,
}

const TWICE: &str = "a variable of this name exists already";

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
        self.refuse_at(self.peek(), reason)
    }

    /// The line is looked for in the text: for errors alone, not ahead of them.
    pub(super) fn refuse_at(&self, t: Token<'a>, reason: impl Into<String>) -> LoadError {
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

    /// A number of things: not negative, and of 32 bits.
    pub(super) fn count(&mut self) -> Result<u32> {
        let t = self.peek();
        u32::try_from(self.integer()?).map_err(|_| self.refuse_at(t, "expected a number of 0 to 4294967295"))
    }

    /// Skips to after the next `c`.
    pub(super) fn skip_past(&mut self, c: u8) -> Result<()> {
        let start = self.at;
        while !self.accept(c) {
            if self.next().kind == Kind::End {
                self.at = start;
                return Err(self.refuse(format!("expected `{}` before the end of the text", c as char)));
            }
        }
        Ok(())
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
                let (Ok(major @ ..100), Ok(minor @ ..10)) = both else { return Err(self.refuse("malformed .version")) };
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
                let number = self.count()?;
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
            ".pragma" => self.skip_past(b';')?,
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
                    self.once(unit, &f)?;
                    unit.functions.push(f);
                    for v in self.hoisted.drain(..) {
                        if !self.named.insert(v.name) {
                            let reason = TWICE.to_string();
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
                    let first = unit.variables.len();
                    self.variables(space, external, &mut |v| unit.variables.push(v))?;
                    for n in first..unit.variables.len() {
                        let v = &unit.variables[n];
                        if !self.named.insert(v.name) && !v.external {
                            let (line, text, kind) = (v.line, v.name.to_string(), LoadErrorKind::Syntax);
                            return Err(LoadError { line, text, reason: TWICE.into(), kind });
                        }
                    }
                    return self.expect(b';');
                }
                _ => return Err(self.refuse(format!("`{}` is not a directive known here", t.text))),
            }
        }
    }

    pub(super) fn dims(&mut self) -> Result<[u32; 3]> {
        let mut d = [self.count()?, 1, 1];
        for v in &mut d[1..] {
            if self.accept(b',') {
                *v = self.count()?;
            }
        }
        Ok(d)
    }

    /// A function may be declared many times and defined once.
    fn once(&mut self, unit: &Unit<'a>, f: &Function<'a>) -> Result<()> {
        if f.body.is_none() || self.defined.insert(f.name) {
            return Ok(());
        }
        let first = unit.functions.iter().find(|g| g.name == f.name && g.body.is_some());
        let line = first.map_or(0, |g| g.line);
        let reason = format!("function `{}` is defined twice, the first time in line {line}", f.name);
        Err(LoadError { line: f.line, text: f.name.into(), reason, kind: LoadErrorKind::Syntax })
    }

    pub(super) fn function(&mut self) -> Result<Function<'a>> {
        let first = self.next();
        let (entry, line) = (first.text == ".entry", first.line);
        if entry && self.is(b'(') {
            return Err(self.refuse("a kernel has no results"));
        }
        let returns = if self.is(b'(') { self.parameters()? } else { Vec::new() };
        let name = self.ident()?;
        let params = if self.is(b'(') { self.parameters()? } else { Vec::new() };
        self.signatures.insert(name, params.iter().map(|p| p.size).collect());
        let (max_threads, required_threads, min_blocks) = (None, None, None);
        let mut f =
            Function { name, entry, returns, params, max_threads, required_threads, min_blocks, body: None, line };
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
                    f.min_blocks = Some(self.count()?);
                }
                ".maxnreg" | ".maxnctapersm" | ".abi_preserve" | ".abi_preserve_control" => {
                    self.next();
                    self.integer()?;
                }
                ".noreturn" => {
                    self.next();
                }
                ".pragma" => self.skip_past(b';')?,
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
