//! A cache of equal sequences, on the host and on the device: what appending and attention are measured on.

use lowbit::cache::{Batch, KvCacheMut, KvFormat, KvLayout, KvShape, Status};
use lowbit::cudarc::driver::{CudaSlice, CudaView};
use lowbit::format::DType;
use lowbit::half::f16;
use lowbit::reference::attend::CacheRef;
use lowbit::reference::kv;

use crate::data::numbers;
use crate::device::{Device, Outcome};

/// The head dimension, and the KV heads, of everything measured.
pub const DIM: usize = 128;
pub const KV_HEADS: usize = 8;
/// Elements of a token's keys, or values.
pub const ROW: usize = KV_HEADS * DIM;

/// What is measured, by short names.
pub const FORMATS: [(&str, KvFormat); 9] = [
    ("f16", KvFormat::FLOAT),
    ("int8", KvFormat::INT8),
    ("e4m3", KvFormat::E4M3),
    ("int4", KvFormat::INT4),
    ("kivi4", KvFormat::kivi4(32)),
    ("kivi2", KvFormat::kivi2(32)),
    ("q8_0", KvFormat::Q8_0),
    ("q4_0", KvFormat::Q4_0),
    ("nvfp4", KvFormat::NVFP4),
];

pub fn layout(format: KvFormat) -> KvLayout {
    let shape = KvShape { num_kv_heads: KV_HEADS, head_dim: DIM, page_tokens: 64, max_append: 1, dtype: DType::F16 };
    KvLayout::new(shape, format).expect("a format with kernels")
}

/// Sequences of a cache, and how long each is after `new` tokens.
#[derive(Clone)]
pub struct Host {
    pub layout: KvLayout,
    pub sequences: usize,
    pub new: usize,
    pub pages: Vec<u8>,
    pub state: Vec<u8>,
    table: Vec<i32>,
    slots: Vec<i32>,
    seq_lens: Vec<i32>,
    cu_q_lens: Vec<i32>,
    scale: Option<Vec<f32>>,
}

impl Host {
    /// Zeros, where `tokens` include `new` ones.
    pub fn zeroed(layout: KvLayout, sequences: usize, tokens: usize, new: usize) -> Host {
        let blocks = layout.pages_for(tokens);
        let per_head = layout.format().k.scale.is_per_head();
        Host {
            layout,
            sequences,
            new,
            pages: vec![0; sequences * blocks * layout.page_bytes()],
            state: vec![0; sequences * layout.state_bytes()],
            // In descending order: nothing may rely on neighbouring pages.
            table: (0..(sequences * blocks) as i32).rev().collect(),
            slots: (0..sequences as i32).collect(),
            seq_lens: vec![tokens as i32; sequences],
            cu_q_lens: (0..=sequences).map(|s| (s * new) as i32).collect(),
            scale: per_head.then(|| vec![0.05]),
        }
    }

    /// One sequence of `tokens`, the last of them new.
    pub fn filled(layout: KvLayout, tokens: usize) -> Host {
        let mut prompt = Host::zeroed(layout, 1, tokens, tokens);
        let (k, v) = (numbers(tokens * ROW, 7), numbers(tokens * ROW, 8));
        prompt.append(&k, &v, true);
        Host { new: 1, cu_q_lens: vec![0, 1], ..prompt }
    }

    /// The same sequence so many times, each on pages and in a slot of its own.
    pub fn repeated(&self, sequences: usize) -> Host {
        let tokens = self.seq_lens[0] as usize;
        let (pages, state) = (self.pages.repeat(sequences), self.state.repeat(sequences));
        let blocks = self.table.len() as i32;
        let table = (0..sequences as i32).flat_map(|s| self.table.iter().map(move |page| s * blocks + page)).collect();
        Host { pages, state, table, ..Host::zeroed(self.layout, sequences, tokens, self.new) }
    }

    /// Appends the new tokens by the reference.
    pub fn append(&mut self, k: &[f16], v: &[f16], prefill: bool) {
        let Host { pages, state, .. } = self;
        let (mut pages, mut state) = (std::mem::take(pages), std::mem::take(state));
        let mut status = Status::OK;
        let mut cache = kv::CacheMut {
            layout: self.layout,
            pages: &mut pages,
            state: &mut state,
            status: &mut status,
            k_scale: self.scale.as_deref(),
            v_scale: self.scale.as_deref(),
        };
        let rows = |data| kv::Rows { data, stride: ROW };
        let append = if prefill { kv::append_prefill } else { kv::append };
        append(&mut cache, &self.batch(), rows(k), rows(v), None).expect("a valid batch");
        assert_eq!(status, Status::OK);
        (self.pages, self.state) = (pages, state);
    }

    pub fn cache(&self) -> CacheRef<'_> {
        CacheRef {
            layout: self.layout,
            pages: &self.pages,
            state: &self.state,
            k_scale: self.scale.as_deref(),
            v_scale: self.scale.as_deref(),
        }
    }

    pub fn batch(&self) -> kv::Batch<'_> {
        kv::Batch {
            seq_lens: &self.seq_lens,
            cu_q_lens: &self.cu_q_lens,
            block_table: &self.table,
            max_blocks: self.table.len() / self.sequences,
            state_slots: self.layout.format().has_window().then_some(&self.slots),
            ring_start: None,
            max_q_len: self.new,
            total_q: self.sequences * self.new,
        }
    }
}

/// The same on the device, pages in several copies.
pub struct OnDevice {
    layout: KvLayout,
    sequences: usize,
    new: usize,
    pub pages: Vec<CudaSlice<u8>>,
    /// One unused byte in formats without a window: no allocation is empty.
    pub state: CudaSlice<u8>,
    pub status: CudaSlice<u32>,
    scale: CudaSlice<f32>,
    table: CudaSlice<i32>,
    slots: CudaSlice<i32>,
    seq_lens: CudaSlice<i32>,
    cu_q_lens: CudaSlice<i32>,
}

impl OnDevice {
    pub fn new(host: &Host, device: &Device, copies: usize) -> Outcome<OnDevice> {
        let stream = &device.stream;
        Ok(OnDevice {
            layout: host.layout,
            sequences: host.sequences,
            new: host.new,
            pages: (0..copies).map(|_| stream.clone_htod(&host.pages)).collect::<Result<_, _>>()?,
            state: stream.clone_htod(if host.state.is_empty() { &[0][..] } else { &host.state })?,
            status: stream.alloc_zeros(1)?,
            scale: stream.clone_htod(host.scale.as_deref().unwrap_or(&[1.0]))?,
            table: stream.clone_htod(&host.table)?,
            slots: stream.clone_htod(&host.slots)?,
            seq_lens: stream.clone_htod(&host.seq_lens)?,
            cu_q_lens: stream.clone_htod(&host.cu_q_lens)?,
        })
    }

    /// The batch and the cache of a call on copy `copy`.
    pub fn views(&mut self, copy: usize) -> (Batch<'_>, KvCacheMut<'_>) {
        let batch = Batch {
            seq_lens: self.seq_lens.as_view(),
            cu_q_lens: self.cu_q_lens.as_view(),
            block_table: self.table.as_view(),
            max_blocks: self.table.len() / self.sequences,
            state_slots: self.layout.format().has_window().then(|| self.slots.as_view()),
            ring_start: None,
            max_q_len: self.new,
            total_q: self.sequences * self.new,
        };
        let per_head = self.layout.format().k.scale.is_per_head();
        let scale = || -> Option<CudaView<'_, f32>> { per_head.then(|| self.scale.as_view()) };
        let cache = KvCacheMut {
            layout: self.layout,
            pages: self.pages[copy].as_view_mut(),
            state: self.state.slice_mut(..self.sequences * self.layout.state_bytes()),
            status: self.status.as_view_mut(),
            k_scale: scale(),
            v_scale: scale(),
        };
        (batch, cache)
    }

    /// What only the device sees must not have happened.
    pub fn check_status(&self, device: &Device) -> Outcome<()> {
        let status = Status(device.stream.clone_dtoh(&self.status)?[0]);
        if status == Status::OK { Ok(()) } else { Err(format!("the cache's status word says {status}").into()) }
    }
}
