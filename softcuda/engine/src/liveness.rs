//! Which registers may share a slot. PTX names a fresh register for nearly every value, up to tens of thousands; a warp holds 128 bytes of each.
//!
//! Liveness by basic blocks (backward data flow), then for each register the span of places from its first to its last live one, then slots
//! by linear scan (Poletto and Sarkar, "Linear Scan Register Allocation", 1999). Lanes that have gone different ways do not disturb each
//! other: a slot is a column a lane, and a lane's own path obeys the spans.

use std::collections::BTreeMap;

/// What an instruction does with the registers of one file, by number.
#[derive(Clone, Debug, Default)]
pub struct Touch {
    /// Read.
    pub reads: Vec<u32>,
    /// Written; a guarded write is also in `reads`, because the old value may stay.
    pub writes: Vec<u32>,
    /// Places it may go to besides the next.
    pub targets: Vec<u32>,
    /// Whether it may go to the next place.
    pub falls: bool,
}

/// Where registers live.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// By register; 0 for one that is never touched.
    pub given: Vec<u32>,
    /// Slots in all.
    pub count: u32,
    /// Registers that some path reads before it writes them.
    pub early: Vec<u32>,
}

/// Gives each of `count` registers a slot.
pub fn allocate(code: &[Touch], count: usize) -> Slots {
    if count == 0 {
        return Slots::default();
    }
    let blocks = blocks(code);
    let crossing = crossing(code, &blocks, count);
    if blocks.len() as u64 * crossing.len() as u64 > BITS {
        return Slots { given: (0..count as u32).collect(), count: count as u32, early: Vec::new() };
    }
    let live = live_in(code, &blocks, &crossing, count);
    let spans = spans(code, &blocks, &crossing, &live, count);
    let mut by_start: Vec<u32> = (0..count as u32).filter(|&r| spans[r as usize].is_some()).collect();
    by_start.sort_by_key(|&r| spans[r as usize].map(|s| s.0));
    let mut slots = vec![0; count];
    let mut free: Vec<u32> = Vec::new();
    // End of span to the slots that it frees.
    let mut active: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut next = 0;
    for r in by_start {
        let (start, end) = spans[r as usize].expect("filtered");
        while let Some(entry) = active.first_entry().filter(|e| *e.key() < start) {
            free.extend(entry.remove());
        }
        let slot = free.pop().unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        slots[r as usize] = slot;
        active.entry(end).or_default().push(slot);
    }
    Slots { given: slots, count: next, early: live[0].ones().map(|n| crossing[n as usize]).collect() }
}

/// Bits of one set for every block. Beyond it no kernel of a compiler goes; each register then has a slot to itself, and none counts as early.
const BITS: u64 = 1 << 32;

/// First and last place at which each register is live or touched.
fn spans(code: &[Touch], blocks: &[Block], crossing: &[u32], live: &[Set], count: usize) -> Vec<Option<(u32, u32)>> {
    let mut spans: Vec<Option<(u32, u32)>> = vec![None; count];
    let mut widen = |r: u32, at: u32| {
        let s = spans[r as usize].get_or_insert((at, at));
        *s = (s.0.min(at), s.1.max(at));
    };
    for (at, t) in code.iter().enumerate() {
        t.reads.iter().chain(&t.writes).for_each(|&r| widen(r, at as u32));
    }
    for (b, block) in blocks.iter().enumerate() {
        for n in live[b].ones() {
            widen(crossing[n as usize], block.start);
        }
        for &next in &block.next {
            for n in live[next].ones() {
                widen(crossing[n as usize], block.end - 1);
            }
        }
    }
    spans
}

/// The registers that some block reads before it writes them: no other is live at a border of blocks.
fn crossing(code: &[Touch], blocks: &[Block], count: usize) -> Vec<u32> {
    let mut written = vec![u32::MAX; count];
    let mut found = vec![false; count];
    for (b, block) in blocks.iter().enumerate() {
        for t in &code[block.start as usize..block.end as usize] {
            for &r in t.reads.iter().filter(|&&r| written[r as usize] != b as u32) {
                found[r as usize] = true;
            }
            t.writes.iter().for_each(|&r| written[r as usize] = b as u32);
        }
    }
    (0..count as u32).filter(|&r| found[r as usize]).collect()
}

struct Block {
    start: u32,
    end: u32,
    next: Vec<usize>,
}

fn blocks(code: &[Touch]) -> Vec<Block> {
    let n = code.len() as u32;
    let mut leader = vec![false; code.len() + 1];
    leader[0] = true;
    for (at, t) in code.iter().enumerate() {
        if !t.targets.is_empty() || !t.falls {
            leader[at + 1] = true;
            t.targets.iter().for_each(|&to| leader[to as usize] = true);
        }
    }
    let starts: Vec<u32> = (0..n).filter(|&at| leader[at as usize]).collect();
    let find = |at: u32| starts.binary_search(&at).ok();
    let block = |(k, &start): (usize, &u32)| {
        let end = starts.get(k + 1).copied().unwrap_or(n);
        let last = &code[end as usize - 1];
        let mut next: Vec<usize> = last.targets.iter().filter_map(|&to| find(to)).collect();
        if last.falls {
            next.extend(find(end));
        }
        Block { start, end, next }
    };
    starts.iter().enumerate().map(block).collect()
}

/// A set of registers.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn new(count: usize) -> Set {
        Set(vec![0; count.div_ceil(64)])
    }

    fn insert(&mut self, r: u32) {
        self.0[r as usize / 64] |= 1 << (r % 64);
    }

    fn remove(&mut self, r: u32) {
        self.0[r as usize / 64] &= !(1 << (r % 64));
    }

    fn ones(&self) -> impl Iterator<Item = u32> {
        let word =
            |(w, &bits): (usize, &u64)| (0..64).filter(move |b| bits >> b & 1 != 0).map(move |b| w as u32 * 64 + b);
        self.0.iter().enumerate().filter(|w| *w.1 != 0).flat_map(word)
    }
}

/// Registers live at the start of each block, by their place in `crossing`.
fn live_in(code: &[Touch], blocks: &[Block], crossing: &[u32], count: usize) -> Vec<Set> {
    let mut number = vec![u32::MAX; count];
    crossing.iter().enumerate().for_each(|(n, &r)| number[r as usize] = n as u32);
    let known = |r: &u32| Some(number[*r as usize]).filter(|&n| n != u32::MAX);
    let mut writes = Vec::with_capacity(blocks.len());
    let mut live = Vec::with_capacity(blocks.len());
    let mut before = vec![Vec::new(); blocks.len()];
    for (b, block) in blocks.iter().enumerate() {
        let (mut read, mut written) = (Set::new(crossing.len()), Set::new(crossing.len()));
        for t in code[block.start as usize..block.end as usize].iter().rev() {
            for n in t.writes.iter().filter_map(known) {
                written.insert(n);
                read.remove(n);
            }
            for n in t.reads.iter().filter_map(known) {
                read.insert(n);
                written.remove(n);
            }
        }
        writes.push(written);
        live.push(read);
        block.next.iter().for_each(|&next| before[next].push(b));
    }
    // A block is looked at again when what is live behind it has grown.
    let mut waiting: Vec<usize> = (0..blocks.len()).collect();
    let mut waits = vec![true; blocks.len()];
    while let Some(b) = waiting.pop() {
        waits[b] = false;
        let mut grown = false;
        for &next in &blocks[b].next {
            for w in 0..live[b].0.len() {
                let more = live[next].0[w] & !writes[b].0[w] & !live[b].0[w];
                live[b].0[w] |= more;
                grown |= more != 0;
            }
        }
        for &earlier in before[b].iter().filter(|_| grown) {
            if !std::mem::replace(&mut waits[earlier], true) {
                waiting.push(earlier);
            }
        }
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(reads: &[u32], writes: &[u32], targets: &[u32], falls: bool) -> Touch {
        Touch { reads: reads.to_vec(), writes: writes.to_vec(), targets: targets.to_vec(), falls }
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let code: Vec<Touch> = (0..100)
            .map(|r| at(if r == 0 { &[] } else { &PREVIOUS[r - 1..r] }, &PREVIOUS[r..r + 1], &[], r < 99))
            .collect();
        let slots = allocate(&code, 100);
        assert_eq!((slots.count, slots.early), (2, vec![]));
    }

    static PREVIOUS: [u32; 100] = {
        let mut a = [0; 100];
        let mut i = 0;
        while i < 100 {
            a[i] = i as u32;
            i += 1;
        }
        a
    };

    #[test]
    fn a_value_carried_round_a_loop_keeps_its_slot() {
        // 0: r1 =          before the loop
        // 1: if r1 goto 3
        // 2: r0 =          set in some rounds only
        // 3: use r0, r2 =
        // 4: use r2; goto 1
        let code = [
            at(&[], &[1], &[], true),
            at(&[1], &[], &[3], true),
            at(&[], &[0], &[], true),
            at(&[0], &[2], &[], true),
            at(&[2], &[], &[1], false),
        ];
        let slots = allocate(&code, 3);
        assert_eq!(slots.count, 3, "{slots:?}: r0 and r1 live through the whole loop");
        assert_eq!(slots.early, [0], "the first round may skip the only write");
    }
}
