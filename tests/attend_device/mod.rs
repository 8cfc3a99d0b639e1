//! Runs the attention kernels on a `kv_world` cache and holds the result to the reference. Shared by the tests of attention.
#![allow(dead_code)] // Each test binary uses its own part.

use std::sync::Arc;

use lowbit::Kernels;
use lowbit::cache::{Batch, Capacity, KvCacheRef, Plan, Rows, Status};
use lowbit::cudarc::driver::{CudaSlice, CudaStream};
use lowbit::format::{DType, Element, Half16};
use lowbit::ops;
use lowbit::reference;
use lowbit::reference::attend::{Attention, Options};
use lowbit::testing;

use crate::kv_world::{Step, World};

/// The device, a stream of its own, and the kernels.
pub struct Gpu {
    pub stream: Arc<CudaStream>,
    pub kernels: Kernels,
}

/// What a call left on the device.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// `[total_q, heads, head_dim]`, exact.
    pub out: Vec<f32>,
    pub lse: Vec<f32>,
    pub status: Status,
}

/// What an output holds before a call.
pub const UNTOUCHED: f32 = -7.0;

impl Gpu {
    pub fn new() -> Self {
        let (context, kernels) = testing::device();
        Self { stream: context.new_stream().unwrap(), kernels }
    }

    /// Attends with a capacity that just holds the batch.
    pub fn attend<T: Half16>(&self, world: &World, step: &Step, q: &[T], heads: usize, options: &Options) -> Found {
        let max_len = step.seq_lens.iter().copied().max().unwrap_or(1).max(1) as usize;
        let capacity = Capacity { num_seqs: world.lens.len(), max_q_len: step.max_q_len.max(1), max_len };
        self.attend_within(world, step, q, heads, options, capacity)
    }

    /// Attends under a plan of the given capacity.
    pub fn attend_within<T: Half16>(
        &self,
        world: &World,
        step: &Step,
        q: &[T],
        heads: usize,
        options: &Options,
        capacity: Capacity,
    ) -> Found {
        let stream = &self.stream;
        let plan = Plan::new(&self.kernels, &world.layout, heads, capacity).unwrap();
        let row = heads * world.layout.shape().head_dim;
        let buffers = DeviceWorld::new(stream, world, step);
        let mut status = stream.clone_htod(&[0u32]).unwrap();
        let q = stream.clone_htod(q).unwrap();
        let mut out = stream.clone_htod(&vec![T::from_f32(UNTOUCHED); step.total_q * row]).unwrap();
        let [slopes, sinks] = [options.alibi_slopes, options.sink_logits]
            .map(|per_head| per_head.map(|values| stream.clone_htod(values).unwrap()));
        let angles = world.angles.as_ref().map(|angles| stream.clone_htod(angles).unwrap());
        let mask = options.tree_mask.map(|mask| stream.clone_htod(mask).unwrap());
        let device_options = ops::attend::Options {
            softmax_scale: options.softmax_scale,
            soft_cap: options.soft_cap,
            alibi_slopes: slopes.as_ref().map(CudaSlice::as_view),
            window: options.window,
            sink_logits: sinks.as_ref().map(CudaSlice::as_view),
            tree_mask: mask.as_ref().map(CudaSlice::as_view),
            rope: angles.as_ref().map(CudaSlice::as_view),
        };
        let mut lse = stream.clone_htod(&vec![UNTOUCHED; step.total_q * heads]).unwrap();
        // SAFETY: the kernels write what they read of it; the software device reports it if they do not.
        let mut workspace = unsafe { stream.alloc::<u8>(plan.workspace_bytes().max(16)) }.unwrap();
        ops::attend::attend(
            &self.kernels,
            stream,
            &plan,
            &buffers.batch(world, step),
            &Rows { data: q.as_view(), stride: row },
            &mut buffers.cache(world, &mut status),
            &device_options,
            &mut out.as_view_mut(),
            Some(&mut lse.as_view_mut()),
            &mut workspace.as_view_mut(),
        )
        .unwrap();
        Found {
            out: stream.clone_dtoh(&out).unwrap().into_iter().map(Element::to_f32).collect(),
            lse: stream.clone_dtoh(&lse).unwrap(),
            status: Status(stream.clone_dtoh(&status).unwrap()[0]),
        }
    }
}

/// A world's buffers on the device.
pub struct DeviceWorld {
    pages: CudaSlice<u8>,
    /// One unused byte in formats without a window: no allocation is empty.
    state: CudaSlice<u8>,
    k_scale: Option<CudaSlice<f32>>,
    v_scale: Option<CudaSlice<f32>>,
    table: CudaSlice<i32>,
    slots: CudaSlice<i32>,
    ring_start: Option<CudaSlice<i32>>,
    seq_lens: CudaSlice<i32>,
    cu_q_lens: CudaSlice<i32>,
}

impl DeviceWorld {
    pub fn new(stream: &Arc<CudaStream>, world: &World, step: &Step) -> Self {
        let upload = |scale: &Option<Vec<f32>>| scale.as_ref().map(|scale| stream.clone_htod(scale).unwrap());
        Self {
            pages: stream.clone_htod(&world.pages).unwrap(),
            state: stream.clone_htod(if world.state.is_empty() { &[0][..] } else { &world.state }).unwrap(),
            k_scale: upload(&world.k_scale),
            v_scale: upload(&world.v_scale),
            table: stream.clone_htod(&world.table).unwrap(),
            slots: stream.clone_htod(&world.slots).unwrap(),
            ring_start: world.ring_start.as_ref().map(|start| stream.clone_htod(start).unwrap()),
            seq_lens: stream.clone_htod(&step.seq_lens).unwrap(),
            cu_q_lens: stream.clone_htod(&step.cu_q_lens).unwrap(),
        }
    }

    /// New contents in the same buffers.
    pub fn upload(&mut self, stream: &Arc<CudaStream>, world: &World, step: &Step) {
        stream.memcpy_htod(&world.pages, &mut self.pages).unwrap();
        if !world.state.is_empty() {
            stream.memcpy_htod(&world.state, &mut self.state).unwrap();
        }
        stream.memcpy_htod(&world.table, &mut self.table).unwrap();
        stream.memcpy_htod(&world.slots, &mut self.slots).unwrap();
        stream.memcpy_htod(&step.seq_lens, &mut self.seq_lens).unwrap();
        stream.memcpy_htod(&step.cu_q_lens, &mut self.cu_q_lens).unwrap();
    }

    pub fn batch(&self, world: &World, step: &Step) -> Batch<'_> {
        Batch {
            seq_lens: self.seq_lens.as_view(),
            cu_q_lens: self.cu_q_lens.as_view(),
            block_table: self.table.as_view(),
            max_blocks: world.max_blocks,
            state_slots: world.layout.format().has_state().then(|| self.slots.as_view()),
            ring_start: self.ring_start.as_ref().map(CudaSlice::as_view),
            max_q_len: step.max_q_len,
            total_q: step.total_q,
        }
    }

    pub fn cache<'a>(&'a self, world: &World, status: &'a mut CudaSlice<u32>) -> KvCacheRef<'a> {
        KvCacheRef {
            layout: world.layout,
            pages: self.pages.as_view(),
            state: self.state.slice(..world.state.len()),
            status: status.as_view_mut(),
            k_scale: self.k_scale.as_ref().map(CudaSlice::as_view),
            v_scale: self.v_scale.as_ref().map(CudaSlice::as_view),
        }
    }
}

/// The definition on the same bytes.
pub fn expected<T: Half16>(world: &World, step: &Step, q: &[T], heads: usize, options: &Options) -> Attention {
    let rows = reference::kv::Rows { data: q, stride: heads * world.layout.shape().head_dim };
    let options = Options { rope: world.angles.as_deref(), ..*options };
    reference::attend::attend(&world.cache_ref(), &world.batch(step), rows, heads, &options).unwrap()
}

/// Largest error of a row relative to its norm: half an ulp of the output dtype for storing it, as much for P in f16 and
/// for the products of P with scales in f16; bf16 caches hold P in bf16.
pub fn row_tolerance(dtype: DType) -> f64 {
    if dtype == DType::Bf16 { 2f64.powi(-8) } else { 2f64.powi(-10) }
}

/// Half the distance of neighbours where the output dtype is coarsest in relation: f16 below 2^-14.
fn floor(dtype: DType) -> f64 {
    if dtype == DType::Bf16 { 0.0 } else { 2f64.powi(-25) }
}

/// Of ex2 and lg2 (2^-22 each), f32 sums of up to a few thousand terms, and logits in f32: far below in practice, as f16
/// rounding of scores, the usual shortcut, is not.
pub const LSE_TOLERANCE: f64 = 1e-3;

/// Holds rows and LSE to the definition; returns the largest errors.
pub fn compare(what: &str, found: &Found, expected: &Attention, d: usize, dtype: DType) -> (f64, f64) {
    compare_within(what, found, expected, d, dtype, LSE_TOLERANCE)
}

/// As [`compare`], with another tolerance of the LSE.
pub fn compare_within(
    what: &str,
    found: &Found,
    expected: &Attention,
    d: usize,
    dtype: DType,
    lse_tolerance: f64,
) -> (f64, f64) {
    assert_eq!(found.status, expected.status, "{what}: status");
    assert_eq!((found.out.len(), found.lse.len()), (expected.out.len(), expected.lse.len()), "{what}");
    let (mut worst, mut worst_lse) = (0.0f64, 0.0f64);
    for (row, (a, b)) in found.out.chunks(d).zip(expected.out.chunks(d)).enumerate() {
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
        let size = norm(&mut b.iter().copied());
        let error = norm(&mut a.iter().zip(b).map(|(&a, &b)| f64::from(a) - b));
        let limit = row_tolerance(dtype) * size + floor(dtype) * (d as f64).sqrt();
        assert!(error <= limit, "{what}: row {row} is off by {error:.3e}, its norm is {size:.3e} (limit {limit:.3e})");
        let relative = if size == 0.0 { 0.0 } else { error / size };
        worst = worst.max(relative);
        let (a, b) = (f64::from(found.lse[row]), expected.lse[row]);
        let error = if a == b { 0.0 } else { (a - b).abs() };
        assert!(error <= lse_tolerance, "{what}: LSE of row {row} is {a} instead of {b}");
        worst_lse = worst_lse.max(error);
    }
    (worst, worst_lse)
}
