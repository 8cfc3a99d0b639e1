//! Counters behind the door: sectors, footprints, bank passes.

mod door;

use door::{access, by, lanes, space, with_door, with_doors};
use softcuda_engine::Checks;
use softcuda_engine::count::Traffic;
use softcuda_engine::memory::{AtomOp, AtomTy, Space, Wide};
use softcuda_engine::report::{FaultKind, Site};

fn lanes32(f: impl Fn(u32) -> u32) -> [u32; 32] {
    std::array::from_fn(|l| f(l as u32))
}

#[test]
fn sectors_of_loads_and_stores() {
    let mut space = space();
    let base = space.alloc(1 << 16).unwrap();
    with_doors(&mut space, Checks::NONE, |launch, a, b| {
        let mut out = Wide::new();
        // Twice the same 512 bytes, by two workers; then a column of 32 sectors; then one word for all lanes.
        a.load(&access(Space::Global, 16, !0), &lanes(|l| base + 16 * l), &mut out).unwrap();
        b.load(&access(Space::Global, 16, !0), &lanes(|l| base + 16 * l), &mut out).unwrap();
        a.load(&by(0, 2, access(Space::Global, 4, !0)), &lanes(|l| base + 1024 * l), &mut out).unwrap();
        a.load(&by(0, 3, access(Space::Global, 4, !0)), &[base + 40; 32], &mut out).unwrap();
        a.store(&by(0, 4, access(Space::Global, 2, 0xffff)), &lanes(|l| base + 2 * l), &out).unwrap();
        let mut counts = a.counts.clone();
        counts.merge(&b.counts);
        let mut other_way = b.counts.clone();
        other_way.merge(&a.counts);
        assert_eq!(counts, other_way);
        let traffic = |requests, bytes, sectors, ideal_sectors| Traffic { requests, bytes, sectors, ideal_sectors };
        assert_eq!(counts.sites[1].loads, traffic(2, 1024, 32, 32));
        assert_eq!(counts.sites[2].loads, traffic(1, 128, 32, 4));
        assert_eq!(counts.sites[3].loads, traffic(1, 128, 1, 1));
        assert_eq!(counts.sites[4].stores, traffic(1, 32, 1, 1));
        // 16 of the rows, 31 more of the column; the word lies in the rows.
        assert_eq!(launch.distinct_sectors(), (16 + 31, 1));
    });
}

/// The kept shape of an instruction's last request must not leak into the next one.
#[test]
fn shapes_are_told_apart() {
    let mut space = space();
    let base = space.alloc(1 << 16).unwrap();
    with_door(&mut space, Checks::NONE, |door| {
        let mut out = Wide::new();
        let mut last = 0;
        let mut sectors = |size: u32, mask: u32, addr: [u64; 32]| {
            door.load(&access(Space::Global, size, mask), &addr, &mut out).unwrap();
            let now = door.counts.sites[1].loads.sectors;
            std::mem::replace(&mut last, now).abs_diff(now)
        };
        for _ in 0..3 {
            assert_eq!(sectors(4, !0, lanes(|l| base + 4 * l)), 4);
            assert_eq!(sectors(4, !0, lanes(|l| base + 4 + 4 * l)), 5);
            assert_eq!(sectors(4, 0xff, lanes(|l| base + 4 * l)), 1);
            assert_eq!(sectors(4, 0xff00, lanes(|l| base + 4 * l)), 1);
            assert_eq!(sectors(2, !0, lanes(|l| base + 4 * l)), 4);
            assert_eq!(sectors(4, !0, lanes(|l| base + 64 * l)), 32);
            // Lanes outside the mask have wild addresses.
            assert_eq!(sectors(4, 1, lanes(|l| if l == 0 { base + 320 } else { l })), 1);
        }
    });
}

/// A warp that reaches into two allocations is one request, also when the two move apart; into three, all the same.
#[test]
fn a_request_in_several_allocations_is_one() {
    let mut space = space();
    let [x, zeros, third] = [1 << 12, 64, 64].map(|bytes| space.alloc(bytes).unwrap());
    let bytes: Vec<u8> = (0..1 << 12).map(|i| (i / 4 % 251) as u8).collect();
    space.write(x, &bytes).unwrap();
    space.write(zeros, &[0; 64]).unwrap();
    space.write(third, &[77; 64]).unwrap();
    let word = |at: u64| u32::from_le_bytes(bytes[at as usize..][..4].try_into().unwrap());
    with_door(&mut space, Checks::ALL, |door| {
        let mut out = Wide::new();
        let request = Traffic { requests: 1, bytes: 512, sectors: 2 + 1, ideal_sectors: 3 };
        for step in 0..4u64 {
            let before = door.counts.sites[1].loads;
            // Lanes 0..4 read 64 bytes, the others one line of zeros.
            let at = lanes(|l| if l < 4 { x + 64 * step + 16 * l } else { zeros });
            door.load(&access(Space::Global, 16, !0), &at, &mut out).unwrap();
            assert_eq!((out.words[3][3], out.words[0][31]), (word(64 * step + 60), 0), "step {step}");
            let mut expected = before;
            expected += request;
            assert_eq!(door.counts.sites[1].loads, expected, "step {step}");
        }
        let at = lanes(|l| [x + 4 * l, zeros, third + 32][l as usize % 3]);
        door.load(&by(0, 2, access(Space::Global, 4, !0)), &at, &mut out).unwrap();
        assert_eq!([0, 1, 2].map(|l| out.words[0][l]), [word(0), 0, 0x4d4d_4d4d]);
        let loads = door.counts.sites[2].loads;
        assert_eq!((loads.requests, loads.sectors, loads.ideal_sectors), (1, 4 + 1 + 1, 2));
        // Stores into two, then one lane beyond the end of the second: nothing of it is stored.
        let at = lanes(|l| if l < 16 { x + 4 * l } else { third + 4 * (l - 16) });
        let ones = Wide { words: [[1; 32]; 4], ..Wide::new() };
        door.store(&by(0, 3, access(Space::Global, 4, !0)), &at, &ones).unwrap();
        let wrong = lanes(|l| if l < 16 { x + 4 * l } else { third + 4 * (l - 15) });
        let twos = Wide { words: [[2; 32]; 4], ..Wide::new() };
        let fault = door.store(&by(0, 3, access(Space::Global, 4, !0)), &wrong, &twos).unwrap_err();
        assert_eq!((fault.kind, fault.lane), (FaultKind::OutOfBounds, Some(31)));
        door.load(&by(0, 4, access(Space::Global, 4, !0)), &at, &mut out).unwrap();
        assert_eq!(out.words[0], [1; 32]);
    });
}

/// Lanes side by side are read and written as a whole, in every width, as lanes apart are.
#[test]
fn lines_of_shared_memory() {
    for checks in [Checks::NONE, Checks::ALL] {
        with_door(&mut space(), checks, |door| {
            let value = Wide { words: std::array::from_fn(|k| lanes32(|l| 1000 * k as u32 + l)), ..Wide::new() };
            for size in [1, 2, 4, 8, 16u64] {
                // Each width has its own place, so that nobody races.
                let at = lanes(|l| 32 * size + size * l);
                let [line, apart] = [2 * size as u32, 2 * size as u32 + 1];
                let mut out = [Wide::new(), Wide::new()];
                door.store(&by(0, line, access(Space::Shared, size as u32, !0)), &at, &value).unwrap();
                door.load(&by(0, line, access(Space::Shared, size as u32, !0)), &at, &mut out[0]).unwrap();
                for mask in [0xffff, 0xffff_0000] {
                    door.load(&by(0, apart, access(Space::Shared, size as u32, mask)), &at, &mut out[1]).unwrap();
                    for lane in (0..32).filter(|l| mask >> l & 1 != 0) {
                        let words = size.div_ceil(4) as usize;
                        let keep = if size < 4 { (1 << (8 * size)) - 1 } else { u32::MAX };
                        let expected: Vec<u32> = (0..words).map(|k| value.words[k][lane] & keep).collect();
                        let got = out.each_ref().map(|o| (0..words).map(|k| o.words[k][lane]).collect::<Vec<_>>());
                        assert_eq!(got, [expected.clone(), expected], "{size} bytes, lane {lane}");
                    }
                }
            }
        });
    }
}

#[test]
fn bank_passes_of_shared_requests() {
    with_door(&mut space(), Checks::NONE, |door| {
        let mut out = Wide::new();
        door.store(&access(Space::Shared, 4, !0), &lanes(|l| 4 * l), &out).unwrap();
        door.store(&access(Space::Shared, 4, !0), &lanes(|l| 128 * l), &out).unwrap();
        door.load(&by(0, 2, access(Space::Shared, 16, !0)), &lanes(|l| 16 * l + 256), &mut out).unwrap();
        let [a, b] = [&door.counts.sites[1], &door.counts.sites[2]];
        assert_eq!((a.shared_requests, a.wavefronts, a.ideal_wavefronts), (2, 33, 2));
        assert_eq!((b.shared_requests, b.wavefronts, b.ideal_wavefronts), (1, 4, 4));
    });
}

#[test]
fn atomics_and_copies() {
    let mut space = space();
    let base = space.alloc(1024).unwrap();
    with_door(&mut space, Checks::NONE, |door| {
        let a = access(Space::Global, 4, 0xf);
        door.atomic(&a, AtomOp::Add, AtomTy::U32, &[base; 32], &[1; 32], &[0; 32], None).unwrap();
        let site = Site { pc: 2, line: 20 };
        door.cp_async(site, 0, !0, 16, &lanes(|l| 16 * l), &lanes(|l| base + 16 * l), &[16; 32]).unwrap();
        door.cp_async_wait_all(0, !0).unwrap();
        let [atomic, copy] = [&door.counts.sites[1], &door.counts.sites[2]];
        assert_eq!((atomic.atomics, atomic.stores.sectors), (4, 1));
        assert_eq!((copy.async_bytes, copy.loads.sectors, copy.wavefronts, copy.shared_requests), (512, 16, 4, 1));
    });
}

#[test]
fn nothing_is_counted_when_nobody_asked() {
    let mut space = space();
    let base = space.alloc(1024).unwrap();
    use softcuda_engine::memory::{Door, LaunchMemory, LaunchShape};
    let checks = Checks::NONE;
    let shape = LaunchShape {
        threads: 32,
        shared_bytes: 0,
        local_bytes: 0,
        padding: Vec::new(),
        instructions: 2,
        checks,
        count: false,
        late_stores: false,
    };
    let launch = LaunchMemory::new(&mut space, &[], shape);
    let mut door = Door::new(&launch);
    door.swap_block(launch.block(0));
    door.load(&access(Space::Global, 4, !0), &[base; 32], &mut Wide::new()).unwrap();
    assert_eq!(door.counts.total(), Default::default());
    assert_eq!(launch.distinct_sectors(), (0, 0));
}
