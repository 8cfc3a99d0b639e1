//! The notation of a row, and how an instruction's spelling is matched against it.
//!
//! ```text
//! add{.sat}.s32 d, a, b            {..} optional, (.x|.y) one of; modifiers stand in this order
//! shl.(b16|b32|b64) d, a, b:u32    operands have the row's last type unless annotated
//! cvt.(..).(..) d:0, a:1           a number picks the n-th type among the modifiers
//! setp.(..).s32 p{|q}, a, b{, c:pred}
//! ld.(..) d:v, [a]                 v: as many elements as .v2/.v4 says;  3xf32: three elements of f32
//! ```
//! Names that begin with d, p or q are written, `[a]` is an address, m decides what happens (a member mask, a size), everything else is read.

use crate::count::Class;
use crate::exec::Exec;
use crate::ptx::Ty;

/// One instruction of the ISA.
pub struct Row {
    /// As the manual writes it.
    pub syntax: &'static str,
    /// Section of the PTX ISA.
    pub section: &'static str,
    /// For the counters.
    pub class: Class,
    /// From modifiers to functions; `None` for a combination that the ISA does not have.
    pub build: fn(&Mods) -> Option<Exec>,
    /// Mnemonic.
    pub name: &'static str,
    /// The oldest target that has it, 80 for everything that `sm_80` has.
    pub since: u32,
    /// What its results are to the ISA's.
    pub result: Result,
    slots: Vec<Slot>,
    /// Operands in order; `|` and optional ones have a place of their own.
    pub operands: Vec<OperandSpec>,
}

/// What an instruction's results are to what the ISA says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// The only ones that it allows.
    Exact,
    /// Within its bound: the rounded value, or that moved by a seeded error.
    Approximate,
    /// A sum whose order and rounding it leaves open, as [`MmaMode`](crate::MmaMode) says.
    Sum,
    /// It asks for nothing that a program could see.
    Hint,
}

#[derive(Debug)]
struct Slot {
    alternatives: Vec<&'static str>,
    optional: bool,
}

/// One operand of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperandSpec {
    /// As written.
    pub name: &'static str,
    /// Read, written, or an address.
    pub role: Role,
    /// Type or the rule for it.
    pub ty: OperandTy,
    /// May be left out.
    pub optional: bool,
    /// Stands behind a `|`.
    pub piped: bool,
}

/// What an instruction does with an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads it.
    Read,
    /// Writes it.
    Write,
    /// Accesses memory there.
    Address,
    /// Reads it, and what happens depends on it.
    Decide,
}

/// How an operand's type is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandTy {
    /// The last type among the modifiers.
    Last,
    /// The n-th type among the modifiers.
    Nth(usize),
    /// Fixed.
    Fixed(Ty),
    /// Twice the width of the last type.
    Wide,
    /// The vector that `.v2`, `.v4`, `.v8` or their absence says, of the last type.
    Vector,
    /// So many elements of a fixed type.
    Elements(u32, Ty),
    /// A label, a function, a list: the row's own code looks at it.
    Special,
}

/// The modifiers of one spelling, as the row's slots matched them; absent optional ones are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mods {
    /// In the row's order.
    pub parts: Vec<&'static str>,
}

impl Mods {
    /// Whether the modifier is there.
    pub fn has(&self, name: &str) -> bool {
        self.parts.contains(&name)
    }

    /// The n-th type among the modifiers.
    pub fn nth_ty(&self, n: usize) -> Option<Ty> {
        self.parts.iter().filter_map(|p| Ty::by_name(p)).nth(n)
    }

    /// The last type among the modifiers.
    pub fn ty(&self) -> Ty {
        self.parts.iter().rev().find_map(|p| Ty::by_name(p)).unwrap_or(Ty::B32)
    }

    /// Which of the names is there.
    pub fn which(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().find(|n| self.has(n)).copied()
    }
}

/// Makes a row; panics on a malformed syntax text, which a test excludes.
pub fn row(syntax: &'static str, section: &'static str, class: Class, build: fn(&Mods) -> Option<Exec>) -> Row {
    let (head, tail) = syntax.split_once(' ').unwrap_or((syntax, ""));
    let end = head.find(['.', '{', '(']).unwrap_or(head.len());
    let (name, mut rest) = head.split_at(end);
    let mut slots = Vec::new();
    while !rest.is_empty() {
        let (optional, close) = match rest.as_bytes()[0] {
            b'{' => (true, '}'),
            b'(' => (false, ')'),
            b'.' if rest.as_bytes()[1] == b'(' => {
                rest = &rest[1..];
                (false, ')')
            }
            b'.' => {
                let end = rest[1..].find(['.', '{', '(']).map_or(rest.len(), |e| e + 1);
                slots.push(Slot { alternatives: vec![&rest[1..end]], optional: false });
                rest = &rest[end..];
                continue;
            }
            _ => panic!("row `{syntax}`: `{rest}`"),
        };
        let end = rest.find(close).unwrap_or_else(|| panic!("row `{syntax}`: no `{close}`"));
        let alternatives = rest[1..end].split('|').map(|a| a.strip_prefix('.').unwrap_or(a)).collect();
        slots.push(Slot { alternatives, optional });
        rest = &rest[end + 1..];
    }
    Row { syntax, section, class, build, name, since: 80, result: result(head, class), slots, operands: operands(tail) }
}

fn result(head: &str, class: Class) -> Result {
    if head.contains(".approx") || head.contains(".full") {
        Result::Approximate
    } else if class == Class::Mma && !head.contains(".s32") && !head.contains(".f64") {
        Result::Sum
    } else {
        Result::Exact
    }
}

fn operands(tail: &'static str) -> Vec<OperandSpec> {
    let mut list = Vec::new();
    let mut optional = false;
    let mut piped = false;
    let mut rest = tail;
    while !rest.is_empty() {
        let end = rest.find([',', '{', '}', '|']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let word = word.trim();
        if !word.is_empty() {
            list.push(operand(word, optional, piped));
            piped = false;
        }
        match after.as_bytes().first() {
            Some(b'{') => optional = true,
            Some(b'}') => optional = false,
            Some(b'|') => piped = true,
            _ => {}
        }
        rest = after.get(1..).unwrap_or("");
    }
    list
}

fn operand(word: &'static str, optional: bool, piped: bool) -> OperandSpec {
    let (name, ty) = word.split_once(':').unwrap_or((word, ""));
    let role = match name.as_bytes()[0] {
        b'[' => Role::Address,
        b'd' | b'p' | b'q' => Role::Write,
        b'm' => Role::Decide,
        _ => Role::Read,
    };
    let ty = match ty {
        "" if matches!(name.as_bytes()[0], b'p' | b'q') => OperandTy::Fixed(Ty::Pred),
        "" => OperandTy::Last,
        "wide" => OperandTy::Wide,
        "v" => OperandTy::Vector,
        "special" => OperandTy::Special,
        n if n.parse::<usize>().is_ok() => OperandTy::Nth(n.parse().expect("just parsed")),
        n => match n.split_once('x').and_then(|(k, t)| Some((k.parse().ok()?, Ty::by_name(t)?))) {
            Some((count, ty)) => OperandTy::Elements(count, ty),
            None => OperandTy::Fixed(Ty::by_name(n).unwrap_or_else(|| panic!("operand `{word}`"))),
        },
    };
    OperandSpec { name, role, ty, optional, piped }
}

impl Row {
    /// The row, of targets from `sm_<target>` on.
    pub fn since(self, target: u32) -> Row {
        Row { since: target, ..self }
    }

    /// The row, of an instruction without effect.
    pub fn hint(self) -> Row {
        Row { result: Result::Hint, ..self }
    }

    /// The modifiers of a spelling, or `None` if this row does not have it. `parts` are what follows the mnemonic, split at the dots.
    pub fn matches(&self, parts: &[&str]) -> Option<Mods> {
        let mut matched = Vec::with_capacity(self.slots.len());
        if self.take(&self.slots, parts, &mut matched) { Some(Mods { parts: matched }) } else { None }
    }

    fn take(&self, slots: &[Slot], parts: &[&str], matched: &mut Vec<&'static str>) -> bool {
        let Some((slot, later)) = slots.split_first() else { return parts.is_empty() };
        if let Some((first, rest)) = parts.split_first()
            && let Some(found) = slot.alternatives.iter().find(|a| *a == first)
        {
            matched.push(found);
            if self.take(later, rest, matched) {
                return true;
            }
            matched.pop();
        }
        if slot.optional {
            matched.push("");
            if self.take(later, parts, matched) {
                return true;
            }
            matched.pop();
        }
        false
    }

    /// Every spelling that the row's notation has, mnemonic included.
    pub fn spellings(&self) -> Vec<String> {
        let mut all = vec![self.name.to_string()];
        for slot in &self.slots {
            let mut next = Vec::new();
            for head in &all {
                if slot.optional {
                    next.push(head.clone());
                }
                next.extend(slot.alternatives.iter().map(|a| format!("{head}.{a}")));
            }
            all = next;
        }
        all
    }
}
