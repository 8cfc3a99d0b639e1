//! Counters behind the door: sectors, footprints, bank passes.

mod door;

use door::{access, by, lanes, space, with_door, with_doors};
use softcuda_engine::Checks;
use softcuda_engine::count::Traffic;
use softcuda_engine::memory::{AtomOp, AtomTy, Space, Wide};
use softcuda_engine::report::Site;

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
    let shape = LaunchShape { threads: 32, shared_bytes: 0, local_bytes: 0, instructions: 2, checks, count: false };
    let launch = LaunchMemory::new(&mut space, &[], shape);
    let mut door = Door::new(&launch);
    door.swap_block(launch.block(0));
    door.load(&access(Space::Global, 4, !0), &[base; 32], &mut Wide::new()).unwrap();
    assert_eq!(door.counts.total(), Default::default());
    assert_eq!(launch.distinct_sectors(), (0, 0));
}
