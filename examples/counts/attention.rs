//! Decode attention of one sequence of 4096 tokens: 2 KV heads of 128 channels, 1 and 8 query heads for each.

use lowbit::cache::{Batch, Capacity, KeyRope, KvCacheRef, KvFormat, KvLayout, KvScale, KvShape, KvSide, Plan, Rows};
use lowbit::cudarc::driver::CudaSlice;
use lowbit::format::{DType, RopeStyle, rope_table};
use lowbit::half::f16;
use lowbit::ops::attend::{Options, attend};

use crate::kv::tables;
use crate::{Bench, Case, Outcome};

const KV_HEADS: usize = 2;
const DIM: usize = 128;
const TOKENS: usize = 4096;
const CHUNKS: usize = 16;
const PAGE: usize = 64;

pub fn run(bench: &Bench) -> Outcome {
    for (kernel, format) in [
        ("attend_f16_d128", KvFormat::FLOAT),
        ("attend_int8_d128", KvFormat::INT8),
        ("attend_int8_static_d128", KvFormat::INT8_STATIC),
        ("attend_e4m3_d128", KvFormat::E4M3),
        ("attend_e5m2_d128", KvFormat::E5M2),
        ("attend_int8_e4m3_d128", KvFormat::INT8_E4M3),
        ("attend_int8_int4_d128", KvFormat::INT8_INT4),
        ("attend_int4_d128", KvFormat::INT4),
        ("attend_nvfp4_d128", KvFormat::NVFP4),
        ("attend_q8_0_d128", KvFormat::Q8_0),
        ("attend_q8_0_q4_0_d128", KvFormat::Q8_0_Q4_0),
        ("attend_q4_0_d128", KvFormat::Q4_0),
        ("attend_nuq4_d128", KvFormat::nuq4(1)),
        ("attend_nuq3_d128", KvFormat::nuq3(1)),
        ("attend_kivi4_d128", KvFormat::kivi4(32)),
        ("attend_kivi4_g64_d128", KvFormat::kivi4(64).with_token_group(64)),
        ("attend_kivi2_d128", KvFormat::kivi2(32)),
        ("attend_kivi2_g64_d128", KvFormat::kivi2(64).with_token_group(64)),
        ("attend_kivi8_2_d128", KvFormat::kivi8_2(32)),
        ("attend_kivi8_2_g64_d128", KvFormat::kivi8_2(64).with_token_group(64)),
    ] {
        decode(bench, kernel, "decode, 1 query head", format, 1)?;
        decode(bench, kernel, "decode, 8 query heads", format, 8)?;
    }
    Ok(())
}

fn decode(bench: &Bench, kernel: &'static str, case: &'static str, format: KvFormat, group: usize) -> Outcome {
    let Bench { kernels, stream } = bench;
    let mut layout = KvLayout::new(
        KvShape { num_kv_heads: KV_HEADS, head_dim: DIM, page_tokens: PAGE, max_append: 1, dtype: DType::F16 },
        format,
    )?;
    let has_tables = format.k.scale == KvScale::ChannelRange;
    if has_tables {
        layout = layout.pre_rope(KeyRope { style: RopeStyle::HalfSplit, rotary_dim: DIM })?;
    }
    let heads = group * KV_HEADS;
    let capacity = Capacity { num_seqs: 1, max_q_len: 1, max_len: TOKENS };
    let plan = Plan::new(kernels, &layout, heads, capacity)?;
    let blocks = TOKENS / PAGE;
    let pages = stream.alloc_zeros::<u8>(blocks * layout.page_bytes())?;
    let state = stream.alloc_zeros::<u8>(16 + layout.state_bytes())?;
    let mut status = stream.alloc_zeros::<u32>(1)?;
    let scale = stream.clone_htod(&[1.0f32; KV_HEADS * DIM])?;
    let [k_table, v_table] = match has_tables {
        true => tables(KV_HEADS * DIM, format.k.code.bits())?.map(Some),
        false => [None, None],
    };
    let [k_table, v_table, angles] = [k_table, v_table, has_tables.then(|| rope_table(1e4, DIM, TOKENS))]
        .map(|table| table.map(|table| stream.clone_htod(&table)).transpose());
    let (k_table, v_table, angles) = (k_table?, v_table?, angles?);
    let scale_of = |side: KvSide| match side.scale {
        KvScale::Channel => Some(scale.as_view()),
        of => of.is_per_head().then(|| scale.slice(..1)),
    };
    let seq_lens = stream.clone_htod(&[TOKENS as i32])?;
    let cu_q_lens = stream.clone_htod(&[0, 1])?;
    // Pages in an order that is not that of memory.
    let table: Vec<i32> = (0..blocks as i32).rev().collect();
    let block_table = stream.clone_htod(&table)?;
    let state_slots = stream.clone_htod(&[0i32])?;
    let batch = Batch {
        seq_lens: seq_lens.as_view(),
        cu_q_lens: cu_q_lens.as_view(),
        block_table: block_table.as_view(),
        max_blocks: blocks,
        state_slots: Some(state_slots.as_view()),
        ring_start: None,
        max_q_len: 1,
        total_q: 1,
    };
    let q = stream.clone_htod(&vec![f16::from_f32(0.25); heads * DIM])?;
    let mut out = stream.alloc_zeros::<f16>(heads * DIM)?;
    let mut workspace = stream.alloc_zeros::<u8>(16 + plan.workspace_bytes())?;

    let kv = kv_bytes(&layout);
    // Every chunk reads the queries, which come from cache but for the first, and writes its part of the result.
    let around = CHUNKS * heads * DIM * 2 + CHUNKS * heads * (DIM + 1) * 4 + 4 * blocks;
    // Angles of every 16th position, for each head; of the first 16, ranges and levels for each chunk.
    let angles_and_tables = TOKENS / 16 * DIM * 4 + CHUNKS * (16 * DIM * 4 + 2 * DIM * 4 + 2 * 64);
    let around = around + if has_tables { KV_HEADS * angles_and_tables } else { 0 };
    bench.count(Case { kernel, case, bytes: kv + around, units: kv }, || {
        let mut cache = KvCacheRef {
            layout,
            pages: pages.as_view(),
            state: state.slice(16..),
            status: status.as_view_mut(),
            k_scale: k_table.as_ref().map(CudaSlice::as_view).or(scale_of(format.k)),
            v_scale: v_table.as_ref().map(CudaSlice::as_view).or(scale_of(format.v)),
        };
        let rows = Rows { data: q.as_view(), stride: heads * DIM };
        let options = Options { rope: angles.as_ref().map(CudaSlice::as_view), ..Options::new(0.088) };
        let (out, workspace) = (&mut out.as_view_mut(), &mut workspace.as_view_mut());
        attend(kernels, stream, &plan, &batch, &rows, &mut cache, &options, out, None, workspace)
    })?;
    match stream.clone_dtoh(&status)?[0] {
        0 => Ok(()),
        bits => Err(format!("{kernel}: status {bits:#x}").into()),
    }
}

/// Bytes of keys and values that the window rule selects: codes and scales, and rows of the window.
fn kv_bytes(layout: &KvLayout) -> usize {
    if !layout.format().has_window() {
        return TOKENS * layout.bytes_per_token();
    }
    let (before, residual, tile) = (TOKENS - 1, layout.residual(), layout.tile());
    let coded_keys = before / residual * residual;
    let coded_values = before - residual;
    let row = KV_HEADS * DIM * 2;
    let [key, value] = [tile.k_codes.bytes + tile.k_meta.bytes, tile.v_codes.bytes + tile.v_meta.bytes];
    let coded = KV_HEADS * (coded_keys * key + coded_values * value) / tile.tokens;
    coded + (2 * TOKENS - coded_keys - coded_values) * row
}
