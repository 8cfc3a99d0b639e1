//! Nested `{ .. }` blocks of a function body: registers, variables and labels shadow those further out.

use super::{Operand, RegDecl, Ty, Variable};
use std::collections::HashMap;

/// Blocks within blocks.
const DEPTH: u32 = 100;

/// All scopes of one body, open and closed; a scope's number stays valid after it closes, because labels are used before they are seen.
#[derive(Default)]
pub struct Scopes<'a> {
    all: Vec<Scope<'a>>,
    open: u32,
}

#[derive(Default)]
struct Scope<'a> {
    parent: Option<u32>,
    depth: u32,
    registers: HashMap<&'a str, u32>,
    /// `%r<12>`: prefix to (count, first index).
    ranges: HashMap<&'a str, (u32, u32)>,
    /// Vector registers: count and first index.
    vectors: HashMap<String, (u32, u32)>,
    variables: HashMap<&'a str, u32>,
    labels: HashMap<&'a str, u32>,
}

impl<'a> Scopes<'a> {
    /// Scopes of a body, the outermost open.
    pub fn new() -> Scopes<'a> {
        Scopes { all: vec![Scope::default()], open: 0 }
    }

    /// Number of the innermost open scope.
    pub fn current(&self) -> u32 {
        self.open
    }

    /// `{`; false if it lies too deep: every look-up of a name walks outwards.
    pub fn enter(&mut self) -> bool {
        let depth = self.top().depth + 1;
        self.all.push(Scope { parent: Some(self.open), depth, ..Scope::default() });
        self.open = self.all.len() as u32 - 1;
        depth <= DEPTH
    }

    /// `}`; false if it closes the outermost.
    pub fn leave(&mut self) -> bool {
        match self.all[self.open as usize].parent {
            Some(parent) => {
                self.open = parent;
                true
            }
            None => false,
        }
    }

    /// Whether the innermost open scope itself has a register or a variable declared by this name.
    pub fn declares(&self, name: &str) -> bool {
        let s = &self.all[self.open as usize];
        s.registers.contains_key(name)
            || s.ranges.contains_key(name)
            || s.vectors.contains_key(name)
            || (!name.is_empty() && s.variables.contains_key(name))
    }

    /// Whether a label stands at this place.
    pub fn labelled(&self, at: u32) -> bool {
        self.all.iter().any(|s| s.labels.values().any(|&l| l == at))
    }

    fn top(&mut self) -> &mut Scope<'a> {
        &mut self.all[self.open as usize]
    }

    /// Declares one register.
    pub fn register(&mut self, regs: &mut Vec<RegDecl<'a>>, name: &'a str, ty: Ty) {
        self.top().registers.insert(name, regs.len() as u32);
        regs.push(RegDecl { name, number: None, ty });
    }

    /// Declares `name<count>`.
    pub fn register_range(&mut self, regs: &mut Vec<RegDecl<'a>>, name: &'a str, count: u32, ty: Ty) {
        let first = regs.len() as u32;
        self.top().ranges.insert(name, (count, first));
        regs.extend((0..count).map(|n| RegDecl { name, number: Some(n), ty }));
    }

    /// Declares a vector register of `count` elements, or with `numbers` that many of them.
    pub fn register_vector(
        &mut self,
        regs: &mut Vec<RegDecl<'a>>,
        name: &'a str,
        count: u32,
        numbers: Option<u32>,
        ty: Ty,
    ) {
        for n in 0..numbers.unwrap_or(1) {
            let full = if numbers.is_some() { format!("{name}{n}") } else { name.to_string() };
            self.top().vectors.insert(full, (count, regs.len() as u32));
            regs.extend((0..count).map(|_| RegDecl { name, number: numbers.map(|_| n), ty }));
        }
    }

    /// The elements that a name means: a vector register, or one element of it (`v.x`).
    pub fn find_vector(&self, name: &str) -> Option<Operand<'a>> {
        let (stem, element) = match name.rsplit_once('.') {
            Some((stem, "x" | "r")) => (stem, Some(0)),
            Some((stem, "y" | "g")) => (stem, Some(1)),
            Some((stem, "z" | "b")) => (stem, Some(2)),
            Some((stem, "w" | "a")) => (stem, Some(3)),
            _ => (name, None),
        };
        let mut scope = Some(self.open);
        while let Some(s) = scope {
            let s = &self.all[s as usize];
            if let Some(&(count, first)) = s.vectors.get(stem) {
                return match element {
                    Some(e) if e < count => Some(Operand::Reg(first + e)),
                    Some(_) => None,
                    None => Some(Operand::Vector((first..first + count).map(Operand::Reg).collect())),
                };
            }
            scope = s.parent;
        }
        None
    }

    /// Declares a variable.
    pub fn variable(&mut self, vars: &mut Vec<Variable<'a>>, variable: Variable<'a>) {
        self.top().variables.insert(variable.name, vars.len() as u32);
        vars.push(variable);
    }

    /// Places a label; false if the scope has it already.
    pub fn label(&mut self, name: &'a str, at: u32) -> bool {
        self.top().labels.insert(name, at).is_none()
    }

    /// The register of this name, seen from the innermost open scope.
    pub fn find_register(&self, name: &str) -> Option<u32> {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        // `%r1` is of `%r<2>`, `%r01` is not.
        let number = |digits: &str| match digits.starts_with('0') && digits.len() > 1 {
            true => None,
            false => digits.parse::<u32>().ok(),
        };
        let mut scope = Some(self.open);
        while let Some(s) = scope {
            let s = &self.all[s as usize];
            if let Some(&r) = s.registers.get(name) {
                return Some(r);
            }
            // A prefix may itself end in digits (`%r1<4>`): try every split that leaves a number of 32 bits.
            for cut in stem.len().max(name.len().saturating_sub(10))..name.len() {
                if let Some(&(count, first)) = s.ranges.get(&name[..cut])
                    && let Some(n) = number(&name[cut..])
                    && n < count
                {
                    return Some(first + n);
                }
            }
            scope = s.parent;
        }
        None
    }

    /// What a name means in a scope: a label or a variable; else a symbol of the module.
    pub fn resolve(&self, name: &'a str, scope: u32) -> Operand<'a> {
        let mut scope = Some(scope);
        while let Some(s) = scope {
            let s = &self.all[s as usize];
            if let Some(&v) = s.variables.get(name) {
                return Operand::Var(v);
            }
            if let Some(&l) = s.labels.get(name) {
                return Operand::Label(l);
            }
            scope = s.parent;
        }
        Operand::Symbol(name)
    }
}
