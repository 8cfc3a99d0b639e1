//! A kernel ready to run: instructions, what they read and write, and what the registers hold at the start.

use super::inst::Inst;
use super::launch::Special;
use super::regs::File;

/// What an instruction does with registers, for the shadow.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// Registers read as values.
    pub reads: Box<[(File, u32)]>,
    /// Registers whose unwritten bits are a fault here: addresses.
    pub uses: Box<[(File, u32)]>,
    /// Registers written, and their width in bits.
    pub writes: Box<[(File, u32, u32)]>,
    /// File of each operand place.
    pub files: [File; 6],
}

/// The value of a register before the first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preload {
    /// A constant.
    Const(u64),
    /// A special register.
    Special(Special),
}

/// Where an instruction stands in the text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// Byte range of the statement.
    pub text: (u32, u32),
    /// `.loc` file and line.
    pub loc: Option<(u32, u32)>,
}

/// A kernel ready to run.
pub struct Code {
    /// The kernel's instructions, then those of the functions it calls.
    pub insts: Vec<Inst>,
    /// By instruction.
    pub roles: Vec<Roles>,
    /// By instruction.
    pub origins: Vec<Origin>,
    /// Registers of each file.
    pub slots: [usize; 3],
    /// Registers that are set before the first instruction.
    pub preload: Vec<(File, u32, Preload)>,
    /// Statically declared shared bytes; dynamic ones follow.
    pub static_shared: u32,
    /// Where dynamic shared memory begins.
    pub dynamic_at: u32,
    /// Local bytes of a thread.
    pub local_bytes: u32,
}
