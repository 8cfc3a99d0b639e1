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
