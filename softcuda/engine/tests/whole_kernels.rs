//! Whole kernels in every way to run them: both processor tiers, every schedule, one worker and several, stores at once and late.

mod program;

use program::Program;
use softcuda_engine::{Approx, Checks, Config, Device, Launch, LaunchStats, MmaMode, Module, Numerics, Schedule};

const SHIPPED_LIKE: &str = include_str!("data/shipped_like.ptx");

/// One launch of a kernel of `shipped_like.cu`.
struct Case {
    kernel: &'static str,
    grid: u32,
    block: u32,
    /// Contents of the buffers, then the numbers.
    buffers: Vec<Vec<u8>>,
    numbers: Vec<u32>,
}

fn halves(count: usize, seed: u64) -> Vec<f32> {
    let mut x = seed;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((x >> 33) as i32 % 2048) as f32 / 1024.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Multiples of 2^-10 below 1 are exact in 16 bits.
fn to_half(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()
}

const ROWS: usize = 12;
const OUTPUTS: usize = 20;
const DEPTH: usize = 512;
const TILES: usize = 7;

fn words() -> Vec<u32> {
    (0..OUTPUTS * DEPTH / 8).map(|i| (i as u32).wrapping_mul(2_654_435_761)).collect()
}

fn cases() -> [Case; 3] {
    let codes = words().iter().flat_map(|w| w.to_le_bytes()).collect();
    let scales = to_half(&vec![0.25; OUTPUTS * DEPTH / 128]);
    [
        Case {
            kernel: "quantize",
            grid: 3,
            block: 128,
            buffers: vec![
                to_half(&halves(ROWS * 128, 1)),
                vec![0; ROWS * 128],
                vec![0; ROWS * 64],
                vec![0; ROWS * 128],
                vec![0; ROWS * 2],
            ],
            numbers: vec![ROWS as u32],
        },
        Case {
            kernel: "gemv_int4",
            grid: 5,
            block: 128,
            buffers: vec![codes, scales, to_half(&halves(DEPTH, 2)), vec![0; OUTPUTS * 4]],
            numbers: vec![OUTPUTS as u32, DEPTH as u32],
        },
        Case {
            kernel: "attend",
            grid: 3,
            block: 32,
            buffers: vec![
                to_half(&halves(TILES * 16 * 64, 3)),
                to_half(&halves(8 * 64, 4)),
                vec![0; 3 * 8 * 3 * 4],
                vec![0; 4],
                vec![0; 8 * 4],
            ],
            numbers: vec![TILES as u32],
        },
    ]
}

/// The counters and the buffers afterwards.
fn run(case: &Case, config: Config, base_tier: bool) -> (LaunchStats, Vec<Vec<u8>>) {
    let device = Device::new(config);
    let module = Module::load_for(&device, SHIPPED_LIKE, base_tier).unwrap();
    let put = |bytes: &Vec<u8>| {
        let address = device.alloc(bytes.len() as u64).unwrap();
        device.write(address, bytes).unwrap();
        address
    };
    let addresses: Vec<u64> = case.buffers.iter().map(put).collect();
    let mut params: Vec<u8> = addresses.iter().flat_map(|a| a.to_le_bytes()).collect();
    params.extend(case.numbers.iter().flat_map(|n| n.to_le_bytes()));
    let (grid, block) = ([case.grid, 1, 1], [case.block, 1, 1]);
    let launch = Launch { grid, block, dynamic_shared: 0, params: &params, cooperative: false };
    let stats = device.launch(&module, case.kernel, launch).unwrap_or_else(|report| panic!("{report}"));
    let read = |(address, old): (&u64, &Vec<u8>)| {
        let mut bytes = vec![0; old.len()];
        device.read(*address, &mut bytes).unwrap();
        bytes
    };
    (stats, addresses.iter().zip(&case.buffers).map(read).collect())
}

fn numerics(mma: MmaMode, approx: Approx) -> Config {
    Config { numerics: Numerics { mma, approx }, threads: 1, seed: 5, ..Config::default() }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn both_tiers_give_the_same_memory_and_counters() {
    let modes = [
        numerics(MmaMode::Exact, Approx::Rounded),
        numerics(MmaMode::Trunc, Approx::Perturbed),
        Config { schedule: Schedule::Adversarial, ..numerics(MmaMode::Shuffle, Approx::Perturbed) },
        Config { checks: Checks::NONE, ..numerics(MmaMode::Trunc, Approx::Rounded) },
    ];
    for case in cases() {
        for config in &modes {
            let [base, best] = [true, false].map(|tier| run(&case, config.clone(), tier));
            assert_eq!(base, best, "{} {config:?}", case.kernel);
        }
    }
}

#[test]
fn both_tiers_give_the_same_reports() {
    for folder in ["planted", "correct"] {
        for p in Program::all(folder) {
            let config = Config { threads: 1, ..Config::default() };
            let [base, best] = [true, false].map(|tier| p.run_on(config.clone(), tier));
            let text = |r: &program::Ran| r.outcome.as_ref().map_err(ToString::to_string).cloned();
            assert_eq!(text(&base), text(&best), "{}", p.name);
            assert_eq!(base.buffers, best.buffers, "{}", p.name);
        }
    }
}

#[test]
fn kernels_compute_what_they_say() {
    let [quantize, gemv, attend] = cases();
    let config = || numerics(MmaMode::Exact, Approx::Rounded);
    let (_, out) = run(&quantize, config(), false);
    for (row, x) in halves(ROWS * 128, 1).chunks_exact(128).enumerate() {
        let top = x.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (k, v) in x.iter().enumerate() {
            assert_eq!(out[1][row * 128 + k] as i8, (v * (127.0 / top)).round_ties_even() as i8, "row {row}, {k}");
        }
    }
    let (_, out) = run(&gemv, config(), false);
    let x = halves(DEPTH, 2);
    for (row, y) in floats(&out[3]).into_iter().enumerate() {
        let nibble = |k: usize| {
            // Pair j of a word holds its nibbles j and j + 4.
            let (word, at) = (words()[(row * DEPTH + k) / 8], k % 8);
            f64::from(word >> (4 * (at / 2 + 4 * (at % 2))) & 15) - 8.0
        };
        let exact: f64 = (0..DEPTH).map(|k| nibble(k) * f64::from(x[k]) * 0.25).sum();
        // A lane sums 4 products in halves of up to 32: half a unit of 2^-6 each, times 2 halves, 64 pieces and the scale, at the very worst.
        assert!((f64::from(y) - exact).abs() < 0.25, "row {row}: {y} and {exact}");
    }
    let (_, out) = run(&attend, config(), false);
    let (keys, queries) = (halves(TILES * 16 * 64, 3), halves(8 * 64, 4));
    for (q, mean) in queries.chunks_exact(64).zip(floats(&out[4])) {
        let dot = |k: &[f32]| k.iter().zip(q).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>().exp2();
        let weights: Vec<f64> = keys.chunks_exact(64).map(dot).collect();
        let exact = (0..).zip(&weights).map(|(i, w)| f64::from(i) * w).sum::<f64>() / weights.iter().sum::<f64>();
        assert!((f64::from(mean) - exact).abs() < 1e-3, "{mean} and {exact}");
    }
}

#[test]
fn schedules_workers_and_late_stores_change_nothing_in_right_kernels() {
    let config = |seed, late_stores| Config {
        schedule: if seed == 0 { Schedule::InOrder } else { Schedule::Adversarial },
        threads: 1 + seed as usize % 2,
        seed,
        late_stores,
        ..Config::default()
    };
    for p in Program::all("correct") {
        let first = p.run(config(0, false)).buffers;
        for seed in 0..6 {
            let ran = p.run(config(seed, seed % 3 != 1));
            assert!(ran.outcome.is_ok(), "{}: {}", p.name, ran.outcome.unwrap_err());
            assert_eq!(ran.buffers, first, "{} seed {seed}", p.name);
        }
    }
    for case in cases() {
        // The parts of a sum are put together by the last block, in the order of blocks.
        let (_, first) = run(&case, Config { seed: 0, ..config(0, false) }, false);
        for seed in 1..4 {
            let (_, out) = run(&case, config(seed, true), false);
            assert_eq!(out, first, "{} seed {seed}", case.kernel);
        }
    }
}

#[test]
fn late_stores_show_what_a_missing_fence_does() {
    for name in ["last_block_without_fence", "flag_without_fence", "fence_of_the_block_only"] {
        let p = Program::one("planted", name);
        let run = |seed, late_stores| {
            let schedule = if seed == 0 { Schedule::InOrder } else { Schedule::Adversarial };
            let ran =
                p.run(Config { checks: Checks::NONE, threads: 1, seed, schedule, late_stores, ..Config::default() });
            ran.outcome.unwrap_or_else(|report| panic!("{report}"));
            ran.buffers
        };
        let right = run(0, false);
        let wrong = (0..8).filter(|&seed| run(seed, true) != right).count();
        assert!(wrong >= 4, "{name}: wrong under {wrong} of 8 seeds");
        assert_eq!(run(3, true), run(3, true), "{name}: one seed, one result");
    }
}

#[test]
fn local_memory_is_counted_and_what_calls_pass_is_not() {
    let stats = |name| Program::one("correct", name).run(Config { threads: 1, ..Config::default() }).outcome.unwrap();
    // One store and two loads of 32 words, side by side as hardware has them.
    let own = stats("own_local_by_pointer");
    assert_eq!((own.local_requests, own.local_sectors), (3 * 2, 3 * 2 * 4));
    let in_function = stats("local_of_a_function");
    assert_eq!((in_function.local_requests, in_function.local_sectors), (3 * 2, 3 * 2 * 4));
    let passed = stats("recursion_by_lane");
    assert_eq!((passed.local_requests, passed.local_sectors), (0, 0));
}

/// Each warp takes a ticket and stores it at its place.
const TICKETS: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry tickets(.param .u64 out)
{
    .reg .pred %p<2>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<6>;
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, %tid.x;
    and.b32 %r2, %r1, 31;
    setp.ne.u32 %p1, %r2, 0;
    @%p1 bra $L_end;
    atom.global.add.u32 %r3, [%rd1], 1;
    mov.u32 %r4, %ctaid.x;
    shl.b32 %r5, %r4, 2;
    shr.u32 %r6, %r1, 5;
    add.s32 %r7, %r5, %r6;
    mul.wide.u32 %rd2, %r7, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3+4], %r3;
$L_end:
    ret;
}
";

fn tickets(config: Config) -> Vec<u8> {
    let device = Device::new(config);
    let module = Module::load(&device, TICKETS).unwrap();
    let out = device.alloc(4 * 33).unwrap();
    device.fill(out, &[0], 4 * 33).unwrap();
    let params = out.to_le_bytes();
    let launch = Launch { grid: [8, 1, 1], block: [128, 1, 1], dynamic_shared: 0, params: &params, cooperative: false };
    device.launch(&module, "tickets", launch).unwrap();
    let mut bytes = vec![0; 4 * 33];
    device.read(out, &mut bytes).unwrap();
    bytes[4..].chunks_exact(4).map(|b| b[0]).collect()
}

#[test]
fn a_seed_decides_the_order_and_nothing_else_does() {
    let of = |seed| tickets(Config { schedule: Schedule::Adversarial, threads: 1, seed, ..Config::default() });
    let orders: Vec<Vec<u8>> = (0..6).map(of).collect();
    for (seed, order) in (0..).zip(&orders) {
        assert_eq!(of(seed), *order, "seed {seed} a second time");
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..32).collect::<Vec<u8>>(), "every ticket once");
        assert!(!orders[..seed as usize].contains(order), "seed {seed} gives a new order");
    }
    let in_order = |seed| tickets(Config { threads: 1, seed, ..Config::default() });
    assert_eq!(in_order(7), (0..32).collect::<Vec<u8>>());
}

/// Every block counts to a hundred thousand.
const WORK: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry work()
{
    .reg .pred %p<2>;
    .reg .b32 %r<2>;
    mov.u32 %r1, 0;
$L_loop:
    add.s32 %r1, %r1, 1;
    setp.lt.u32 %p1, %r1, 100000;
    @%p1 bra $L_loop;
    ret;
}
";

#[test]
fn blocks_are_spread_over_the_workers() {
    let device = Device::new(Config { threads: 2, ..Config::default() });
    let module = Module::load(&device, WORK).unwrap();
    let launch =
        |grid| Launch { grid: [grid, 1, 1], block: [32, 1, 1], dynamic_shared: 0, params: &[], cooperative: false };
    let workers = |grid| device.launch(&module, "work", launch(grid)).unwrap().workers;
    assert_eq!(workers(1), 1);
    // The second thread starts when the operating system lets it; one launch lasts long enough on an idle machine.
    assert!((0..20).any(|_| workers(64) == 2), "one worker took all blocks, twenty times");
}
