//! Whole kernels, from PTX to results: what compilers emit, and small hand-written programs for control flow.

use softcuda_engine::{Config, Device, Launch, LaunchStats, Module, Report};

const BASICS: &str = include_str!("data/basics.ptx");

struct Bench {
    device: Device,
    module: Module,
}

impl Bench {
    fn new(text: &str) -> Bench {
        let device = Device::new(Config::default());
        let module = Module::load(&device, text).unwrap_or_else(|e| panic!("{e}"));
        Bench { device, module }
    }

    fn put<T: Copy>(&self, data: &[T]) -> u64 {
        let bytes = std::mem::size_of_val(data);
        let address = self.device.alloc(bytes as u64).unwrap();
        // SAFETY: plain numbers have no padding.
        self.device.write(address, unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), bytes) }).unwrap();
        address
    }

    fn room(&self, bytes: usize) -> u64 {
        self.device.alloc(bytes as u64).unwrap()
    }

    fn get<T: Copy + Default>(&self, address: u64, count: usize) -> Vec<T> {
        let mut out = vec![T::default(); count];
        let bytes = std::mem::size_of_val(out.as_slice());
        // SAFETY: every bit pattern is a number.
        self.device.read(address, unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), bytes) }).unwrap();
        out
    }

    fn try_run(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: u32,
        shared: u32,
        args: &[Arg],
    ) -> Result<LaunchStats, Box<Report>> {
        let info = self.module.kernel(kernel).expect("the kernel is there");
        let mut params = vec![0; info.param_bytes as usize];
        assert_eq!(info.params.len(), args.len());
        for (p, a) in info.params.iter().zip(args) {
            let bytes = a.bytes();
            assert_eq!(p.size as usize, bytes.len(), "{}", p.name);
            params[p.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        let block = [block, 1, 1];
        self.device.launch(
            &self.module,
            kernel,
            Launch { grid, block, dynamic_shared: shared, params: &params, cooperative: false },
        )
    }

    fn run(&self, kernel: &str, grid: [u32; 3], block: u32, shared: u32, args: &[Arg]) -> LaunchStats {
        self.try_run(kernel, grid, block, shared, args).unwrap_or_else(|r| panic!("{r}"))
    }
}

enum Arg {
    P(u64),
    I(i32),
    F(f32),
    Bytes(Vec<u8>),
}
use Arg::{Bytes, F, I, P};

impl Arg {
    fn bytes(&self) -> Vec<u8> {
        match self {
            P(v) => v.to_le_bytes().to_vec(),
            I(v) => v.to_le_bytes().to_vec(),
            F(v) => v.to_le_bytes().to_vec(),
            Bytes(v) => v.clone(),
        }
    }
}

#[test]
fn elementwise() {
    let b = Bench::new(BASICS);
    let x: Vec<f32> = (0..1000).map(|i| i as f32 * 0.25).collect();
    let (px, py) = (b.put(&x), b.put(&vec![1.0f32; 1000]));
    let stats = b.run("axpy", [4, 1, 1], 256, 0, &[F(3.0), P(px), P(py), I(1000)]);
    let y: Vec<f32> = b.get(py, 1000);
    assert!(y.iter().zip(&x).all(|(y, x)| *y == 3.0 * x + 1.0));
    // Two loads of 1000 floats, one store: 125 sectors each.
    assert_eq!((stats.global_load_sectors, stats.global_store_sectors), (250, 125));

    let h: Vec<u16> = (0..2000).map(|i| half::f16::from_f32(i as f32 - 700.0).to_bits()).collect();
    let (ph, po) = (b.put(&h), b.room(4000));
    b.run("scale_half", [2, 1, 1], 96, 0, &[P(ph), P(po), F(0.1), I(1000)]);
    let out: Vec<u16> = b.get(po, 2000);
    for (o, x) in out.iter().zip(&h) {
        let want = half::f16::from_f32(half::f16::from_bits(*x).to_f32() * 0.1);
        assert_eq!(*o, want.to_bits());
    }
}

#[test]
fn reduction_by_shuffles_and_shared_memory() {
    let b = Bench::new(BASICS);
    let (rows, cols) = (7, 1003);
    let x: Vec<f32> = (0..rows * cols).map(|i| (i % 17) as f32).collect();
    let (px, po) = (b.put(&x), b.room(4 * rows));
    for threads in [32, 64, 256, 1024] {
        b.run("row_sum", [rows as u32, 1, 1], threads, 0, &[P(px), P(po), I(cols as i32)]);
        let out: Vec<f32> = b.get(po, rows);
        for r in 0..rows {
            assert_eq!(out[r], x[r * cols..][..cols].iter().sum::<f32>(), "row {r}, {threads} threads");
        }
    }
}

#[test]
fn parameter_struct_and_signed_bytes() {
    let b = Bench::new(BASICS);
    let (rows, cols) = (3usize, 64usize);
    let codes: Vec<i8> = (0..rows * cols).map(|i| (i * 37 % 256) as u8 as i8).collect();
    let scales = [0.5f32, 1.0, -2.0];
    let (pc, ps, po) = (b.put(&codes), b.put(&scales), b.room(2 * rows * cols));
    let mut args = Vec::new();
    [pc, ps, po].iter().for_each(|p| args.extend(p.to_le_bytes()));
    [rows as i32, cols as i32].iter().for_each(|v| args.extend(v.to_le_bytes()));
    b.run("dequant", [1, 3, 1], 32, 0, &[Bytes(args)]);
    let out: Vec<u16> = b.get(po, rows * cols);
    for i in 0..rows * cols {
        let want = half::bf16::from_f32(codes[i] as f32 * scales[i / cols]);
        assert_eq!(out[i], want.to_bits(), "{i}");
    }
}

#[test]
fn calls_local_memory_divergent_loops_and_atomics() {
    let b = Bench::new(BASICS);
    let n = 512;
    let (steps, highest, count) = (b.room(4 * n), b.room(4 * n), b.put(&[0u32]));
    let stats = b.run("collatz_max", [4, 1, 1], 128, 4, &[P(steps), P(highest), P(count)]);
    let (s, h): (Vec<i32>, Vec<i32>) = (b.get(steps, n), b.get(highest, n));
    let mut best = [0; 4];
    for i in 0..n {
        let (mut v, mut k, mut top) = (i as i32 + 1, 0, i as i32 + 1);
        while v != 1 {
            v = if v % 2 != 0 { 3 * v + 1 } else { v / 2 };
            top = top.max(v);
            k += 1;
        }
        assert_eq!((s[i], h[i]), (k, top), "{i}");
        best[i / 128] = best[i / 128].max(k);
    }
    assert_eq!(b.get::<i32>(count, 1)[0], best.iter().sum::<i32>());
    assert!(stats.divergent_branches > 0);
}

#[test]
fn constants_and_tables() {
    let b = Bench::new(BASICS);
    let (address, size) = b.module.global("factors").unwrap();
    assert_eq!(size, 16);
    let factors = [1.0f32, 10.0, 100.0, 0.5];
    b.device.write(address, &factors.iter().flat_map(|f| f.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let x: Vec<i32> = (0..32).map(|i| i * 5).collect();
    let (px, po) = (b.put(&x), b.room(128));
    b.run("lookup", [1, 1, 1], 32, 0, &[P(px), P(po)]);
    let table = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3];
    for (i, v) in b.get::<f32>(po, 32).into_iter().enumerate() {
        assert_eq!(v, table[x[i] as usize & 15] as f32 * factors[i & 3]);
    }
}

#[test]
fn eight_ways() {
    let b = Bench::new(BASICS);
    let x: Vec<i32> = (0..64).map(|i| i * 12345 - 400000).collect();
    let p = b.put(&x);
    b.run("choose", [1, 1, 1], 64, 0, &[P(p)]);
    for (got, v) in b.get::<i32>(p, 64).into_iter().zip(x) {
        let want = match v & 7 {
            0 => v.wrapping_mul(3),
            1 => v ^ 0x55,
            2 => v / 3,
            3 => v.reverse_bits(),
            4 => v.count_ones() as i32,
            5 => v % 7,
            6 => v << 3,
            _ => -v,
        };
        assert_eq!(got, want, "{v}");
    }
}

const HEAD: &str = ".version 8.5\n.target sm_80\n.address_size 64\n";

/// A kernel `k(p)` with registers of every kind.
fn small(body: &str) -> Bench {
    Bench::new(&format!(
        "{HEAD}.visible .entry k(.param .u64 p) {{\n.reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<16>; .reg .b64 %rd<8>; .reg .f32 %f<8>;\n\
         ld.param.u64 %rd0, [p]; cvta.to.global.u64 %rd0, %rd0; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4; add.s64 %rd1, %rd0, %rd1;\n\
         {body}\n}}\n"
    ))
}

/// One block of so many threads; what each thread stored at `p[tid]`, or the report.
fn outcome(body: &str, threads: u32) -> Result<Vec<u32>, Box<Report>> {
    let b = small(body);
    let p = b.put(&vec![0u32; threads as usize]);
    b.try_run("k", [1, 1, 1], threads, 0, &[P(p)])?;
    Ok(b.get(p, threads as usize))
}

#[test]
fn a_loop_with_its_own_trip_count_for_each_lane() {
    let body = "mov.u32 %r1, 0; mov.u32 %r2, 0;\nL: setp.ge.u32 %p0, %r1, %r0; @%p0 bra E; add.s32 %r2, %r2, %r1; add.s32 %r1, %r1, 1; bra L;\n\
                E: st.global.u32 [%rd1], %r2; ret;";
    let got = outcome(body, 64).unwrap();
    assert!((0..64).all(|i| got[i] == (0..i as u32).sum()));
}

#[test]
fn lanes_hand_over_within_a_warp() {
    // Lane 0 waits for lane 31, which is behind it in the text: only a fair choice of groups ends this.
    let body = "setp.ne.u32 %p0, %r0, 0; @%p0 bra O;\nW: ld.volatile.global.u32 %r1, [%rd0+124]; setp.eq.u32 %p1, %r1, 0; @%p1 bra W;\n\
                st.global.u32 [%rd0], %r1; ret;\nO: setp.ne.u32 %p2, %r0, 31; @%p2 ret; st.volatile.global.u32 [%rd1], 7; ret;";
    let got = outcome(body, 32).unwrap();
    assert_eq!((got[0], got[31]), (7, 7));
}

#[test]
fn tables_of_branches() {
    let body = "and.b32 %r1, %r0, 3; T: .branchtargets A, B, C, A; brx.idx %r1, T;\nA: mov.u32 %r2, 10; bra E;\nB: mov.u32 %r2, 20; bra E;\n\
                C: mov.u32 %r2, 30;\nE: st.global.u32 [%rd1], %r2; ret;";
    let got = outcome(body, 32).unwrap();
    assert!((0..32).all(|i| got[i] == [10, 20, 30, 10][i & 3]));
}

#[test]
fn barriers_reduce_and_count() {
    // Two halves of the block meet at barriers of their own; then all reduce.
    let body = "shr.u32 %r1, %r0, 6; add.s32 %r1, %r1, 1; barrier.sync %r1, 64;\nsetp.lt.u32 %p0, %r0, 40; bar.red.popc.u32 %r2, 0, %p0;\n\
                bar.red.or.pred %p1, 0, %p0; bar.red.and.pred %p2, 0, !%p0; selp.u32 %r3, 1000, 0, %p1; selp.u32 %r4, 2000, 0, %p2;\n\
                add.s32 %r2, %r2, %r3; add.s32 %r2, %r2, %r4; st.global.u32 [%rd1], %r2; ret;";
    let got = outcome(body, 128).unwrap();
    assert!(got.iter().all(|v| *v == 1040), "{got:?}");
}

#[test]
fn faults_are_named() {
    let kind = |body: &str, threads| outcome(body, threads).unwrap_err().to_string();
    let spin = kind("W: ld.volatile.global.u32 %r1, [%rd0]; setp.eq.u32 %p0, %r1, 0; @%p0 bra W; ret;", 64);
    assert!(spin.contains("goes round without end"), "{spin}");
    // A single warp passes its barriers at once.
    let barriers = kind("W: bar.sync 0; bra W;", 32);
    assert!(barriers.contains("goes round without end"), "{barriers}");
    let half = kind("setp.lt.u32 %p0, %r0, 16; @%p0 bra S; bar.sync 0; ret;\nS: bar.sync 0; ret;", 32);
    assert!(half.contains("barrier reached by lanes"), "{half}");
    let apart = kind("setp.lt.u32 %p0, %r0, 16; @%p0 bra S; bar.warp.sync -1; ret;\nS: bar.warp.sync -1; ret;", 32);
    assert!(apart.contains("wait for lanes"), "{apart}");
    let alone = kind("setp.lt.u32 %p0, %r0, 32; @%p0 bar.sync 1, 64; ret;", 64);
    assert!(alone.contains("no thread of the block can go on"), "{alone}");
    let mask = kind("mov.u32 %r1, 1; bar.warp.sync %r1; ret;", 32);
    assert!(mask.contains("not in its own member mask"), "{mask}");
    let lost = kind("shfl.sync.idx.b32 %r1, %r0, 20, 31, 0xffff; st.global.u32 [%rd1], %r1; ret;", 16);
    assert!(lost.contains("reads lane 20"), "{lost}");
    let trap = kind("setp.eq.u32 %p0, %r0, 5; @%p0 trap; ret;", 32);
    assert!(trap.contains("trap") && trap.contains("thread 5,") && trap.contains("@%p0 trap;"), "{trap}");
}

#[test]
fn use_of_what_nobody_wrote() {
    let b = small(
        "ld.global.v2.u32 {%r1, %r2}, [%rd0]; and.b32 %r3, %r2, 0xff00; prmt.b32 %r4, %r2, %r1, 0x4441; shr.u32 %r5, %r3, 8;\n\
         st.global.u32 [%rd0+8], %r5; setp.eq.u32 %p0, %r4, 0; @%p0 ret; setp.eq.u32 %p1, %r2, 0; @%p1 ret; ret;",
    );
    // Bytes 0..4 and 5 are written; only the second branch looks at the others.
    let p = b.room(16);
    b.device.write(p, &[1, 2, 3, 4]).unwrap();
    b.device.write(p + 5, &[9]).unwrap();
    let report = b.try_run("k", [1, 1, 1], 1, 0, &[P(p)]).unwrap_err().to_string();
    assert!(report.contains("nobody wrote") && report.contains("@%p1 ret;"), "{report}");
    assert_eq!(b.get::<u32>(p + 8, 1), [9]);
}

#[test]
fn schedules_and_tiers_agree() {
    let run = |base: bool, adversarial: bool, seed: u64| {
        let schedule =
            if adversarial { softcuda_engine::Schedule::Adversarial } else { softcuda_engine::Schedule::InOrder };
        let device = Device::new(Config { schedule, seed, ..Config::default() });
        let module = Module::load_for(&device, BASICS, base).unwrap();
        let b = Bench { device, module };
        let n = 256;
        let (steps, highest, count) = (b.room(4 * n), b.room(4 * n), b.put(&[0u32]));
        b.run("collatz_max", [2, 1, 1], 128, 4, &[P(steps), P(highest), P(count)]);
        (b.get::<i32>(steps, n), b.get::<i32>(highest, n), b.get::<u32>(count, 1))
    };
    let first = run(false, false, 0);
    assert!(first == run(true, false, 0));
    (0..4).for_each(|seed| assert!(first == run(false, true, seed), "seed {seed}"));
}

#[test]
fn blocks_wait_for_each_other() {
    // Each block waits until the one after it has written: the last runs first in effect, and all must be resident.
    let text = format!(
        "{HEAD}.visible .entry k(.param .u64 p) {{\n.reg .pred %p<4>; .reg .b32 %r<8>; .reg .b64 %rd<4>;\n\
         ld.param.u64 %rd0, [p]; mov.u32 %r0, %ctaid.x; mov.u32 %r1, %nctaid.x; mul.wide.u32 %rd1, %r0, 4; add.s64 %rd1, %rd0, %rd1;\n\
         add.s32 %r2, %r0, 1; setp.eq.u32 %p0, %r2, %r1; @%p0 bra D;\n\
         W: ld.acquire.gpu.global.u32 %r3, [%rd1+4]; setp.eq.u32 %p1, %r3, 0; @%p1 bra W;\nD: st.release.gpu.global.u32 [%rd1], %r2; ret;\n}}\n"
    );
    let b = Bench::new(&text);
    let p = b.put(&[0u32; 20]);
    b.run("k", [20, 1, 1], 1, 0, &[P(p)]);
    assert_eq!(b.get::<u32>(p, 20), (1..=20).collect::<Vec<u32>>());
}

#[test]
fn refusals_name_line_and_text() {
    let refuse = |body: &str| {
        let text = format!("{HEAD}.entry k() {{\n.reg .b32 %r<4>; .reg .b64 %rd<4>; .reg .f32 %f<4>;\n{body}\n}}");
        Module::load(&Device::new(Config::default()), &text).err().unwrap_or_else(|| panic!("{body} was accepted"))
    };
    let e = refuse("wgmma.fence.sync.aligned;");
    assert_eq!((e.line, e.text.as_str()), (6, "wgmma.fence.sync.aligned;"));
    assert!(e.reason.contains("warpgroup"), "{e}");
    let bulk = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1], 16, [%r2];";
    let e = refuse(bulk);
    assert_eq!((e.line, e.text.as_str()), (6, bulk));
    assert!(e.reason.contains("bulk"), "{e}");
    assert!(
        refuse("wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f1}, %rd1, %rd2;").reason.contains("warpgroup")
    );
    assert!(refuse("prefetch.tensormap [%rd1];").reason.contains("known are"));
    assert!(refuse("tensormap.cp_fenceproxy.global.shared::cta [%rd1], [%rd2], 128;").reason.contains("tensor maps"));
    assert!(refuse("add.s31 %r1, %r2, %r3;").reason.contains("known are"));
    assert!(refuse("add.s32 %r1, %rd2, %r3;").reason.contains("64 bits"));
    assert!(refuse("add.s32 %r1, %r2;").reason.contains("operands"));
    assert!(refuse("mov.u32 %r1, %nothing;").reason.contains("not declared"));
    assert!(refuse("mov.u64 %rd1, nothing;").reason.contains("not defined"));
    // Targets that do not have it.
    let e = refuse("barrier.cluster.wait;");
    assert_eq!((e.line, e.kind), (6, softcuda_engine::LoadErrorKind::Syntax));
    assert!(e.reason.contains("needs .target sm_90"), "{e}");
    assert!(refuse("add.u16x2 %r1, %r2, %r3;").reason.contains("the module's is sm_80"));
    assert!(refuse("bra NOWHERE;").reason.contains("label"));
    let device = Device::new(Config::default());
    let e = Module::load(&device, &HEAD.replace("sm_80", "sm_90")).err().unwrap();
    assert_eq!(e.kind, softcuda_engine::LoadErrorKind::Target);
}

#[test]
fn printf_and_assert_reach_the_host() {
    let b = Bench::new(BASICS);
    b.run("shout", [1, 1, 1], 32, 0, &[I(5)]);
}

#[test]
fn vector_registers_and_registers_as_parameters() {
    let text = format!(
        "{HEAD}.func (.reg .u32 sum, .reg .pred odd, .reg .v2 .u32 back) both(.reg .v2 .u32 a, .reg .u32 b)\n{{\n\
         .reg .u32 t;\nadd.u32 sum, a.x, a.y; add.u32 sum, sum, b; and.b32 t, sum, 1; setp.ne.u32 odd, t, 0;\nmov.v2.u32 back, {{a.y, a.x}}; ret;\n}}\n\
         .visible .entry k(.param .u64 p) {{\n.reg .b64 %rd<4>; .reg .b32 %r<8>; .reg .pred %q; .reg .v2 .u32 v, w<2>;\n\
         ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 8; add.s64 %rd1, %rd0, %rd1;\n\
         mov.u32 v.x, %r0; mov.u32 v.y, 10; call (%r1, %q, w1), both, (v, 5); mov.v2.u32 w0, w1; mov.v2.u32 {{w0.x, w0.y}}, {{w0.y, w0.x}};\n\
         selp.u32 %r2, 1000, 0, %q; add.u32 %r2, %r2, %r1; mad.lo.u32 w0.x, w0.x, 100, w1.x; st.global.v2.u32 [%rd1], {{%r2, w0.x}}; ret;\n}}\n"
    );
    let b = Bench::new(&text);
    let p = b.room(8 * 40);
    b.run("k", [1, 1, 1], 40, 0, &[P(p)]);
    for (i, pair) in b.get::<u32>(p, 80).chunks(2).enumerate() {
        let i = i as u32;
        assert_eq!(pair, [i + 15 + if (i + 15) % 2 == 1 { 1000 } else { 0 }, 100 * i + 10], "{i}");
    }
}

#[test]
fn a_grid_meets_in_a_cooperative_launch() {
    let b = Bench::new(include_str!("data/grid_sync.ptx"));
    let (blocks, threads, rounds) = (6u32, 64u32, 5);
    let n = (blocks * threads) as usize;
    let x: Vec<i32> = (0..n as i32).map(|i| 10 * i).collect();
    let p = b.put(&x);
    let mut params = p.to_le_bytes().to_vec();
    params.extend(i32::to_le_bytes(rounds));
    let launch = |blocks| Launch {
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        dynamic_shared: 0,
        params: &params,
        cooperative: true,
    };
    let free = b.device.mem_info().0;
    b.device.launch(&b.module, "rounds", launch(blocks)).unwrap_or_else(|r| panic!("{r}"));
    let want: Vec<i32> = (0..n).map(|i| x[(i + 33 * rounds as usize) % n] + rounds).collect();
    assert_eq!(b.get::<i32>(p, n), want);
    assert_eq!(b.device.mem_info().0, free);
    let report = b.device.launch(&b.module, "rounds", launch(1 << 20)).unwrap_err().to_string();
    assert!(report.contains("fit the device at once"), "{report}");
}
