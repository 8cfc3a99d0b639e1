//! One layer's quantized cache of one sequence: append, attend, in decode order or a few tokens together.

use anyhow::{Result, ensure};
use half::f16;
use lowbit::cache::{Batch, Capacity, KeyRope, KvCacheMut, KvLayout, KvScale, KvSide, Plan, Rows, Status};
use lowbit::cudarc::driver::{CudaSlice, CudaView};
use lowbit::format::rope_table;
use lowbit::ops::{self, attend::Options};

use crate::calibration::Tables;
use crate::device::Device;
use crate::formats::{PAGE_TOKENS, Stored, layout};
use crate::gguf::Config;
use crate::host::Heads;
use crate::interrupt;

/// The cache of one layer, with room for one sequence.
pub struct LayerCache {
    layout: KvLayout,
    plan: Plan,
    heads: usize,
    softmax_scale: f32,
    pages: CudaSlice<u8>,
    state: CudaSlice<u8>,
    status: CudaSlice<u32>,
    /// Scales or tables of keys and values, where the format takes any.
    scales: [Option<CudaSlice<f32>>; 2],
    /// Angles of the keys that are stored before RoPE.
    angles: Option<CudaSlice<f32>>,
    workspace: CudaSlice<u8>,
    /// The page of every block.
    block_table: CudaSlice<i32>,
    /// 1, 2, 3...: the sequence's length after each token.
    lengths: CudaSlice<i32>,
    /// (0, 1), (0, 2)...: prefix sums of one sequence's new tokens.
    new_tokens: CudaSlice<i32>,
    slots: CudaSlice<i32>,
    tokens: usize,
}

impl LayerCache {
    /// A cache for `max_tokens` tokens, of which up to `max_append` come together.
    pub fn new(
        device: &Device,
        config: &Config,
        stored: Stored,
        max_tokens: usize,
        max_append: usize,
    ) -> Result<LayerCache> {
        let stream = &device.stream;
        let layout = layout(config, stored, max_append)?;
        let pages = layout.pages_for(max_tokens);
        let capacity = Capacity { num_seqs: 1, max_q_len: max_append, max_len: pages * PAGE_TOKENS };
        let plan = Plan::new(&device.kernels, &layout, config.heads, capacity)?;
        ops::kv::prepare(&device.kernels, &layout)?;
        // The table in descending order: nothing may rely on neighbouring pages.
        let table: Vec<i32> = (0..pages as i32).rev().collect();
        let new_tokens: Vec<i32> = (1..=max_append as i32).flat_map(|m| [0, m]).collect();
        let unit = |side: KvSide| side.scale.is_per_head().then(|| stream.clone_htod(&[1.0f32])).transpose();
        let angles = |rope: KeyRope| {
            stream.clone_htod(&rope_table(f64::from(config.rope_base), rope.rotary_dim, pages * PAGE_TOKENS))
        };
        Ok(LayerCache {
            heads: config.heads,
            softmax_scale: 1.0 / (config.head_dim as f32).sqrt(),
            pages: stream.alloc_zeros(pages * layout.page_bytes())?,
            state: stream.alloc_zeros(layout.state_bytes().max(1))?,
            status: stream.alloc_zeros(1)?,
            scales: [unit(stored.format.k)?, unit(stored.format.v)?],
            angles: layout.key_rope().map(angles).transpose()?,
            workspace: stream.alloc_zeros(plan.workspace_bytes().max(1))?,
            block_table: stream.clone_htod(&table)?,
            lengths: stream.clone_htod(&(1..=max_tokens as i32).collect::<Vec<_>>())?,
            new_tokens: stream.clone_htod(&new_tokens)?,
            slots: stream.clone_htod(&[0])?,
            tokens: 0,
            plan,
            layout,
        })
    }

    /// Takes a layer's tables, as far as the format has a use for them.
    pub fn calibrate(&mut self, device: &Device, tables: &Tables) -> Result<()> {
        let format = self.layout.format();
        let given = match format.k.scale {
            KvScale::ChannelRange => tables.nuq[format.k.code.bits() as usize - 3].clone(),
            KvScale::HeadBlock(_) => tables.block_scale.map(|scale| vec![scale]),
            _ => return Ok(()),
        };
        for (to, table) in self.scales.iter_mut().zip(given) {
            *to = Some(device.stream.clone_htod(&table)?);
        }
        Ok(())
    }

    /// Appends `rows` tokens and attends from them: `[rows, heads, head_dim]`.
    pub fn extend(&mut self, device: &Device, heads: &Heads, rows: usize) -> Result<Vec<f32>> {
        let keys = if self.angles.is_some() { &heads.k_before_rope } else { &heads.k };
        let (q, k, v) = (device.upload_f16(&heads.q)?, device.upload_f16(keys)?, device.upload_f16(&heads.v)?);
        let mut out = device.stream.alloc_zeros::<f16>(q.len())?;
        self.step(device, (&q.as_view(), &k.as_view(), &v.as_view()), &mut out, 0, rows)?;
        self.check(device)?;
        Ok(widen(&device.stream.clone_dtoh(&out)?))
    }

    /// Empties the cache, then appends and attends token by token: `[tokens, heads, head_dim]`. `done` is called after each.
    pub fn decode(&mut self, device: &Device, heads: &Heads, mut done: impl FnMut()) -> Result<Vec<f32>> {
        self.tokens = 0;
        let keys = if self.angles.is_some() { &heads.k_before_rope } else { &heads.k };
        let (q, k, v) = (device.upload_f16(&heads.q)?, device.upload_f16(keys)?, device.upload_f16(&heads.v)?);
        let mut out = device.stream.alloc_zeros::<f16>(q.len())?;
        let shape = self.layout.shape();
        let (row, kv_row) = (self.heads * shape.head_dim, shape.num_kv_heads * shape.head_dim);
        for token in 0..q.len() / row {
            interrupt::check()?;
            let views = (
                &q.slice(token * row..(token + 1) * row),
                &k.slice(token * kv_row..(token + 1) * kv_row),
                &v.slice(token * kv_row..(token + 1) * kv_row),
            );
            self.step(device, views, &mut out, token * row, 1)?;
            done();
        }
        self.check(device)?;
        Ok(widen(&device.stream.clone_dtoh(&out)?))
    }

    fn step(
        &mut self,
        device: &Device,
        (q, k, v): (&CudaView<'_, f16>, &CudaView<'_, f16>, &CudaView<'_, f16>),
        out: &mut CudaSlice<f16>,
        out_at: usize,
        rows: usize,
    ) -> Result<()> {
        let shape = *self.layout.shape();
        let (row, kv_row) = (self.heads * shape.head_dim, shape.num_kv_heads * shape.head_dim);
        let end = self.tokens + rows;
        ensure!(end <= self.lengths.len(), "the cache holds {} tokens", self.lengths.len());
        let [k_scale, v_scale] = &self.scales;
        let batch = Batch {
            seq_lens: self.lengths.slice(end - 1..end),
            cu_q_lens: self.new_tokens.slice(2 * (rows - 1)..2 * rows),
            block_table: self.block_table.as_view(),
            max_blocks: self.block_table.len(),
            state_slots: Some(self.slots.as_view()),
            ring_start: None,
            max_q_len: rows,
            total_q: rows,
        };
        let mut cache = KvCacheMut {
            layout: self.layout,
            pages: self.pages.as_view_mut(),
            state: self.state.slice_mut(..self.layout.state_bytes()),
            status: self.status.as_view_mut(),
            k_scale: k_scale.as_ref().map(CudaSlice::as_view),
            v_scale: v_scale.as_ref().map(CudaSlice::as_view),
        };
        let (k, v) = (Rows { data: k.slice(..), stride: kv_row }, Rows { data: v.slice(..), stride: kv_row });
        let q = Rows { data: q.slice(..), stride: row };
        ops::kv::append(&device.kernels, &device.stream, &batch, &k, &v, None, &mut cache)?;
        let mut out = out.slice_mut(out_at..out_at + rows * row);
        let mut workspace = self.workspace.slice_mut(..self.plan.workspace_bytes());
        ops::attend::attend(
            &device.kernels,
            &device.stream,
            &self.plan,
            &batch,
            &q,
            &mut cache.as_ref(),
            &Options { rope: self.angles.as_ref().map(CudaSlice::as_view), ..Options::new(self.softmax_scale) },
            &mut out,
            None,
            &mut workspace,
        )?;
        self.tokens = end;
        Ok(())
    }

    /// What only the device sees must not have happened.
    fn check(&self, device: &Device) -> Result<()> {
        let status = Status(device.stream.clone_dtoh(&self.status)?[0]);
        ensure!(status == Status::OK, "the cache's status word says {status}");
        Ok(())
    }
}

fn widen(x: &[f16]) -> Vec<f32> {
    x.iter().map(|v| v.to_f32()).collect()
}
