//! The race detectors behind the door: who is ordered with whom.

mod door;

use door::{access, by, lanes, ordered, space, with_door, with_doors};
use softcuda_engine::Checks;
use softcuda_engine::memory::{AtomOp, AtomTy, Door, Order, Scope, Space, Wide};
use softcuda_engine::report::{AccessKind, Detail, FaultKind, Report, Site};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A value that differs by lane and seed.
fn value(seed: u32) -> Wide {
    Wide { words: std::array::from_fn(|w| std::array::from_fn(|l| seed + 100 * w as u32 + l as u32)), ..Wide::new() }
}

#[test]
fn both_parties_of_a_shared_race_are_named() {
    with_door(&mut space(), Checks::ALL, |door| {
        let mut out = Wide::new();
        let tile = lanes(|l| 4 * l);
        door.store(&by(1, 2, access(Space::Shared, 4, !0)), &tile, &value(1)).unwrap();
        let fault = door.load(&by(0, 3, access(Space::Shared, 4, !0)), &tile, &mut out).unwrap_err();
        let Some(Detail::SharedRace { first, second, address, bytes, .. }) = fault.detail.as_deref() else {
            panic!("{fault:?}")
        };
        assert_eq!((first.thread, first.site.line, first.kind), (32, 20, AccessKind::Store));
        assert_eq!((second.thread, second.site.line, second.kind), (0, 30, AccessKind::Load));
        assert_eq!((*address, *bytes), (0, 4));
        let report = Report {
            fault: *fault,
            kernel: "k".into(),
            block: [3, 0, 0],
            block_dim: [128, 1, 1],
            text: "ld.shared.u32 %r77, [%r12];".into(),
            other_text: Some("st.shared.u32 [%r12], %r70;".into()),
            source: None,
            other_source: None,
            seed: 17,
        };
        assert_eq!(
            report.to_string(),
            "\
softcuda: kernel fault: race on shared memory between (1) st.shared.u32 by thread 32 and (2) ld.shared.u32 by thread 0, bytes 0x0..0x4
  --> k, block (3,0,0), warp 0, line 30:   ld.shared.u32 %r77, [%r12];   (2) just happened
      line 20:   st.shared.u32 [%r12], %r70;   (1) happened earlier, not ordered before (2)
  = allocation: shared memory, 4096 bytes
  = rule: different warps, no barrier orders the two accesses (PTX ISA, Memory Consistency Model)
  = again: SOFTCUDA_SEED=17
  = this is a fault of the kernel"
        );
    });
}

#[test]
fn lanes_of_one_store_race_unless_they_agree() {
    with_door(&mut space(), Checks::ALL, |door| {
        let same = Wide { words: [[5; 32]; 4], ..Wide::new() };
        door.store(&access(Space::Shared, 4, !0), &[64; 32], &same).unwrap();
        let fault = door.store(&access(Space::Shared, 4, !0), &[128; 32], &value(1)).unwrap_err();
        assert_eq!((fault.kind, fault.lane), (FaultKind::Race, Some(1)));
    });
}

#[test]
fn a_renewed_block_has_no_past() {
    with_doors(&mut space(), Checks::ALL, |launch, door, _| {
        let tile = lanes(|l| 16 * l);
        let mut out = Wide::new();
        door.store(&access(Space::Shared, 16, !0), &tile, &value(1)).unwrap();
        let used = door.swap_block(launch.block(7));
        let fresh = launch.renew(used, 2);
        door.swap_block(fresh);
        door.load(&by(1, 3, access(Space::Shared, 16, !0)), &tile, &mut out).unwrap();
        assert_eq!((out.tainted, out.words[0][0]), (!0, 0xcdcd_cdcd));
        assert_eq!(door.block.number, 2);
    });
}

fn copy(door: &mut Door, warp: u32, source: u64) -> Result<(), FaultKind> {
    let site = Site { pc: 5, line: 50 };
    door.cp_async(site, warp, !0, 16, &lanes(|l| 16 * l), &lanes(|l| source + 16 * l), &[16; 32]).map_err(|f| f.kind)
}

#[test]
fn a_copy_in_flight_belongs_to_nobody() {
    let mut space = space();
    let source = space.alloc(512).unwrap();
    space.fill(source, &[3], 512).unwrap();
    with_door(&mut space, Checks::ALL, |door| {
        let mut out = Wide::new();
        copy(door, 0, source).unwrap();
        for warp in [0, 1] {
            let fault = door.load(&by(warp, 6, access(Space::Shared, 4, 1 << 9)), &[148; 32], &mut out).unwrap_err();
            let Some(Detail::AsyncPending { copy, access, .. }) = fault.detail.as_deref() else { panic!("{fault:?}") };
            assert_eq!((copy.thread, copy.site.line, access.thread), (9, 50, 32 * warp + 9));
        }
        assert_eq!(copy(door, 1, source), Err(FaultKind::AsyncPending), "a second copy to the same place");
        door.cp_async_wait_all(0, !0).unwrap();
        door.load(&by(0, 6, access(Space::Shared, 16, !0)), &lanes(|l| 16 * l), &mut out).unwrap();
        let fault = door.load(&by(1, 6, access(Space::Shared, 4, 1)), &[0; 32], &mut out).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Race, "landed, but no barrier since");
        door.barrier_passed(0, 0b1111);
        door.load(&by(1, 6, access(Space::Shared, 16, !0)), &lanes(|l| 16 * l), &mut out).unwrap();
        assert_eq!((out.words[3][31], out.tainted), (0x0303_0303, 0));
        assert_eq!(copy(door, 0, source), Err(FaultKind::Race), "warp 1 may still be reading");
    });
}

#[test]
fn blocks_race_on_global_bytes() {
    let mut space = space();
    let base = space.alloc(4096).unwrap();
    with_doors(&mut space, Checks::ALL, |_, a, b| {
        let (mut out, at) = (Wide::new(), |k: u64| lanes(move |l| base + k + 16 * l));
        let plain = access(Space::Global, 16, !0);
        a.store(&plain, &at(0), &value(1)).unwrap();
        b.store(&by(0, 2, plain), &at(512), &value(1)).unwrap();
        b.store(&by(0, 2, plain), &at(0), &value(1)).unwrap();
        a.store(&plain, &at(0), &value(1)).unwrap();
        let fault = b.store(&by(0, 2, plain), &at(0), &value(2)).unwrap_err();
        let Some(Detail::GlobalRace { first, second, address, .. }) = fault.detail.as_deref() else {
            panic!("{fault:?}")
        };
        assert_eq!((first.block, second.block, first.site.line, second.site.line), (0, 1, 10, 20));
        assert_eq!((*address, fault.kind), (base, FaultKind::Race));
        assert_eq!(a.load(&plain, &at(512), &mut out).unwrap_err().kind, FaultKind::Race);
    });
}

#[test]
fn a_fence_and_a_counter_order_blocks() {
    let mut space = space();
    let base = space.alloc(4096).unwrap();
    space.fill(base, &[0], 4096).unwrap();
    for fenced in [false, true] {
        with_doors(&mut space, Checks::ALL, |_, a, b| {
            let (mut out, at) = (Wide::new(), lanes(|l| base + 4 * l));
            let count = |door: &mut Door| {
                let counter = access(Space::Global, 4, 1);
                door.atomic(&counter, AtomOp::Add, AtomTy::U32, &[base + 1024; 32], &[1; 32], &[0; 32], None).unwrap();
            };
            a.store(&access(Space::Global, 4, !0), &at, &value(1 + fenced as u32)).unwrap();
            if fenced {
                a.fence(0, !0, Scope::Gpu);
            }
            count(a);
            count(b);
            let result = b.load(&access(Space::Global, 4, !0), &at, &mut out).map_err(|f| f.kind);
            assert_eq!(result, if fenced { Ok(()) } else { Err(FaultKind::Race) });
            // The last block may reset the counter.
            b.store(&access(Space::Global, 4, 1), &[base + 1024; 32], &Wide::new()).unwrap();
        });
    }
}

#[test]
fn release_and_acquire_order_blocks() {
    let mut space = space();
    let base = space.alloc(4096).unwrap();
    with_doors(&mut space, Checks::ALL, |_, a, b| {
        let (mut out, data, flag) = (Wide::new(), lanes(|l| base + 4 * l), [base + 1024; 32]);
        a.store(&access(Space::Global, 4, !0), &data, &value(1)).unwrap();
        a.store(&ordered(Order::Release, access(Space::Global, 4, 1)), &flag, &value(1)).unwrap();
        assert!(b.load(&access(Space::Global, 4, !0), &data, &mut out).is_err());
        b.load(&ordered(Order::Acquire, access(Space::Global, 4, 1)), &flag, &mut out).unwrap();
        b.load(&access(Space::Global, 4, !0), &data, &mut out).unwrap();
    });
}

/// Two workers write the same words at the same moment, fresh ones each round; the rounds in which either was stopped.
fn rounds_of_two_workers(values: [&Wide; 2]) -> [Vec<u64>; 2] {
    const ROUNDS: u64 = 20_000;
    let mut space = space();
    let base = space.alloc(ROUNDS * 512).unwrap();
    let at: [AtomicU64; 2] = Default::default();
    with_doors(&mut space, Checks::ALL, |_, a, b| {
        let run = |me: usize, door: &mut Door| {
            let mut stopped = Vec::new();
            for round in 0..ROUNDS {
                at[me].store(round, SeqCst);
                while at[1 - me].load(SeqCst) < round {
                    std::thread::yield_now();
                }
                let address = lanes(|l| base + 512 * round + 16 * l);
                if let Err(fault) = door.store(&access(Space::Global, 16, !0), &address, values[me]) {
                    assert_eq!(fault.kind, FaultKind::Race);
                    stopped.push(round);
                }
            }
            at[me].store(u64::MAX, SeqCst);
            stopped
        };
        std::thread::scope(|scope| {
            let (run, a) = (&run, scope.spawn(|| run(0, a)));
            let b = run(1, b);
            [a.join().unwrap(), b]
        })
    })
}

#[test]
fn equal_stores_of_two_workers_are_no_race() {
    let one = value(1);
    assert_eq!(rounds_of_two_workers([&one, &one]), [vec![], vec![]]);
}

#[test]
fn of_two_workers_that_store_different_values_one_is_stopped() {
    let [a, b] = rounds_of_two_workers([&value(1), &value(2)]);
    assert!(a.iter().all(|round| !b.contains(round)), "both stopped");
    assert_eq!(a.len() + b.len(), 20_000);
}
