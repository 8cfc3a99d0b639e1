//! Appending a chunk of 256 tokens to the cache: 2 sequences, 4 KV heads of 128 channels.

use lowbit::cache::{
    Batch, KvCacheMut, KvFormat, KvLayout, KvScale, KvShape, KvSide, Rows, nuq_key_table, nuq_value_table,
};
use lowbit::cudarc::driver::CudaSlice;
use lowbit::format::{Codebook, DType};
use lowbit::half::f16;
use lowbit::ops::kv;

use crate::{Bench, Case, Outcome};

const SEQS: usize = 2;
const HEADS: usize = 4;
const DIM: usize = 128;
const TOKENS: usize = 256;
const PAGE: usize = 64;

pub fn run(bench: &Bench) -> Outcome {
    for (kernel, format) in [
        ("append_float_d128", KvFormat::FLOAT),
        ("append_int8_d128", KvFormat::INT8),
        ("append_int8_static_d128", KvFormat::INT8_STATIC),
        ("append_e4m3_d128", KvFormat::E4M3),
        ("append_e5m2_d128", KvFormat::E5M2),
        ("append_int8_e4m3_d128", KvFormat::INT8_E4M3),
        ("append_int8_int4_d128", KvFormat::INT8_INT4),
        ("append_int4_d128", KvFormat::INT4),
        ("append_nvfp4_d128", KvFormat::NVFP4),
        ("append_q8_0_d128", KvFormat::Q8_0),
        ("append_q8_0_q4_0_d128", KvFormat::Q8_0_Q4_0),
        ("append_q4_0_d128", KvFormat::Q4_0),
        ("append_nuq4_d128", KvFormat::nuq4(1)),
        ("append_nuq3_d128", KvFormat::nuq3(1)),
        ("append_kivi4_d128", KvFormat::kivi4(32)),
        ("append_kivi4_g64_d128", KvFormat::kivi4(64).with_token_group(64)),
        ("append_kivi2_d128", KvFormat::kivi2(32)),
        ("append_kivi2_g64_d128", KvFormat::kivi2(64).with_token_group(64)),
        ("append_kivi8_2_d128", KvFormat::kivi8_2(32)),
        ("append_kivi8_2_g64_d128", KvFormat::kivi8_2(64).with_token_group(64)),
    ] {
        append(bench, kernel, format)?;
    }
    Ok(())
}

/// The chunk is the whole sequence and a multiple of the residual, so that every key is coded; formats with a window
/// also store the residual's rows of K and V there.
fn append(bench: &Bench, kernel: &'static str, format: KvFormat) -> Outcome {
    let Bench { kernels, stream } = bench;
    let layout = KvLayout::new(
        KvShape { num_kv_heads: HEADS, head_dim: DIM, page_tokens: PAGE, max_append: 1, dtype: DType::F16 },
        format,
    )?;
    let blocks = TOKENS / PAGE;
    let row = HEADS * DIM;
    let values: Vec<f16> = (0..SEQS * TOKENS * row).map(|i| f16::from_f32((i * 7919 % 2003) as f32 / 1000.0)).collect();
    let k = stream.clone_htod(&values)?;
    let v = stream.clone_htod(&values)?;
    let mut pages = stream.alloc_zeros::<u8>(SEQS * blocks * layout.page_bytes())?;
    let mut state = stream.alloc_zeros::<u8>(16 + SEQS * layout.state_bytes())?;
    let mut status = stream.alloc_zeros::<u32>(1)?;
    let scale = stream.clone_htod(&[1.0f32; HEADS * DIM])?;
    let tables = match format.k.scale {
        KvScale::ChannelRange => Some(tables(row, format.k.code.bits())?.map(|table| stream.clone_htod(&table))),
        _ => None,
    };
    let [k_table, v_table] = match tables {
        Some([k, v]) => [Some(k?), Some(v?)],
        None => [None, None],
    };
    let scale_of = |side: KvSide| match side.scale {
        KvScale::Channel => Some(scale.as_view()),
        of => of.is_per_head().then(|| scale.slice(..1)),
    };
    let seq_lens = stream.clone_htod(&[TOKENS as i32; SEQS])?;
    let cu_q_lens = stream.clone_htod(&[0, TOKENS as i32, 2 * TOKENS as i32])?;
    // Pages in an order that is not that of memory.
    let table: Vec<i32> = (0..(SEQS * blocks) as i32).rev().collect();
    let block_table = stream.clone_htod(&table)?;
    let state_slots = stream.clone_htod(&[1i32, 0])?;
    let batch = Batch {
        seq_lens: seq_lens.as_view(),
        cu_q_lens: cu_q_lens.as_view(),
        block_table: block_table.as_view(),
        max_blocks: blocks,
        state_slots: Some(state_slots.as_view()),
        ring_start: None,
        max_q_len: TOKENS,
        total_q: SEQS * TOKENS,
    };
    let window = if format.has_window() { 2 * 2 * SEQS * layout.residual() * row } else { 0 };
    let bytes = 2 * 2 * values.len() + pages.len() + window;
    let case = Case { kernel, case: "chunk of 256 tokens", bytes, units: 2 * values.len() };
    bench.count(case, || {
        let mut cache = KvCacheMut {
            layout,
            pages: pages.as_view_mut(),
            state: state.slice_mut(16..),
            status: status.as_view_mut(),
            k_scale: k_table.as_ref().map(CudaSlice::as_view).or(scale_of(format.k)),
            v_scale: v_table.as_ref().map(CudaSlice::as_view).or(scale_of(format.v)),
        };
        let rows = |data| Rows { data, stride: row };
        kv::append_prefill(kernels, stream, &batch, &rows(k.as_view()), &rows(v.as_view()), None, &mut cache)
    })?;
    match stream.clone_dtoh(&status)?[0] {
        0 => Ok(()),
        bits => Err(format!("{kernel}: status {bits:#x}").into()),
    }
}

/// Levels, ranges and centres of a format with tables, keys and values; any will do.
pub fn tables(channels: usize, bits: u32) -> Result<[Vec<f32>; 2], lowbit::Error> {
    let count = 1 << bits;
    let levels: Vec<f16> = (0..count).map(|i| f16::from_f32((2 * i + 1 - count) as f32 / count as f32)).collect();
    let book = Codebook::new(&levels)?;
    let keys = nuq_key_table(&book, &vec![f16::ONE; channels], &vec![f16::ZERO; channels])?;
    Ok([keys, nuq_value_table(&book)?])
}
