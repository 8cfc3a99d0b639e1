//! The door without an interpreter: addresses, widths, spaces, faults.

mod door;

use door::{access, lanes, space};
use softcuda_engine::Checks;
use softcuda_engine::memory::space::{Label, SHARED_WINDOW};
use softcuda_engine::memory::{AtomOp, AtomTy, Door, GlobalSpace, Space, Wide};
use softcuda_engine::report::{FaultKind, Site};

/// Runs `f` with a door that looks at everything but the order of accesses.
fn with_door<R>(space: &mut GlobalSpace, f: impl FnOnce(&mut Door) -> R) -> R {
    door::with_door(space, Checks { race: false, ..Checks::ALL }, f)
}

#[test]
fn every_width_round_trips_in_every_space() {
    let mut space = space();
    let base = space.alloc(4096).unwrap();
    for size in [1u32, 2, 4, 8, 16] {
        for (kind, start) in [
            (Space::Global, base),
            (Space::Generic, base),
            (Space::Shared, 0),
            (Space::Generic, SHARED_WINDOW),
            (Space::Local, 16),
        ] {
            let step = if kind == Space::Local { 0 } else { size as u64 };
            let addr = lanes(|l| start + l * step);
            let mut value = Wide::new();
            for (w, words) in value.words.iter_mut().enumerate() {
                words
                    .iter_mut()
                    .enumerate()
                    .for_each(|(l, x)| *x = 0x0101_0101u32.wrapping_mul(w as u32 * 32 + l as u32 + 1));
            }
            let mut back = Wide::new();
            with_door(&mut space, |door| {
                let a = access(kind, size, !0);
                door.store(&a, &addr, &value).unwrap();
                door.load(&a, &addr, &mut back).unwrap();
            });
            assert_eq!(back.tainted, 0, "{kind:?} {size}");
            for lane in 0..32 {
                let keep = |w: usize| match size {
                    1 | 2 if w == 0 => u32::MAX >> (32 - 8 * size),
                    _ if (w as u32) < size / 4 => u32::MAX,
                    _ => 0,
                };
                for w in 0..4 {
                    assert_eq!(
                        back.words[w][lane],
                        value.words[w][lane] & keep(w),
                        "{kind:?} {size} lane {lane} word {w}"
                    );
                }
            }
        }
    }
}

#[test]
fn parameters_are_read_only() {
    let mut out = Wide::new();
    with_door(&mut space(), |door| {
        let a = access(Space::Param, 4, 1);
        door.load(&a, &[4; 32], &mut out).unwrap();
        assert_eq!(out.words[0][0], 0x0807_0605);
        assert_eq!(door.load(&a, &[8; 32], &mut out).unwrap_err().kind, FaultKind::OutOfBounds);
        assert_eq!(door.store(&a, &[4; 32], &out).unwrap_err().kind, FaultKind::ReadOnly);
    });
}

#[test]
fn wrong_addresses_are_named() {
    let mut space = space();
    let live = space.alloc(100).unwrap();
    let dead = space.alloc(64).unwrap();
    space.free(dead).unwrap();
    let constant = space.alloc_labelled(16, Label::Const("table".into())).unwrap();
    assert_eq!(space.free(dead).unwrap_err().kind, FaultKind::HostAccess);
    let fault = |space: &mut GlobalSpace, kind: Space, address: u64, store: bool| {
        with_door(space, |door| {
            let a = access(kind, 4, 1 << 5);
            let addr = lanes(|l| if l == 5 { address } else { 1 });
            let mut wide = Wide::new();
            let r = if store { door.store(&a, &addr, &wide) } else { door.load(&a, &addr, &mut wide) };
            r.map_err(|f| (f.kind, f.lane, f.address))
        })
    };
    let expect = |kind, address| Err((kind, Some(5), Some(address)));
    assert_eq!(fault(&mut space, Space::Global, live + 96, false), Ok(()));
    assert_eq!(fault(&mut space, Space::Global, live + 100, false), expect(FaultKind::OutOfBounds, live + 100));
    assert_eq!(fault(&mut space, Space::Global, live - 4, true), expect(FaultKind::OutOfBounds, live - 4));
    assert_eq!(fault(&mut space, Space::Global, live + 2, false), expect(FaultKind::Misaligned, live + 2));
    assert_eq!(fault(&mut space, Space::Global, dead, false), expect(FaultKind::UseAfterFree, dead));
    assert_eq!(fault(&mut space, Space::Global, 0, false), expect(FaultKind::OutOfBounds, 0));
    assert_eq!(fault(&mut space, Space::Global, SHARED_WINDOW, false), expect(FaultKind::WrongSpace, SHARED_WINDOW));
    assert_eq!(fault(&mut space, Space::Shared, SHARED_WINDOW, true), expect(FaultKind::WrongSpace, SHARED_WINDOW));
    assert_eq!(fault(&mut space, Space::Shared, 4096, true), expect(FaultKind::OutOfBounds, 4096));
    assert_eq!(fault(&mut space, Space::Local, 64, true), expect(FaultKind::OutOfBounds, 64));
    assert_eq!(fault(&mut space, Space::Global, constant, false), Ok(()));
    assert_eq!(fault(&mut space, Space::Global, constant, true), expect(FaultKind::ReadOnly, constant));
}

#[test]
fn atomics_take_the_lanes_in_turn() {
    let mut space = space();
    let base = space.alloc(8).unwrap();
    space.fill(base, &[0], 8).unwrap();
    let mut old = [0; 32];
    with_door(&mut space, |door| {
        for (kind, address) in [(Space::Global, base), (Space::Generic, SHARED_WINDOW + 8)] {
            let a = access(kind, 0, !1);
            if kind == Space::Generic {
                door.store(&access(kind, 4, 1), &[address; 32], &Wide::new()).unwrap();
            }
            door.atomic(&a, AtomOp::Add, AtomTy::U32, &[address; 32], &lanes(|l| l), &[0; 32], Some(&mut old)).unwrap();
            assert_eq!((old[1], old[2], old[31]), (0, 1, (0..31).sum()));
        }
    });
    let mut sum = [0; 4];
    space.read(base, &mut sum).unwrap();
    assert_eq!(u32::from_le_bytes(sum), (0..32).sum());
}

#[test]
fn unwritten_bytes_come_back_marked_and_travel() {
    let mut space = space();
    let base = space.alloc(1024).unwrap();
    space.write(base, &[1; 70]).unwrap();
    let copy = space.alloc(1024).unwrap();
    space.copy(copy, base, 1024).unwrap();
    let mut out = Wide::new();
    with_door(&mut space, |door| {
        for start in [base, copy] {
            door.load(&access(Space::Global, 16, !0), &lanes(|l| start + 16 * l), &mut out).unwrap();
            assert_eq!(out.tainted, !0 << 4);
            assert_eq!((out.uninit[3], out.uninit[4], out.uninit[5]), (0, 0xffc0, 0xffff));
        }
        // Stored again, the marks go with the bytes.
        door.store(&access(Space::Shared, 16, !0), &lanes(|l| 16 * l), &out).unwrap();
        door.load(&access(Space::Shared, 2, 0b11), &lanes(|l| 68 + 2 * l), &mut out).unwrap();
        assert_eq!((out.tainted, out.uninit[1]), (0b10, 0b11));
    });
}

#[test]
fn copies_land_at_their_wait_and_not_before() {
    let mut space = space();
    let base = space.alloc(1024).unwrap();
    space.write(base, &(0..=255).cycle().take(1024).collect::<Vec<u8>>()).unwrap();
    door::with_door(&mut space, Checks { init: true, ..Checks::NONE }, |door| {
        let site = Site { pc: 2, line: 20 };
        let mut out = Wide::new();
        let (first, second) = (lanes(|l| 16 * l), lanes(|l| 512 + 16 * l));
        let short = std::array::from_fn(|l| if l == 3 { 5 } else { 16 });
        door.cp_async(site, 0, !0, 16, &first, &lanes(|l| base + 16 * l), &short).unwrap();
        door.cp_async_commit(0, !0);
        door.cp_async(site, 0, !0, 16, &second, &lanes(|l| base + 512 + 16 * l), &[16; 32]).unwrap();
        door.cp_async_commit(0, !0);
        let mut word = |door: &mut Door, addr: &[u64; 32], lane: usize| {
            door.load(&access(Space::Shared, 16, 1 << lane), addr, &mut out).unwrap();
            (out.words[0][lane], out.words[1][lane], out.tainted != 0)
        };
        let poison = (0xcdcd_cdcd, 0xcdcd_cdcd, true);
        assert_eq!((word(door, &first, 0), word(door, &second, 0)), (poison, poison));
        door.cp_async_wait(0, !0, 1).unwrap();
        assert_eq!((word(door, &first, 0), word(door, &second, 0)), ((0x0302_0100, 0x0706_0504, false), poison));
        assert_eq!(word(door, &first, 3), (0x3332_3130, 0x34, false));
        door.cp_async_wait(0, 1 << 7, 0).unwrap();
        assert_eq!(word(door, &second, 0), poison);
        assert_eq!(word(door, &second, 7), (0x7372_7170, 0x7776_7574, false));
        door.cp_async_wait_all(0, !0).unwrap();
        assert_eq!(word(door, &second, 0), (0x0302_0100, 0x0706_0504, false));
    });
}

#[test]
fn a_warp_may_reach_into_two_allocations() {
    let mut space = space();
    let (a, b) = (space.alloc(64).unwrap(), space.alloc(64).unwrap());
    space.fill(a, &[1], 64).unwrap();
    space.fill(b, &[2], 64).unwrap();
    let mut out = Wide::new();
    with_door(&mut space, |door| {
        let addr = lanes(|l| if l < 16 { a + 4 * l } else { b + 4 * (l - 16) });
        door.load(&access(Space::Global, 4, !0), &addr, &mut out).unwrap();
        assert_eq!((out.words[0][15], out.words[0][16], out.tainted), (0x0101_0101, 0x0202_0202, 0));
        door.store(&access(Space::Global, 4, !0), &addr.map(|x| x ^ 4), &out).unwrap();
        let wrong = lanes(|l| if l < 16 { a + 4 * l } else { b + 4 * (l - 15) });
        let fault = door.load(&access(Space::Global, 4, !0), &wrong, &mut out).unwrap_err();
        assert_eq!((fault.kind, fault.lane), (FaultKind::OutOfBounds, Some(31)));
    });
}

#[test]
fn generic_accesses_may_mix_windows() {
    let mut space = space();
    let base = space.alloc(128).unwrap();
    space.fill(base, &[7], 128).unwrap();
    let mut out = Wide::new();
    with_door(&mut space, |door| {
        let value = Wide { words: [[9; 32]; 4], ..Wide::new() };
        door.store(&access(Space::Shared, 4, !0), &lanes(|l| 4 * l), &value).unwrap();
        let addr = lanes(|l| if l % 2 == 0 { base + 4 * l } else { SHARED_WINDOW + 4 * l });
        door.load(&access(Space::Generic, 4, !0), &addr, &mut out).unwrap();
        assert_eq!((out.words[0][0], out.words[0][1]), (0x0707_0707, 9));
    });
}

#[test]
fn addresses_are_deterministic_aligned_apart_and_not_reused() {
    let run = || {
        let mut space = space();
        let mut seen = Vec::new();
        for i in 0..100u64 {
            let address = space.alloc(1 + 777 * i).unwrap();
            if i % 3 == 0 {
                space.free(address).unwrap();
            }
            seen.push((address, 1 + 777 * i));
        }
        seen
    };
    let seen = run();
    assert_eq!(seen, run());
    for pair in seen.windows(2) {
        assert!(pair[0].0 % 512 == 0 && pair[1].0 >= pair[0].0 + pair[0].1 + (64 << 10));
    }
}

#[test]
fn capacity_is_kept_and_given_back() {
    let mut space = GlobalSpace::new(1000);
    let a = space.alloc(600).unwrap();
    let error = space.alloc(500).unwrap_err();
    assert_eq!((error.asked, error.free), (500, 400));
    space.free(a).unwrap();
    assert_eq!(space.mem_info(), (1000, 1000));
    space.alloc(1000).unwrap();
}

#[test]
fn pinned_host_memory_lies_at_its_own_address() {
    let mut host = vec![5u8; 64];
    let pointer = std::ptr::NonNull::new(host.as_mut_ptr()).unwrap();
    let address = pointer.as_ptr() as u64;
    let mut space = space();
    // SAFETY: `host` outlives the registration and is not touched before it ends.
    assert!(unsafe { space.register_host(pointer, 64) });
    let mut out = Wide::new();
    with_door(&mut space, |door| {
        door.load(&access(Space::Global, 1, !0), &lanes(|l| address + l), &mut out).unwrap();
        assert_eq!((out.words[0][31], out.tainted), (5, 0));
        door.store(&access(Space::Global, 1, 1), &[address; 32], &Wide::new()).unwrap();
    });
    space.free(address).unwrap();
    assert_eq!(host[0], 0);
}

#[test]
fn host_copies_stay_inside_one_allocation() {
    let mut space = space();
    let a = space.alloc(64).unwrap();
    assert!(space.write(a, &[0; 64]).is_ok() && space.fill(a + 60, &[1, 2], 2).is_ok());
    for fault in [
        space.write(a + 1, &[0; 64]).unwrap_err(),
        space.read(a - 1, &mut [0; 2]).unwrap_err(),
        space.fill(a + 60, &[1, 2, 3, 4], 2).unwrap_err(),
        space.copy(a, a + 32, 33).unwrap_err(),
        space.free(a + 1).unwrap_err(),
    ] {
        assert_eq!(fault.kind, FaultKind::HostAccess);
    }
    let mut out = [0; 4];
    space.read(a + 60, &mut out).unwrap();
    assert_eq!(out, [1, 2, 1, 2]);
}

#[test]
fn an_atomic_needs_written_bytes_unless_it_only_exchanges() {
    let mut space = space();
    let base = space.alloc(64).unwrap();
    with_door(&mut space, |door| {
        for (kind, address) in [(Space::Global, base), (Space::Shared, 0)] {
            let a = access(kind, 4, 1);
            let mut run =
                |op| door.atomic(&a, op, AtomTy::U32, &[address; 32], &[1; 32], &[0; 32], None).map_err(|f| f.kind);
            assert_eq!(run(AtomOp::Add), Err(FaultKind::Uninitialised));
            assert_eq!(run(AtomOp::Exch), Ok(()));
            assert_eq!(run(AtomOp::Add), Ok(()));
        }
    });
}
