//! An instruction ready to run: a function, register slots, and what the function needs besides.

use super::ctx::Ctx;
use super::taint::Taint;
use crate::count::Class;
use crate::memory::{Order, Space};

/// What happens after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next instruction.
    Next,
    /// The lanes in `Ctx::taken` go to `Inst::target`, the others to the next instruction.
    Branch,
    /// Each lane of the group goes to its own place in `Ctx::targets`.
    Scatter,
    /// The group stays here until more lanes of its warp have arrived.
    Wait,
    /// Only the lanes in `Ctx::taken` were ready and have done it; the others stay.
    Part,
    /// The group has arrived at a barrier and stays until it completes.
    Barrier,
    /// To the function at `Inst::target`.
    Call,
    /// Back to the caller, or the end of the thread.
    Return,
    /// The end of the lanes in the mask.
    Exit,
    /// The next instruction, but let others run first.
    Yield,
    /// `Ctx::fault` says why.
    Fault,
}

/// Runs one instruction for the lanes of `Ctx::mask`.
///
/// Functions of the AVX2 tier carry target features: calling one is safe only where the processor has them.
pub type Run = for<'a, 'l> unsafe fn(&mut Ctx<'a, 'l>, &Inst) -> Flow;

/// The same instruction for every processor tier; results are identical.
#[derive(Clone, Copy)]
pub struct Tiers {
    /// For any processor.
    pub base: Run,
    /// For a processor with the features that `crate::tiers` looks for.
    pub avx2: Run,
}

/// What a row makes of an instruction's modifiers.
#[derive(Clone, Copy)]
pub struct Exec {
    /// The functions.
    pub tiers: Tiers,
    /// Handed to them as `Inst::mods`.
    pub mods: u32,
    /// How unwritten bytes travel through it.
    pub taint: Taint,
}

impl Exec {
    /// With modifiers.
    pub fn with(self, mods: u32) -> Exec {
        Exec { mods, ..self }
    }

    /// With a rule for unwritten bytes other than "taint the whole result".
    pub fn taint(self, taint: Taint) -> Exec {
        Exec { taint, ..self }
    }
}

/// What a memory instruction accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mem {
    /// State space named.
    pub space: Space,
    /// Memory ordering.
    pub order: Order,
    /// Bytes of one element.
    pub element: u8,
    /// Elements of the vector.
    pub count: u8,
    /// Elements are sign-extended into wider registers.
    pub signed: bool,
    /// The base register has 64 bits.
    pub base64: bool,
    /// The same for the second address (`cp.async`).
    pub second64: bool,
    /// Width of the value registers.
    pub register: u8,
    /// Local memory that holds what a call passes; hardware has it in registers.
    pub passes: bool,
}

impl Default for Mem {
    fn default() -> Mem {
        let (space, order) = (Space::Generic, Order::Weak);
        Mem {
            space,
            order,
            element: 0,
            count: 0,
            signed: false,
            base64: false,
            second64: false,
            register: 0,
            passes: false,
        }
    }
}

/// The place of an operand that is not there.
pub const ABSENT: u32 = u32::MAX;

/// An instruction ready to run.
#[derive(Clone)]
pub struct Inst {
    /// The function of the tier chosen at load.
    pub run: Run,
    /// Scalar operands in the row's order: register slots, [`ABSENT`], or for a vector its start in `list`.
    pub o: [u32; 6],
    /// Register slots of vector operands, one operand after the other.
    pub list: Box<[u32]>,
    /// Added to the base address.
    pub offset: i64,
    /// Of the second address.
    pub second_offset: i64,
    /// Modifiers as the row packed them.
    pub mods: u32,
    /// A predicate operand is negated.
    pub negated: bool,
    /// Predicate slot of the guard, or [`ABSENT`].
    pub guard: u32,
    /// The guard is negated.
    pub guard_not: bool,
    /// What is accessed.
    pub mem: Mem,
    /// Where a branch or a call goes.
    pub target: u32,
    /// Line of the PTX text.
    pub line: u32,
    /// For the counters.
    pub class: Class,
    /// For the shadow.
    pub taint: Taint,
}
