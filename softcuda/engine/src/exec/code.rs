//! A kernel ready to run: instructions, what they read and write, and what the registers hold at the start.

use super::inst::Inst;
use super::launch::Special;
use super::regs::File;
use crate::ptx::Loc;

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
    /// Where the thread's present frame begins in local memory; calls move it.
    Frame,
    /// Where its local memory ends; `alloca` moves it.
    Stack,
}

/// Bytes that a call copies between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Offset in the caller's frame.
    pub caller: u32,
    /// Offset in the callee's frame.
    pub callee: u32,
    /// Bytes.
    pub size: u32,
}

/// A function that a call may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its address, as pointers to functions hold it.
    pub address: u64,
    /// Its first instruction.
    pub at: u32,
    /// Bytes of its frame.
    pub frame: u32,
}

/// What a call instruction does besides going there.
#[derive(Clone, Debug)]
pub struct CallSite {
    /// Number of the function that calls.
    pub function: usize,
    /// Bytes of its frame: the callee's begins behind.
    pub frame: u32,
    /// Copied when it begins.
    pub arguments: Vec<Run>,
    /// Copied back when it ends.
    pub results: Vec<Run>,
    /// The caller may be called again before it ends, so its registers are put aside.
    pub saves: bool,
    /// Where it goes; a call through a pointer may go to any of [`Code::taken`].
    pub target: Option<Target>,
}

impl CallSite {
    /// Where it may go.
    pub fn targets<'c>(&'c self, code: &'c Code) -> &'c [Target] {
        self.target.as_ref().map_or(&code.taken, std::slice::from_ref)
    }
}

/// Where an instruction stands in the text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// Byte range of the statement.
    pub text: (u32, u32),
    /// The line of the source.
    pub loc: Option<Loc>,
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
    /// Registers that may be read before anything is written to them.
    pub unset: Vec<(File, u32)>,
    /// Statically declared shared bytes; dynamic ones follow.
    pub static_shared: u32,
    /// Where dynamic shared memory begins.
    pub dynamic_at: u32,
    /// Local bytes of a thread that the text fixes.
    pub local_bytes: u32,
    /// Bytes behind them for recursion and `alloca`.
    pub stack_bytes: u32,
    /// `Inst::mods` of a call is a place in here.
    pub calls: Vec<CallSite>,
    /// Functions that pointers may hold.
    pub taken: Vec<Target>,
    /// 64-bit register of [`Preload::Frame`].
    pub frame: u32,
    /// 64-bit register of [`Preload::Stack`].
    pub stack: u32,
    /// By function: the first of its registers of each file, and the one behind the last.
    pub ranges: Vec<[(u32, u32); 3]>,
}
