//! One enum for every kind of fault, and the values that describe one.

/// The instruction that did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Site {
    /// Instruction index in the kernel.
    pub pc: u32,
    /// Line of the PTX text, from 1.
    pub line: u32,
}

/// Whose fault a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The kernel or its launch breaks a rule.
    Kernel,
    /// The kernel may be right; this device cannot do it.
    Unsupported,
    /// A limit of the configuration was reached.
    Limit,
    /// This device contradicts itself.
    Bug,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// An access outside every live allocation.
    OutOfBounds,
    /// An access to memory that was freed.
    UseAfterFree,
    /// An address that is not a multiple of the access size.
    Misaligned,
    /// An access to the wrong state space.
    WrongSpace,
    /// A decision, an address or a result that depends on bytes nobody wrote.
    Uninitialised,
    /// Two unordered accesses to one byte, at least one of them a write.
    Race,
    /// Threads of a block wait at different barriers, or at one that can never fill.
    BarrierDivergence,
    /// A member mask that does not name the lane itself, lanes that wait for each other, a value from a lane that is not there.
    WarpSync,
    /// No thread can go on.
    Deadlock,
    /// Threads go round without any change of memory, or past the instruction limit.
    Livelock,
    /// The `trap` instruction.
    Trap,
    /// A failed `assert`.
    Assert,
    /// The launch itself is not allowed: grid, block, shared memory, parameters.
    Launch,
    /// Something this device does not do.
    Unsupported,
    /// This device contradicts itself.
    Bug,
}

impl FaultKind {
    /// Whose fault it is.
    pub fn blame(self) -> Blame {
        match self {
            FaultKind::Unsupported => Blame::Unsupported,
            FaultKind::Livelock => Blame::Limit,
            FaultKind::Bug => Blame::Bug,
            _ => Blame::Kernel,
        }
    }
}

/// A fault as a detector sees it: no names yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// The instruction.
    pub site: Site,
    /// Warp in its block.
    pub warp: u32,
    /// The first lane concerned.
    pub lane: Option<u32>,
    /// The address concerned.
    pub address: Option<u64>,
    /// One sentence: what was accessed or awaited.
    pub what: String,
    /// An earlier access that conflicts with this one.
    pub other: Option<(Site, String)>,
    /// Facts that help: the nearest allocation, the rule broken.
    pub notes: Vec<String>,
}

impl Fault {
    /// A fault with a sentence and nothing else.
    pub fn new(kind: FaultKind, site: Site, warp: u32, what: impl Into<String>) -> Box<Fault> {
        Box::new(Fault {
            kind,
            site,
            warp,
            lane: None,
            address: None,
            what: what.into(),
            other: None,
            notes: Vec::new(),
        })
    }
}

/// A fault with everything a reader needs to find it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The fault.
    pub fault: Fault,
    /// The kernel's name.
    pub kernel: String,
    /// The block.
    pub block: [u32; 3],
    /// The block's shape.
    pub block_dim: [u32; 3],
    /// The text of the PTX line.
    pub text: String,
    /// The text of the other access's line.
    pub other_text: Option<String>,
    /// Line of the `.cu` source, if the PTX has line information.
    pub source: Option<String>,
    /// The seed of the run.
    pub seed: u64,
}

impl Report {
    /// What happened.
    pub fn kind(&self) -> FaultKind {
        self.fault.kind
    }

    /// Thread index in the block of a lane of the fault's warp.
    pub fn thread(&self, lane: u32) -> [u32; 3] {
        let linear = self.fault.warp * 32 + lane;
        let [x, y, _] = self.block_dim.map(|d| d.max(1));
        [linear % x, linear / x % y, linear / (x * y)]
    }
}

impl std::error::Error for Report {}
