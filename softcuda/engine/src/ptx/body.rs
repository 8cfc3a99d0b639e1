//! The body of a function: registers and variables of nested blocks, labels, instructions. Names are resolved at its end, because labels are used
//! before they are seen.

use super::lex::Kind;
use super::parse::{Building, Parser, Result, space};
use super::registers::{Maker, registers};
use super::scope::Scopes;
use super::{Body, Function, Loc, Operand, Prototype, Space, Stmt, Ty, Variable};

/// Registers that one function may declare: 20 times what the largest kernel seen does.
const REGISTERS: u64 = 1 << 20;

impl<'a> Parser<'a> {
    pub(super) fn body(&mut self, f: &Function<'a>) -> Result<Body<'a>> {
        self.expect(b'{')?;
        let mut b = Building { body: Body::default(), scopes: Scopes::new(), results: Vec::new() };
        self.register_parameters(f, &mut b)?;
        loop {
            if self.accept(b'}') {
                if !b.scopes.leave() {
                    break;
                }
            } else if self.accept(b'{') {
                if !b.scopes.enter() {
                    return Err(self.refuse("blocks nested too deep"));
                }
            } else if !self.accept(b';') {
                self.statement(&mut b)?;
            }
        }
        // The closing brace returns.
        let last = b.body.stmts.last();
        let ends = last.is_some_and(|s| s.guard.is_none() && matches!(s.op, "ret" | "ret.uni" | "exit" | "trap"));
        if !ends || b.scopes.labelled(b.body.stmts.len() as u32) {
            let line = self.tokens[self.at - 1].line;
            let stmt = Stmt { line, text: "", guard: None, op: "ret", operands: Vec::new(), loc: self.loc };
            self.place(stmt, &mut b)?;
        }
        let Building { mut body, scopes, .. } = b;
        let names = |list: &[Variable<'a>], name: &str| list.iter().position(|v| v.name == name).map(|i| i as u32);
        for stmt in &mut body.stmts {
            for operand in &mut stmt.operands {
                resolve(operand, &|name, scope| match scopes.resolve(name, scope) {
                    Operand::Symbol(name) => match (names(&f.params, name), names(&f.returns, name)) {
                        (Some(i), _) => Operand::Param(i),
                        (_, Some(i)) => Operand::Return(i),
                        _ => Operand::Symbol(name),
                    },
                    known => known,
                });
            }
        }
        Ok(body)
    }

    /// Declares the `.reg` parameters and results of a function, and reads the parameters.
    pub(super) fn register_parameters(&mut self, f: &Function<'a>, b: &mut Building<'a>) -> Result<()> {
        let line = self.peek().line;
        for (list, results) in [(&f.params, false), (&f.returns, true)] {
            for (n, v) in list.iter().enumerate() {
                let Some((count, ty)) = v.register else { continue };
                let first = b.body.regs.len() as u32;
                if count == 1 {
                    b.scopes.register(&mut b.body.regs, v.name, ty);
                } else {
                    b.scopes.register_vector(&mut b.body.regs, v.name, count, None, ty);
                }
                let own: Vec<u32> = (first..first + count).collect();
                if results {
                    b.results.push((n as u32, own));
                    continue;
                }
                let like = Stmt { line, text: "", guard: None, op: "", operands: Vec::new(), loc: None };
                let made = Maker { body: &mut b.body, like }.load(&own, Operand::Param(n as u32));
                made.ok_or_else(|| self.refuse(format!("parameter `{}` of this type", v.name)))?;
            }
        }
        Ok(())
    }

    pub(super) fn statement(&mut self, b: &mut Building<'a>) -> Result<()> {
        let t = self.peek();
        match t.kind {
            Kind::Directive => self.body_directive(b),
            Kind::Ident if self.tokens[self.at + 1].kind == Kind::Punct(b':') => {
                self.at += 2;
                if !b.scopes.label(t.text, b.body.stmts.len() as u32) {
                    return Err(self.refuse(format!("label `{}` stands twice in one block", t.text)));
                }
                Ok(())
            }
            Kind::Ident | Kind::Punct(b'@') => self.instruction(b),
            _ => Err(self.refuse(format!("`{}` starts no statement", t.text))),
        }
    }

    pub(super) fn body_directive(&mut self, b: &mut Building<'a>) -> Result<()> {
        let t = self.next();
        match t.text {
            ".reg" => {
                let mut word = self.next().text;
                let lanes = match word {
                    ".v2" => 2,
                    ".v4" => 4,
                    _ => 1,
                };
                if lanes > 1 {
                    word = self.next().text;
                }
                let ty = Ty::by_name(word.trim_start_matches('.'))
                    .ok_or_else(|| self.refuse(format!("`{word}` is not a register type")))?;
                loop {
                    let name = self.ident()?;
                    if b.scopes.declares(name) {
                        return Err(self.refuse(format!("`{name}` is declared twice in one block")));
                    }
                    if self.accept(b'<') {
                        let count = self.count()?;
                        self.expect(b'>')?;
                        let all = u64::from(count) * u64::from(lanes) + b.body.regs.len() as u64;
                        if all > REGISTERS {
                            return Err(self.refuse(format!("more than {REGISTERS} registers in one function")));
                        }
                        if lanes > 1 {
                            b.scopes.register_vector(&mut b.body.regs, name, lanes, Some(count), ty);
                        } else {
                            b.scopes.register_range(&mut b.body.regs, name, count, ty);
                        }
                    } else if lanes > 1 {
                        b.scopes.register_vector(&mut b.body.regs, name, lanes, None, ty);
                    } else {
                        b.scopes.register(&mut b.body.regs, name, ty);
                    }
                    if !self.accept(b',') {
                        break;
                    }
                }
                self.expect(b';')
            }
            ".local" | ".shared" | ".param" | ".global" | ".const" => {
                let space = space(t.text).expect("one of the five");
                let mut declared = Vec::new();
                self.variables(space, false, &mut |v| declared.push(v))?;
                for v in declared {
                    if b.scopes.declares(v.name) {
                        return Err(self.refuse(format!("`{}` is declared twice in one block", v.name)));
                    }
                    if matches!(space, Space::Global | Space::Const) {
                        self.hoisted.push(v);
                        continue;
                    }
                    b.scopes.variable(&mut b.body.vars, v);
                }
                self.expect(b';')
            }
            ".loc" => {
                let at = (self.count()?, self.count()?);
                let mut inlined = None;
                while self.peek().line == t.line && self.peek().kind != Kind::End {
                    if self.next().text == "inlined_at" {
                        inlined = Some((self.count()?, self.count()?));
                    }
                }
                self.loc = Some(Loc { at, inlined });
                Ok(())
            }
            ".pragma" => self.skip_past(b';'),
            // The targets of `brx.idx` and of `call`, kept as a statement that does nothing.
            ".branchtargets" | ".calltargets" => {
                let stmt = Stmt { line: t.line, text: "", guard: None, op: t.text, operands: Vec::new(), loc: None };
                self.operands(stmt, t.at, b)
            }
            // The same for what an indirect call passes: `.callprototype (results) _ (parameters);`
            ".callprototype" => {
                let returns = if self.is(b'(') { self.parameters()? } else { Vec::new() };
                self.ident()?;
                let params = if self.is(b'(') { self.parameters()? } else { Vec::new() };
                // `.noreturn`, `.abi_preserve N`
                self.skip_past(b';')?;
                let at = b.body.stmts.len() as u32;
                b.body.prototypes.push(Prototype { at, returns, params });
                let stmt = Stmt { line: t.line, text: "", guard: None, op: t.text, operands: Vec::new(), loc: None };
                b.body.stmts.push(stmt);
                Ok(())
            }
            other => Err(self.refuse(format!("`{other}` is not a directive known in a body"))),
        }
    }

    pub(super) fn instruction(&mut self, b: &mut Building<'a>) -> Result<()> {
        let first = self.peek();
        let mut guard = None;
        if self.accept(b'@') {
            let negated = self.accept(b'!');
            let name = self.ident()?;
            let reg = b
                .scopes
                .find_register(name)
                .ok_or_else(|| self.refuse(format!("register `{name}` is not declared")))?;
            guard = Some((reg, negated));
        }
        let op = self.ident()?;
        let stmt = Stmt { line: first.line, text: "", guard, op, operands: Vec::new(), loc: self.loc };
        self.operands(stmt, first.at, b)
    }

    pub(super) fn operands(&mut self, mut stmt: Stmt<'a>, start: usize, b: &mut Building<'a>) -> Result<()> {
        while !self.is(b';') {
            let operand = self.operand(&b.scopes)?;
            stmt.operands.push(operand);
            if !self.accept(b',') && !self.is(b';') {
                return Err(self.refuse(format!("expected `,` or `;`, found `{}`", self.peek().text)));
            }
        }
        let end = self.next();
        stmt.text = &self.source[start..end.at + 1];
        self.place(stmt, b)
    }

    /// Adds a statement; register arguments, results and vectors become statements of their own around it.
    pub(super) fn place(&mut self, mut stmt: Stmt<'a>, b: &mut Building<'a>) -> Result<()> {
        let refused = || self.refuse("registers of this type cannot be moved as a whole");
        let word = stmt.op.split('.').next().unwrap_or_default();
        if word == "ret" {
            for (n, own) in &b.results {
                let mut maker = Maker { body: &mut b.body, like: stmt.clone() };
                maker.store(Operand::Return(*n), own).ok_or_else(refused)?;
            }
        }
        if let Some(ty) = stmt.op.strip_prefix("mov.v2.").or(stmt.op.strip_prefix("mov.v4."))
            && let (Some(ty), [Operand::Vector(d), Operand::Vector(a)]) = (Ty::by_name(ty), stmt.operands.as_slice())
            && d.len() == a.len()
        {
            return Maker { body: &mut b.body, like: stmt.clone() }.moves(d, a, ty).ok_or_else(refused);
        }
        if word == "lop3" && (Maker { body: &mut b.body, like: stmt.clone() }.lop3(&stmt)).is_some() {
            return Ok(());
        }
        if word != "call" {
            b.body.stmts.push(stmt);
            return Ok(());
        }
        let name = stmt.operands.iter().find_map(|o| if let Operand::Name(name, _) = o { Some(*name) } else { None });
        let sizes = name.and_then(|n| self.signatures.get(n)).cloned().unwrap_or_default();
        let mut maker = Maker { body: &mut b.body, like: stmt.clone() };
        let mut loads = Vec::new();
        for (k, operand) in stmt.operands.iter_mut().enumerate() {
            let Operand::List(list) = operand else { continue };
            for (n, o) in list.iter_mut().enumerate() {
                if let Operand::Imm(_) = o {
                    let bytes = sizes.get(n).copied().unwrap_or(4);
                    *o = maker.constant(o.clone(), bytes).ok_or_else(refused)?;
                }
                let Some(own) = registers(o) else { continue };
                *o = maker.variable(&own);
                if k == 0 {
                    loads.push((own, o.clone()));
                } else {
                    maker.store(o.clone(), &own).ok_or_else(refused)?;
                }
            }
        }
        maker.body.stmts.push(stmt);
        for (own, from) in loads {
            maker.load(&own, from).ok_or_else(refused)?;
        }
        Ok(())
    }
}

fn resolve<'a>(operand: &mut Operand<'a>, find: &dyn Fn(&'a str, u32) -> Operand<'a>) {
    match operand {
        Operand::Name(name, scope) => *operand = find(name, *scope),
        Operand::Offset(inner, _) | Operand::Address(inner) | Operand::Not(inner) => resolve(inner, find),
        Operand::Vector(list) | Operand::List(list) => list.iter_mut().for_each(|o| resolve(o, find)),
        Operand::Pair(pair) => {
            resolve(&mut pair.0, find);
            resolve(&mut pair.1, find);
        }
        _ => {}
    }
}
