//! Which bits of the registers were never written, and where the unwritten ones came from.
//!
//! One dirty bit per lane and register; bits and sources are looked at only where the dirty bit is set. Nearly always no bit of any
//! register is unwritten, which is known without looking. Empty when the check is off.

use super::regs::File;

/// Where unwritten bits came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The load that brought them, or [`Source::REGISTER`].
    pub pc: u32,
    /// Lane that loaded them.
    pub lane: u8,
    /// A value was computed from them; before, they were only moved.
    pub computed: bool,
    /// Address that was read.
    pub address: u64,
}

impl Source {
    /// In place of a load: no instruction ever wrote the register.
    pub const REGISTER: u32 = u32::MAX;
    /// A register that no instruction wrote.
    pub const UNSET: Source = Source { pc: Source::REGISTER, lane: 0, computed: false, address: 0 };

    /// As two words.
    pub fn words(self) -> [u64; 2] {
        [self.address, u64::from(self.pc) << 32 | u64::from(self.lane) << 1 | u64::from(self.computed)]
    }

    /// The inverse of [`Source::words`], last word first.
    pub fn from_reversed([rest, address]: [u64; 2]) -> Source {
        Source { pc: (rest >> 32) as u32, lane: (rest >> 1) as u8, computed: rest & 1 != 0, address }
    }
}

/// The shadow of a warp's registers.
#[derive(Default)]
pub struct Shadow {
    /// Lanes of each 32-bit register with an unwritten bit.
    pub dirty32: Vec<u32>,
    /// Of each 64-bit register.
    pub dirty64: Vec<u32>,
    /// Of each predicate.
    pub dirty_pred: Vec<u32>,
    bits32: Vec<[u32; 32]>,
    bits64: Vec<[u64; 32]>,
    /// By file; as long as the highest register that ever was dirty.
    sources: [Vec<[Source; 32]>; 3],
    /// Some register may have an unwritten bit.
    any: bool,
}

impl Shadow {
    /// A clean shadow.
    pub fn new(r32: usize, r64: usize, pred: usize) -> Shadow {
        Shadow {
            dirty32: vec![0; r32],
            dirty64: vec![0; r64],
            dirty_pred: vec![0; pred],
            bits32: vec![[0; 32]; r32],
            bits64: vec![[0; 32]; r64],
            sources: Default::default(),
            any: false,
        }
    }

    /// Whether any register may have an unwritten bit.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.any
    }

    /// Looks whether everything is written again.
    pub fn refresh(&mut self) {
        self.any =
            self.any && [&self.dirty32, &self.dirty64, &self.dirty_pred].iter().any(|d| d.iter().any(|x| *x != 0));
    }

    /// Everything written.
    pub fn clear(&mut self) {
        if !std::mem::take(&mut self.any) {
            return;
        }
        self.dirty32.fill(0);
        self.dirty64.fill(0);
        self.dirty_pred.fill(0);
    }

    /// Lanes with an unwritten bit.
    #[inline(always)]
    pub fn dirty(&self, file: File, slot: u32) -> u32 {
        match file {
            File::R32 => self.dirty32[slot as usize],
            File::R64 => self.dirty64[slot as usize],
            File::Pred => self.dirty_pred[slot as usize],
        }
    }

    /// The unwritten bits of a lane.
    pub fn bits(&self, file: File, slot: u32, lane: usize) -> u64 {
        if self.dirty(file, slot) >> lane & 1 == 0 {
            return 0;
        }
        match file {
            File::R32 => u64::from(self.bits32[slot as usize][lane]),
            File::R64 => self.bits64[slot as usize][lane],
            File::Pred => 1,
        }
    }

    /// Where the unwritten bits of a lane came from, if it has any.
    pub fn source(&self, file: File, slot: u32, lane: usize) -> Option<Source> {
        let dirty = self.dirty(file, slot) >> lane & 1 != 0;
        dirty.then(|| self.sources[file as usize][slot as usize][lane])
    }

    /// Sets the unwritten bits of a lane, and where they came from.
    pub fn set(&mut self, file: File, slot: u32, lane: usize, bits: u64, source: Source) {
        self.any |= bits != 0;
        let (dirty, lane_bit) = match file {
            File::R32 => {
                self.bits32[slot as usize][lane] = bits as u32;
                (&mut self.dirty32[slot as usize], u32::from(bits as u32 != 0))
            }
            File::R64 => {
                self.bits64[slot as usize][lane] = bits;
                (&mut self.dirty64[slot as usize], u32::from(bits != 0))
            }
            File::Pred => (&mut self.dirty_pred[slot as usize], u32::from(bits != 0)),
        };
        *dirty = *dirty & !(1 << lane) | lane_bit << lane;
        if lane_bit != 0 {
            let sources = &mut self.sources[file as usize];
            if sources.len() <= slot as usize {
                sources.resize(slot as usize + 1, [Source::UNSET; 32]);
            }
            sources[slot as usize][lane] = source;
        }
    }

    /// No lane of the register was ever written.
    pub fn unset(&mut self, file: File, slot: u32) {
        (0..32).for_each(|lane| self.set(file, slot, lane, u64::MAX, Source::UNSET));
    }

    /// The lanes of a mask are written.
    #[inline(always)]
    pub fn clean(&mut self, file: File, slot: u32, mask: u32) {
        let dirty = match file {
            File::R32 => &mut self.dirty32[slot as usize],
            File::R64 => &mut self.dirty64[slot as usize],
            File::Pred => &mut self.dirty_pred[slot as usize],
        };
        *dirty &= !mask;
    }
}
