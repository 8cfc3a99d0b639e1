//! A module as statements. Everything borrows from the text.

use super::Ty;

/// A state space that a variable can live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// `.global`
    Global,
    /// `.const`
    Const,
    /// `.shared`
    Shared,
    /// `.local`
    Local,
    /// `.param`, of a kernel, a function or a call.
    Param,
}

/// A whole module.
#[derive(Debug, Default)]
pub struct Unit<'a> {
    /// `.version` times ten.
    pub version: u32,
    /// `.target` number: 80 for `sm_80`, also for `sm_80a`.
    pub target: u32,
    /// The `.target` word.
    pub target_name: &'a str,
    /// Module-level variables.
    pub variables: Vec<Variable<'a>>,
    /// Entries and functions, defined or declared.
    pub functions: Vec<Function<'a>>,
    /// `.file` numbers and names.
    pub files: Vec<(u32, &'a str)>,
}

/// A declared variable or parameter.
#[derive(Clone, Debug)]
pub struct Variable<'a> {
    /// Name; empty for `_`.
    pub name: &'a str,
    /// State space.
    pub space: Space,
    /// Alignment in bytes.
    pub align: u32,
    /// Element bytes.
    pub element: u32,
    /// Total bytes; 0 for an `.extern` array without size.
    pub size: u64,
    /// Initial values, one an element, in order; fewer than elements means zero.
    pub init: Vec<Init<'a>>,
    /// Declared `.extern`.
    pub external: bool,
    /// A parameter declared `.reg`: elements and type.
    pub register: Option<(u32, Ty)>,
    /// Line of the declaration.
    pub line: u32,
}

/// One element's initial value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init<'a> {
    /// The bits.
    Bits(u64),
    /// The address of a symbol plus an offset; `generic(..)` or not.
    Address(&'a str, bool, i64),
}

/// An entry or a function.
#[derive(Debug)]
pub struct Function<'a> {
    /// Name.
    pub name: &'a str,
    /// `.entry`, else `.func`.
    pub entry: bool,
    /// Return parameters.
    pub returns: Vec<Variable<'a>>,
    /// Parameters.
    pub params: Vec<Variable<'a>>,
    /// `.maxntid`.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks: Option<u32>,
    /// Absent for a declaration.
    pub body: Option<Body<'a>>,
    /// Line of the declaration.
    pub line: u32,
}

/// The statements of a function, names resolved.
#[derive(Debug, Default)]
pub struct Body<'a> {
    /// All registers of all scopes.
    pub regs: Vec<RegDecl<'a>>,
    /// All variables of all scopes.
    pub vars: Vec<Variable<'a>>,
    /// The instructions in order.
    pub stmts: Vec<Stmt<'a>>,
    /// What indirect calls pass.
    pub prototypes: Vec<Prototype<'a>>,
}

/// A `.callprototype`.
#[derive(Debug)]
pub struct Prototype<'a> {
    /// Its place in [`Body::stmts`].
    pub at: u32,
    /// Results.
    pub returns: Vec<Variable<'a>>,
    /// Parameters.
    pub params: Vec<Variable<'a>>,
}

/// One register.
#[derive(Clone, Copy, Debug)]
pub struct RegDecl<'a> {
    /// The name, or the prefix of a numbered range.
    pub name: &'a str,
    /// Its number in the range.
    pub number: Option<u32>,
    /// Declared type.
    pub ty: Ty,
}

/// One instruction.
#[derive(Clone, Debug)]
pub struct Stmt<'a> {
    /// Line, from 1.
    pub line: u32,
    /// Text from the guard to the semicolon.
    pub text: &'a str,
    /// Guard register, and whether it is negated.
    pub guard: Option<(u32, bool)>,
    /// Mnemonic with all modifiers.
    pub op: &'a str,
    /// Operands.
    pub operands: Vec<Operand<'a>>,
    /// The `.loc` before it.
    pub loc: Option<Loc>,
}

/// A line of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loc {
    /// Number of a `.file`, and line.
    pub at: (u32, u32),
    /// Where the function that this line belongs to is inlined.
    pub inlined: Option<(u32, u32)>,
}

/// One operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand<'a> {
    /// Index into [`Body::regs`].
    Reg(u32),
    /// `_`
    Sink,
    /// A constant.
    Imm(Imm),
    /// A special register such as `%tid.x`.
    Special(&'a str),
    /// Index into [`Body::vars`].
    Var(u32),
    /// Index into [`Function::params`].
    Param(u32),
    /// Index into [`Function::returns`].
    Return(u32),
    /// A module-level name.
    Symbol(&'a str),
    /// Index into [`Body::stmts`]; its length for a label at the end.
    Label(u32),
    /// A name that is not yet resolved, and its scope. None are left in a parsed body.
    Name(&'a str, u32),
    /// `[base + offset]`, or `base + offset` outside brackets.
    Offset(Box<Operand<'a>>, i64),
    /// `[..]`
    Address(Box<Operand<'a>>),
    /// `{..}`
    Vector(Vec<Operand<'a>>),
    /// `a|b`
    Pair(Box<(Operand<'a>, Operand<'a>)>),
    /// `!a`
    Not(Box<Operand<'a>>),
    /// `(..)`
    List(Vec<Operand<'a>>),
}

/// A constant as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Imm {
    /// An integer, two's complement.
    Int(i128),
    /// `0f..`
    F32(u32),
    /// `0d..` or a decimal fraction, as f64 bits.
    F64(u64),
}
