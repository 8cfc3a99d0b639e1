//! One enum for every kind of fault, and the values that describe one. Nothing here makes text; `render` does.

use crate::memory::Space;
use crate::memory::space::Label;

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
    /// The host program called the device wrongly.
    Host,
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
    /// A store to memory that kernels may only read.
    ReadOnly,
    /// An access to shared bytes that a `cp.async` has not landed yet.
    AsyncPending,
    /// A host copy, fill or free of addresses that are not one live allocation's.
    HostAccess,
    /// A decision, an address or a result that depends on bytes nobody wrote.
    Uninitialised,
    /// Two unordered accesses to one byte, at least one of them a write.
    Race,
    /// Threads of a block wait at different barriers, or at one that can never fill.
    BarrierDivergence,
    /// A member mask that does not name the lane itself, lanes that wait for each other, a value from a lane that is not there.
    WarpSync,
    /// A barrier object that is not initialised, or at which more threads arrive than it awaits.
    BarrierObject,
    /// No thread can go on.
    Deadlock,
    /// Threads go round without any change of memory, or past the instruction limit.
    Livelock,
    /// The `trap` instruction.
    Trap,
    /// A failed `assert`.
    Assert,
    /// Calls or `alloca` beyond the end of a thread's stack.
    StackOverflow,
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
            FaultKind::HostAccess => Blame::Host,
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
    /// One sentence: what was accessed or awaited. Empty when `detail` says it.
    pub what: String,
    /// What a memory detector found.
    pub detail: Option<Box<Detail>>,
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
            detail: None,
            other: None,
            notes: Vec::new(),
        })
    }

    /// A fault of an access, found by a detector. `lanes` are those at fault.
    pub fn found(detail: Detail, site: Site, warp: u32, lanes: u32) -> Box<Fault> {
        let mut fault = Fault::new(detail.kind(), site, warp, "");
        fault.lane = (lanes != 0).then_some(lanes.trailing_zeros());
        fault.address = detail.address();
        fault.other = detail.first().map(|(party, when)| (party.site, when.to_string()));
        fault.detail = Some(Box::new(detail));
        fault
    }

    /// Linear thread number in the block of the first lane at fault.
    pub fn thread(&self) -> u32 {
        self.warp * 32 + self.lane.unwrap_or(0)
    }
}

/// What an access does with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// Reads.
    Load,
    /// Writes.
    Store,
    /// Reads and writes in one step.
    Atomic,
    /// `cp.async` reading its source.
    AsyncSource,
    /// `cp.async` writing its destination.
    AsyncTarget,
}

/// Where an address lies, in terms of the nearest allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the allocation is.
    pub label: Label,
    /// Its number, from 1.
    pub serial: u64,
    /// Its first address.
    pub base: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Already freed.
    pub freed: bool,
    /// Address minus base; negative below it.
    pub offset: i64,
}

/// One of two accesses that disturb each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// The instruction.
    pub site: Site,
    /// What it does.
    pub kind: AccessKind,
    /// Linear block number in the grid.
    pub block: u64,
    /// Linear thread number in its block.
    pub thread: u32,
}

/// What depends on unwritten bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// An address.
    Address,
    /// The guard of an instruction.
    Guard,
    /// Where a thread goes, whom it waits for, who takes part.
    Decision,
    /// The address or an operand of an atomic.
    Atomic,
    /// A computed value that a store puts into global memory.
    Result,
}

/// The load that brought unwritten bytes into registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Brought {
    /// The load.
    pub load: Party,
    /// State space that it read.
    pub space: Space,
    /// First byte that it read; an offset for shared, local and parameter space.
    pub address: u64,
    /// The allocation, when it is global.
    pub place: Option<Place>,
}

/// What a detector found, one variant per shape of report.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// An access reaches outside its allocation, or outside shared, local, parameter memory.
    OutOfBounds {
        /// Load, store..
        kind: AccessKind,
        /// State space accessed.
        space: Space,
        /// First byte accessed; an offset for shared, local and parameter space.
        address: u64,
        /// Bytes accessed.
        bytes: u32,
        /// Length of the space when it is not global.
        limit: u64,
        /// Nearest allocation when it is global.
        place: Option<Place>,
    },
    /// An access to a freed allocation.
    UseAfterFree {
        /// Load, store..
        kind: AccessKind,
        /// First byte accessed.
        address: u64,
        /// Bytes accessed.
        bytes: u32,
        /// The allocation that was freed.
        place: Option<Place>,
    },
    /// The address is no multiple of the access's width.
    Misaligned {
        /// Load, store..
        kind: AccessKind,
        /// State space accessed.
        space: Space,
        /// First byte accessed.
        address: u64,
        /// Bytes accessed: the alignment that is needed.
        bytes: u32,
    },
    /// The address belongs to another state space than the instruction names.
    WrongSpace {
        /// Load, store..
        kind: AccessKind,
        /// State space the instruction names.
        space: Space,
        /// State space the address belongs to.
        belongs: Space,
        /// First byte accessed.
        address: u64,
    },
    /// A store to memory that kernels may only read.
    ReadOnly {
        /// State space accessed.
        space: Space,
        /// First byte accessed.
        address: u64,
        /// The allocation, when there is one.
        place: Option<Place>,
    },
    /// An atomic computes with bytes that nobody wrote.
    Unwritten {
        /// State space accessed.
        space: Space,
        /// First byte accessed.
        address: u64,
        /// Bytes accessed.
        bytes: u32,
        /// The allocation, when it is global.
        place: Option<Place>,
    },
    /// What happens, or a result, depends on bytes that nobody wrote.
    Uninitialised {
        /// What depends on them.
        used: Used,
        /// What brought them; `None` for a register that no instruction wrote.
        brought: Option<Brought>,
    },
    /// A generic address of another thread's local memory.
    ForeignLocal {
        /// Load, store..
        kind: AccessKind,
        /// The address.
        address: u64,
        /// Linear number in the block of the thread whose memory it is.
        owner: u32,
    },
    /// An access to bytes that a `cp.async` of the block has not landed yet.
    AsyncPending {
        /// The copy.
        copy: Party,
        /// The access.
        access: Party,
        /// Shared offset accessed.
        address: u64,
        /// Bytes accessed.
        bytes: u32,
    },
    /// Two unordered accesses of two threads of a block to one shared byte.
    SharedRace {
        /// Happened earlier.
        first: Party,
        /// Just happened.
        second: Party,
        /// Shared offset of the second.
        address: u64,
        /// Bytes accessed by the second.
        bytes: u32,
        /// Length of the block's shared memory.
        limit: u64,
    },
    /// Two unordered accesses of two blocks of a launch to one global byte.
    GlobalRace {
        /// Happened earlier.
        first: Party,
        /// Just happened.
        second: Party,
        /// First byte of the second access.
        address: u64,
        /// Bytes accessed by the second.
        bytes: u32,
        /// The allocation.
        place: Option<Place>,
    },
    /// A host copy or fill outside one live allocation.
    HostRange {
        /// Load = device to host, Store = host to device.
        kind: AccessKind,
        /// First byte.
        address: u64,
        /// Bytes.
        bytes: u64,
        /// Nearest allocation.
        place: Option<Place>,
    },
    /// A free of something that is no live allocation's first address.
    BadFree {
        /// Address given.
        address: u64,
        /// It was one, and was freed before.
        twice: bool,
        /// Nearest allocation.
        place: Option<Place>,
    },
}

impl Detail {
    /// The kind of fault.
    pub fn kind(&self) -> FaultKind {
        match self {
            Detail::OutOfBounds { .. } => FaultKind::OutOfBounds,
            Detail::UseAfterFree { .. } => FaultKind::UseAfterFree,
            Detail::Misaligned { .. } => FaultKind::Misaligned,
            Detail::WrongSpace { .. } | Detail::ForeignLocal { .. } => FaultKind::WrongSpace,
            Detail::ReadOnly { .. } => FaultKind::ReadOnly,
            Detail::Unwritten { .. } | Detail::Uninitialised { .. } => FaultKind::Uninitialised,
            Detail::AsyncPending { .. } => FaultKind::AsyncPending,
            Detail::SharedRace { .. } | Detail::GlobalRace { .. } => FaultKind::Race,
            Detail::HostRange { .. } | Detail::BadFree { .. } => FaultKind::HostAccess,
        }
    }

    /// The first byte concerned.
    pub fn address(&self) -> Option<u64> {
        match *self {
            Detail::Uninitialised { ref brought, .. } => brought.as_ref().map(|b| b.address),
            Detail::ForeignLocal { address, .. }
            | Detail::OutOfBounds { address, .. }
            | Detail::UseAfterFree { address, .. }
            | Detail::Misaligned { address, .. }
            | Detail::WrongSpace { address, .. }
            | Detail::ReadOnly { address, .. }
            | Detail::Unwritten { address, .. }
            | Detail::AsyncPending { address, .. }
            | Detail::SharedRace { address, .. }
            | Detail::GlobalRace { address, .. }
            | Detail::HostRange { address, .. }
            | Detail::BadFree { address, .. } => Some(address),
        }
    }

    /// The earlier of two parties, and when it acted.
    pub fn first(&self) -> Option<(Party, &'static str)> {
        match self {
            Detail::SharedRace { first, .. } => Some((*first, "happened earlier, not ordered before (2)")),
            Detail::GlobalRace { first, .. } => Some((*first, "happened earlier in the same launch")),
            Detail::AsyncPending { copy, .. } => Some((*copy, "issued earlier, not waited for")),
            Detail::Uninitialised { brought: Some(b), .. } => Some((b.load, "brought the bytes")),
            _ => None,
        }
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
    /// File and line of the `.cu` source, if the PTX has line information.
    pub source: Option<String>,
    /// The same for the other access.
    pub other_source: Option<String>,
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
