//! What the tests of this folder share: the device, buffers with fences, inputs, modes.

use std::sync::Arc;

use bytemuck::Pod;
use lowbit::cudarc::driver::{CudaSlice, CudaStream, CudaView, CudaViewMut, DeviceRepr};
use lowbit::format::{Element, Matrix};
use lowbit::half::f16;
use lowbit::{Kernels, testing};
use nvcuda::client::{self, Approx, Checks, MmaMode, Schedule};
use rand::{RngExt, SeedableRng};

pub struct Gpu {
    pub stream: Arc<CudaStream>,
    pub kernels: Kernels,
}

pub fn gpu() -> Gpu {
    let (context, kernels) = testing::device();
    Gpu { stream: context.default_stream(), kernels }
}

/// A device buffer between fences: `shift` elements before it, some behind it, which must stay as they are.
pub struct Fenced<T> {
    slice: CudaSlice<T>,
    at: usize,
    len: usize,
}

const FENCE: u8 = 0xA5;
const BEHIND: usize = 9;

impl<T: Pod + DeviceRepr> Fenced<T> {
    pub fn new(gpu: &Gpu, data: &[T], shift: usize) -> Self {
        let fence = || -> T { bytemuck::pod_read_unaligned(&vec![FENCE; size_of::<T>()]) };
        let mut all = vec![fence(); shift];
        all.extend_from_slice(data);
        all.extend((0..BEHIND).map(|_| fence()));
        Fenced { slice: gpu.stream.clone_htod(&all).unwrap(), at: shift, len: data.len() }
    }

    pub fn view(&self) -> CudaView<'_, T> {
        self.slice.slice(self.at..self.at + self.len)
    }

    pub fn view_mut(&mut self) -> CudaViewMut<'_, T> {
        self.slice.slice_mut(self.at..self.at + self.len)
    }

    /// Its first elements.
    pub fn part(&self, len: usize) -> CudaView<'_, T> {
        self.slice.slice(self.at..self.at + len)
    }

    pub fn part_mut(&mut self, len: usize) -> CudaViewMut<'_, T> {
        self.slice.slice_mut(self.at..self.at + len)
    }

    /// What it holds; the fences must be whole.
    pub fn read(&self, gpu: &Gpu) -> Vec<T> {
        let all = gpu.stream.clone_dtoh(&self.slice).unwrap();
        let (before, rest) = all.split_at(self.at);
        let (data, behind) = rest.split_at(self.len);
        for fence in [before, behind] {
            assert!(bytemuck::cast_slice::<T, u8>(fence).iter().all(|&b| b == FENCE), "written outside the buffer");
        }
        data.to_vec()
    }
}

/// Every byte of an output before it is written.
pub fn untouched<T: Pod>(len: usize) -> Vec<T> {
    vec![bytemuck::pod_read_unaligned(&vec![0x5A; size_of::<T>()]); len]
}

pub fn is_untouched<T: Pod>(x: &[T]) -> bool {
    bytemuck::cast_slice::<T, u8>(x).iter().all(|&b| b == 0x5A)
}

/// Bits of real numbers, all NaN being one.
pub fn bits<E: Element>(x: &[E]) -> Vec<u32> {
    x.iter().map(|v| if v.to_f32().is_nan() { 0x7FC0_0000 } else { v.to_f32().to_bits() }).collect()
}

/// Numbers of many magnitudes with the special ones among them: NaN, infinities, zeros, beyond f16, subnormals.
pub fn input<E: Element>(len: usize, seed: u64) -> Vec<E> {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 65504.0, -1e38, 6e-8, 1e-41, -1e-44];
    let scale = [1.0, 1.0, 1.0, 30.0, 0.01][random.random_range(0..5)];
    let each = |random: &mut rand_chacha::ChaCha8Rng| match random.random_range(0..2000) {
        i if i < special.len() => special[i],
        _ => random.random_range(-4.0f32..4.0) * scale,
    };
    (0..len).map(|_| E::from_f32(each(&mut random))).collect()
}

/// The same without what is not finite.
pub fn finite<E: Element>(len: usize, seed: u64) -> Vec<E> {
    input::<E>(len, seed).iter().map(|v| if v.to_f32().abs() < 1e30 { *v } else { E::from_f32(0.5) }).collect()
}

pub fn f16s(x: &[f32]) -> Vec<f16> {
    x.iter().map(|&v| f16::from_f32(v)).collect()
}

/// Shapes of (token, head) rows: none, one, ragged ends of a block of threads, gaps; and by how many elements buffers are
/// off their allocation's start. Columns are multiples of 32.
pub const SHAPES: [(Matrix, usize); 7] = [
    (Matrix::dense(0, 64), 0),
    (Matrix::dense(3, 0), 0),
    (Matrix::dense(1, 32), 0),
    (Matrix::dense(67, 96), 0),
    (Matrix { rows: 5, cols: 64, row_stride: 67 }, 1),
    (Matrix { rows: 9, cols: 128, row_stride: 160 }, 0),
    (Matrix::dense(3, 1056), 3),
];

/// Runs `test` with every check on: in order, then in seeded adversarial orders with everything approximate disturbed.
pub fn in_every_mode(test: impl Fn(&str)) {
    let checked = |m: &mut client::Modes| m.checks = Checks { memory: true, init: true, race: true, sync: true };
    client::with_modes(checked, || test("in order"));
    for (seed, mma) in [(1, MmaMode::Exact), (2, MmaMode::Shuffle), (3, MmaMode::Trunc)] {
        let change = |m: &mut client::Modes| {
            checked(m);
            (m.schedule, m.approx, m.mma, m.seed) = (Schedule::Adversarial, Approx::Perturbed, mma, seed);
        };
        client::with_modes(change, || test(&format!("adversarial, seed {seed}")));
    }
}
