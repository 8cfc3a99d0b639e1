//! The door against a model that is obviously right: a vector of bytes, each written or not, and sets of sectors and words.

mod door;

use door::{access, lanes, space, with_door};
use proptest::prelude::*;
use softcuda_engine::Checks;
use softcuda_engine::memory::{Space, Wide};
use std::collections::HashSet;

const BYTES: u64 = 2048;

/// One request: store or load, shared or global, width, mask, and how the addresses of the lanes lie.
#[derive(Clone, Debug)]
struct Request {
    store: bool,
    shared: bool,
    size: u32,
    mask: u32,
    start: u64,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Stride(u64),
    Scattered(Box<[u64; 32]>),
}

impl Request {
    /// Offset of each lane, a multiple of the width and inside the buffer.
    fn offsets(&self) -> [u64; 32] {
        let slots = BYTES / self.size as u64;
        lanes(|l| match &self.shape {
            Shape::Stride(s) => (self.start + s * l) % slots,
            Shape::Scattered(x) => x[l as usize] % slots,
        })
        .map(|slot| slot * self.size as u64)
    }
}

fn request() -> impl Strategy<Value = Request> {
    let mask = prop_oneof![3 => Just(!0u32), 1 => any::<u32>()];
    let shape = prop_oneof![
        3 => prop_oneof![Just(1u64), Just(0), 0..70u64].prop_map(Shape::Stride),
        1 => prop::array::uniform32(any::<u64>()).prop_map(|x| Shape::Scattered(Box::new(x))),
    ];
    let size = prop::sample::select(vec![1u32, 2, 4, 8, 16]);
    (any::<bool>(), any::<bool>(), size, mask, 0..BYTES, shape)
        .prop_map(|(store, shared, size, mask, start, shape)| Request { store, shared, size, mask, start, shape })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_door_agrees_with_a_vector_of_bytes(requests in prop::collection::vec(request(), 1..60), seed in any::<u32>()) {
        let mut space = space();
        let base = space.alloc(BYTES).unwrap();
        let checks = Checks { init: true, memory: true, ..Checks::NONE };
        let mut model = [vec![None; BYTES as usize], vec![None; BYTES as usize]];
        let mut touched = [HashSet::new(), HashSet::new()];
        let mut next = seed;
        let mut wide = Wide::new();
        door::with_doors(&mut space, checks, |launch, door, _| {
            for r in &requests {
                let offsets = r.offsets();
                let addr = if r.shared { offsets } else { offsets.map(|o| base + o) };
                let a = access(if r.shared { Space::Shared } else { Space::Global }, r.size, r.mask);
                let before = door.counts.sites[1];
                let bytes = &mut model[usize::from(r.shared)];
                let active = || (0..32usize).filter(|l| r.mask >> l & 1 != 0);
                if r.store {
                    for word in wide.words.iter_mut().flatten() {
                        next = next.wrapping_mul(1664525).wrapping_add(1013904223);
                        *word = next;
                    }
                    wide.uninit = lanes(|l| u64::from(next >> (l % 20) & 1) * (next as u64 >> (l % 13))).map(|x| x as u16);
                    wide.tainted = (0..32).filter(|l| wide.uninit[*l as usize] != 0).fold(0, |m, l| m | 1 << l);
                    door.store(&a, &addr, &wide).unwrap();
                    for l in active() {
                        for b in 0..r.size as usize {
                            let value = (wide.words[b / 4][l] >> (8 * (b % 4))) as u8;
                            bytes[offsets[l] as usize + b] = (wide.uninit[l] >> b & 1 == 0).then_some(value);
                        }
                    }
                } else {
                    door.load(&a, &addr, &mut wide).unwrap();
                    for l in active() {
                        for b in 0..r.size as usize {
                            let missing = wide.tainted >> l & 1 != 0 && wide.uninit[l] >> b & 1 != 0;
                            let value = (wide.words[b / 4][l] >> (8 * (b % 4))) as u8;
                            let want = bytes[offsets[l] as usize + b];
                            prop_assert_eq!((!missing).then_some(value), want, "{:?} lane {} byte {}", r, l, b);
                        }
                    }
                }
                if !r.shared {
                    let sectors: HashSet<u64> = active().map(|l| offsets[l] / 32).collect();
                    let distinct: HashSet<u64> = active().flat_map(|l| offsets[l]..offsets[l] + r.size as u64).collect();
                    let site = door.counts.sites[1];
                    let (now, then) = if r.store { (site.stores, before.stores) } else { (site.loads, before.loads) };
                    prop_assert_eq!(now.sectors - then.sectors, sectors.len() as u64, "{:?}", r);
                    prop_assert_eq!(now.ideal_sectors - then.ideal_sectors, distinct.len().div_ceil(32) as u64);
                    touched[usize::from(r.store)].extend(sectors);
                    let sets = (touched[0].len() as u64, touched[1].len() as u64);
                    prop_assert_eq!(launch.distinct_sectors(), sets);
                } else {
                    let each = 32 / (r.size as usize / 4).max(1);
                    let passes: u64 = (0..32 / each).map(|piece| {
                        let lanes = active().filter(|l| l / each == piece);
                        let size = r.size as u64;
                        let words: HashSet<u64> = lanes.flat_map(|l| offsets[l] / 4..(offsets[l] + size).div_ceil(4)).collect();
                        (0..32).map(|bank| words.iter().filter(|w| *w % 32 == bank).count() as u64).max().unwrap()
                    }).sum();
                    prop_assert_eq!(door.counts.sites[1].wavefronts - before.wavefronts, passes, "{:?}", r);
                }
            }
            Ok(())
        })?;
    }
}

/// Every aligned request inside one of two neighbouring buffers works, every other one is a fault, whatever the shape.
#[test]
fn bounds_hold_at_every_edge() {
    let mut space = space();
    let base = space.alloc(96).unwrap();
    let mut out = Wide::new();
    with_door(&mut space, Checks::NONE, |door| {
        for size in [1u32, 2, 4, 8, 16] {
            for start in -40i64..140 {
                for stride in [0i64, size as i64, -(size as i64)] {
                    let addr = lanes(|l| (base as i64 + start + stride * (l as i64 % 3)) as u64);
                    let fine = (0..3)
                        .map(|l| start + stride * l)
                        .all(|o| o >= 0 && o + size as i64 <= 96 && o % size as i64 == 0);
                    let loaded = door.load(&access(Space::Global, size, !0), &addr, &mut out).is_ok();
                    assert_eq!(loaded, fine, "{size} bytes at {start}, stride {stride}");
                }
            }
        }
    });
}
