//! PTX text to statements: names, scopes and labels are resolved here; what an instruction means is not known here.

mod ast;
mod body;
mod lex;
mod operand;
mod parse;
mod registers;
mod scope;
mod ty;
mod variable;

pub use ast::{Body, Function, Imm, Init, Loc, Operand, Prototype, RegDecl, Space, Stmt, Unit, Variable};
pub use parse::parse;
pub use ty::Ty;
