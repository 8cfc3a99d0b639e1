//! The one door: every byte that a kernel reads or writes goes through [`Door`].
//!
//! An access is made by a warp: an address per lane, a mask, a width. The order of checks is fixed: state space, alignment, bounds
//! (and freed memory), permission, unfinished copies, races; then the bytes move and the counters count. The first lane at fault
//! is reported together with all lanes that fail the same check.

use super::atomic::{AtomOp, AtomTy};
use super::launch::{BlockMemory, LaunchMemory};
use super::pattern::Pattern;
use super::space::{PARAM_WINDOW, SHARED_WINDOW, WINDOW, local_window, window_of};
use crate::count::Counts;
use crate::report::{AccessKind, Detail, Fault, Site};

/// State space named by an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// `.global`; addresses of `space.rs`.
    Global,
    /// `.shared`; offsets in the block's shared memory.
    Shared,
    /// `.local`; offsets in the thread's local memory.
    Local,
    /// `.param` of the kernel; offsets in the parameter block.
    Param,
    /// `.const`; global addresses, read only.
    Const,
    /// None named: the address tells.
    Generic,
}

/// Memory ordering of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// None asked.
    #[default]
    Weak,
    /// `ld.global.nc`: weak, and nobody writes the bytes during the launch.
    NonCoherent,
    /// `.volatile`: as relaxed with system scope.
    Volatile,
    /// `.relaxed`.
    Relaxed,
    /// `.acquire`.
    Acquire,
    /// `.release`.
    Release,
    /// `.acq_rel`.
    AcqRel,
}

impl Order {
    /// Strong in the sense of the memory model: two strong accesses do not race.
    pub fn is_strong(self) -> bool {
        !matches!(self, Order::Weak | Order::NonCoherent)
    }

    /// Orders later accesses after it.
    pub fn acquires(self) -> bool {
        matches!(self, Order::Acquire | Order::AcqRel)
    }

    /// Orders earlier accesses before it.
    pub fn releases(self) -> bool {
        matches!(self, Order::Release | Order::AcqRel)
    }
}

/// Threads among which an ordering holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The block (and cluster).
    Cta,
    /// The device.
    Gpu,
    /// Everything.
    Sys,
}

/// What a warp accesses, besides the addresses.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The instruction.
    pub site: Site,
    /// Warp of the block.
    pub warp: u32,
    /// Lanes that take part.
    pub mask: u32,
    /// State space.
    pub space: Space,
    /// Bytes a lane, the whole vector: 1, 2, 4, 8 or 16.
    pub size: u32,
    /// Memory ordering.
    pub order: Order,
}

impl Access {
    /// A weak access.
    pub fn weak(site: Site, warp: u32, mask: u32, space: Space, size: u32) -> Access {
        Access { site, warp, mask, space, size, order: Order::Weak }
    }
}

/// Up to 16 bytes for each of 32 lanes, and which of them were never written.
///
/// Value of lane l, little endian: `words[0][l]` holds bytes 0..4, `words[1][l]` bytes 4..8 and so on. A load of 1 or 2 bytes zero-extends
/// into `words[0]`; words beyond the size and lanes outside the mask are unspecified.
#[repr(align(64))]
pub struct Wide {
    /// `(word, lane) -> 4 bytes`.
    pub words: [[u32; 32]; 4],
    /// Bit i of lane l: byte i was never written. Only meaningful for the lanes in `tainted`; 0 elsewhere after a load.
    pub uninit: [u16; 32],
    /// Lanes with a bit in `uninit`.
    pub tainted: u32,
}

impl Wide {
    /// All zero, all written.
    pub fn new() -> Wide {
        Wide { words: [[0; 32]; 4], uninit: [0; 32], tainted: 0 }
    }

    /// The value of a lane.
    #[inline(always)]
    pub fn lane(&self, lane: usize) -> [u32; 4] {
        [self.words[0][lane], self.words[1][lane], self.words[2][lane], self.words[3][lane]]
    }

    #[inline(always)]
    pub(crate) fn put(&mut self, lane: usize, size: u32, value: [u32; 4]) {
        self.words[0][lane] = value[0];
        if size > 4 {
            self.words[1][lane] = value[1];
        }
        if size > 8 {
            self.words[2][lane] = value[2];
            self.words[3][lane] = value[3];
        }
    }

    /// Unwritten bytes of a lane's value.
    #[inline(always)]
    pub(crate) fn missing(&self, lane: usize) -> u16 {
        if self.tainted >> lane & 1 != 0 { self.uninit[lane] } else { 0 }
    }

    #[inline(always)]
    pub(crate) fn taint(&mut self, lane: usize, missing: u16) {
        if missing != 0 {
            self.uninit[lane] = missing;
            self.tainted |= 1 << lane;
        }
    }

    #[inline(always)]
    fn clean(&mut self) {
        if self.tainted != 0 {
            self.uninit = [0; 32];
            self.tainted = 0;
        }
    }
}

impl Default for Wide {
    fn default() -> Wide {
        Wide::new()
    }
}

/// Lanes of a mask, lowest first.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = rest.trailing_zeros();
        rest &= rest.wrapping_sub(1);
        (lane < 32).then_some(lane as usize)
    })
}

/// Offsets in the local memory of each lane's own thread; a fault for an address of another thread's.
fn own_offsets(a: &Access, kind: AccessKind, addr: &[u64; 32]) -> Result<[u64; 32], Box<Fault>> {
    let window = |lane: usize| local_window(a.warp * 32 + lane as u32);
    let foreign = lanes(a.mask).filter(|&l| window_of(addr[l]).1 != window(l)).fold(0u32, |m, l| m | 1 << l);
    if foreign == 0 {
        return Ok(addr.map(|x| x % WINDOW));
    }
    let address = addr[foreign.trailing_zeros() as usize];
    let owner = ((address - local_window(0)) / WINDOW) as u32;
    Err(Fault::found(Detail::ForeignLocal { kind, address, owner }, a.site, a.warp, foreign))
}

/// A worker's way into memory while it runs blocks of one launch.
pub struct Door<'l> {
    pub(crate) launch: &'l LaunchMemory<'l>,
    /// Shared and local memory of the block that runs now.
    pub block: Box<BlockMemory>,
    /// What this worker counted.
    pub counts: Counts,
    /// Allocation hit last.
    pub(crate) last: usize,
    /// Shape of the last request of each instruction to global memory: one part for each allocation that it reaches into.
    pub(crate) patterns: Vec<Vec<Pattern>>,
    /// Shape of its last request to shared memory, in one part.
    pub(crate) shared_patterns: Vec<Vec<Pattern>>,
}

impl<'l> Door<'l> {
    /// A door for one worker; it stands in an empty block until [`Door::swap_block`].
    pub fn new(launch: &'l LaunchMemory<'l>) -> Door<'l> {
        let block = Box::new(BlockMemory::empty());
        let instructions = launch.shape().instructions;
        let patterns = || (0..instructions).map(|_| Vec::new()).collect();
        let (patterns, shared_patterns) = (patterns(), patterns());
        Door { launch, block, counts: Counts::new(instructions), last: 0, patterns, shared_patterns }
    }

    /// The launch's memory.
    pub fn memory(&self) -> &'l LaunchMemory<'l> {
        self.launch
    }

    /// Continues with another block's memory and returns the present one's.
    pub fn swap_block(&mut self, block: Box<BlockMemory>) -> Box<BlockMemory> {
        std::mem::replace(&mut self.block, block)
    }

    /// Loads `a.size` bytes for each lane of the mask. Unwritten bytes are no fault here: they come back as `out.uninit`.
    ///
    /// # Errors
    /// The fault, if an address is wrong for any lane; `out` is then unspecified.
    #[inline]
    pub fn load(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        out.clean();
        if a.mask == 0 {
            return Ok(());
        }
        match a.space {
            Space::Global | Space::Const => self.load_global(a, addr, out),
            Space::Shared => self.load_shared(a, addr, out),
            Space::Local => self.load_local(a, addr, out),
            Space::Param => self.load_param(a, addr, out),
            Space::Generic => self.load_generic(a, addr, out),
        }
    }

    fn load_generic(&mut self, a: &Access, addr: &[u64; 32], out: &mut Wide) -> Result<(), Box<Fault>> {
        self.each_space(a, AccessKind::Load, addr, |door, a, addr| match a.space {
            Space::Shared => door.load_shared(a, addr, out),
            Space::Local => door.load_local(a, addr, out),
            Space::Param => door.load_param(a, addr, out),
            _ => door.load_global(a, addr, out),
        })
    }

    /// Stores the low `a.size` bytes of each lane of the mask. Of two lanes that write one byte the higher one wins.
    ///
    /// # Errors
    /// The fault, if an address is wrong for any lane; nothing was stored then.
    #[inline]
    pub fn store(&mut self, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
        if a.mask == 0 {
            return Ok(());
        }
        match a.space {
            Space::Global => self.store_global(a, addr, value),
            Space::Shared => self.store_shared(a, addr, value),
            Space::Local => self.store_local(a, addr, value),
            Space::Const | Space::Param => Err(self.read_only(a, addr)),
            Space::Generic => self.store_generic(a, addr, value),
        }
    }

    fn store_generic(&mut self, a: &Access, addr: &[u64; 32], value: &Wide) -> Result<(), Box<Fault>> {
        self.each_space(a, AccessKind::Store, addr, |door, a, addr| match a.space {
            Space::Shared => door.store_shared(a, addr, value),
            Space::Local => door.store_local(a, addr, value),
            Space::Param => Err(door.read_only(a, addr)),
            _ => door.store_global(a, addr, value),
        })
    }

    /// `atom` and `red`: each lane in turn, lowest first, replaces the value at its address by `op(old, x)` (`cas`: by `y` when it equals `x`)
    /// and `out` receives the old one. `a.size` is ignored, the type tells.
    ///
    /// # Errors
    /// The fault, if an address is wrong for any lane; nothing was changed then.
    #[allow(clippy::too_many_arguments)] // The operands of one instruction.
    pub fn atomic(
        &mut self,
        a: &Access,
        op: AtomOp,
        ty: AtomTy,
        addr: &[u64; 32],
        x: &[u64; 32],
        y: &[u64; 32],
        out: Option<&mut [u64; 32]>,
    ) -> Result<(), Box<Fault>> {
        if a.mask == 0 {
            return Ok(());
        }
        let a = &Access { size: ty.size(), ..*a };
        let mut unused = [0; 32];
        let out = out.unwrap_or(&mut unused);
        let run = |door: &mut Self, a: &Access, addr: &[u64; 32], out: &mut [u64; 32]| match a.space {
            Space::Global => door.atomic_global(a, op, ty, addr, x, y, out),
            Space::Shared => door.atomic_shared(a, op, ty, addr, x, y, out),
            Space::Local => door.atomic_local(a, op, ty, addr, x, y, out),
            _ => Err(door.read_only(a, addr)),
        };
        match a.space {
            Space::Generic => self.each_space(a, AccessKind::Atomic, addr, |door, a, addr| run(door, a, addr, out)),
            _ => run(self, a, addr, out),
        }
    }

    /// Splits a generic access by the windows its addresses lie in; `f` sees offsets for shared, local and parameter memory.
    fn each_space(
        &mut self,
        a: &Access,
        kind: AccessKind,
        addr: &[u64; 32],
        mut f: impl FnMut(&mut Self, &Access, &[u64; 32]) -> Result<(), Box<Fault>>,
    ) -> Result<(), Box<Fault>> {
        // Nearly always all lanes point to global memory.
        let windows = addr.iter().enumerate().fold(0, |m, (l, x)| m | (in_a_window(*x) as u32) << l);
        if windows & a.mask == 0 {
            return f(self, &Access { space: Space::Global, ..*a }, addr);
        }
        let mut rest = a.mask;
        while rest != 0 {
            let space = window_of(addr[rest.trailing_zeros() as usize]).0;
            let same = lanes(rest).filter(|&l| window_of(addr[l]).0 == space).fold(0, |m, l| m | 1 << l);
            let part = Access { space, mask: same, ..*a };
            match space {
                Space::Global => f(self, &part, addr)?,
                Space::Local => f(self, &part, &own_offsets(&part, kind, addr)?)?,
                _ => f(self, &part, &addr.map(|x| x % WINDOW))?,
            }
            rest &= !same;
        }
        Ok(())
    }

    /// Alignment and bounds for the spaces that are one run of `limit` bytes from offset 0.
    pub(crate) fn check_offsets(
        &self,
        a: &Access,
        kind: AccessKind,
        addr: &[u64; 32],
        limit: u64,
    ) -> Result<(), Box<Fault>> {
        let size = a.size as u64;
        let wrong = |x: u64| x & (size - 1) != 0 || x > limit || size > limit - x;
        if !lanes(a.mask).fold(false, |m, l| m | wrong(addr[l])) {
            return Ok(());
        }
        let bad = |test: &dyn Fn(u64) -> bool| lanes(a.mask).filter(|&l| test(addr[l])).fold(0u32, |m, l| m | 1 << l);
        let misaligned = bad(&|x| x % size != 0);
        let outside = bad(&|x| x > limit || size > limit - x);
        let foreign = bad(&|x| x >= PARAM_WINDOW);
        let fault = |bad: u32, make: &dyn Fn(u64) -> Detail| {
            Err(Fault::found(make(addr[bad.trailing_zeros() as usize]), a.site, a.warp, bad))
        };
        if foreign != 0 {
            return fault(foreign, &|address| Detail::WrongSpace {
                kind,
                space: a.space,
                belongs: window_of(address).0,
                address,
            });
        }
        if misaligned != 0 {
            return fault(misaligned, &|address| Detail::Misaligned { kind, space: a.space, address, bytes: a.size });
        }
        fault(outside, &|address| Detail::OutOfBounds {
            kind,
            space: a.space,
            address,
            bytes: a.size,
            limit,
            place: None,
        })
    }

    fn read_only(&self, a: &Access, addr: &[u64; 32]) -> Box<Fault> {
        let address = addr[a.mask.trailing_zeros() as usize % 32];
        let place = if a.space == Space::Param { None } else { self.launch.space().describe(address) };
        Fault::found(Detail::ReadOnly { space: a.space, address, place }, a.site, a.warp, a.mask)
    }
}

#[inline(always)]
fn in_a_window(address: u64) -> bool {
    address.wrapping_sub(PARAM_WINDOW) < SHARED_WINDOW + WINDOW - PARAM_WINDOW
}
