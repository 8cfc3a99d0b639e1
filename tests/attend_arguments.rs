//! What `attend` and `merge_states` refuse, in which words; and merging against its definition.
#![cfg(kernels_built)]

mod attend_device;
mod kv_world;

use attend_device::{DeviceWorld, Gpu};
use half::{bf16, f16};
use kv_world::World;
use lowbit::cache::{Batch, Capacity, KvCacheRef, KvFormat, KvLayout, KvShape, Plan, Rows};
use lowbit::format::{DType, Element};
use lowbit::ops::attend::{Options, attend, merge_states};

const HEADS: usize = 4;
const D: usize = 64;

fn layout(format: KvFormat) -> KvLayout {
    let shape = KvShape { num_kv_heads: 2, head_dim: D, page_tokens: 32, max_append: 2, dtype: DType::F16 };
    KvLayout::new(shape, format).unwrap()
}

/// What a case changes.
struct Call<'a> {
    batch: Batch<'a>,
    cache: KvCacheRef<'a>,
    stride: usize,
    options: Options<'a>,
    q: usize,
    out: usize,
    lse: usize,
    workspace: usize,
}

#[test]
fn wrong_arguments_are_named_and_nothing_is_written() {
    type Change = fn(&mut Call<'_>);
    let cases: &[(Change, &str)] = &[
        (|c| c.stride = 255, "`q.stride`: expected a multiple of 8 from 256 to 2147483647, found 255"),
        (|c| c.stride = 260, "`q.stride`: expected a multiple of 8 from 256 to 2147483647, found 260"),
        (|c| c.q -= 1, "`q.data`: expected at least 512 elements, found 511"),
        (|c| c.out -= 1, "`out`: expected at least 512 elements, found 511"),
        (|c| c.lse -= 1, "`lse`: expected at least 8 elements, found 7"),
        (|c| c.workspace -= 1, "`workspace`: expected at least 8320 bytes, found 8319"),
        (|c| c.batch.total_q = 5, "`batch.total_q`: expected at most 4 (the plan's capacity), found 5"),
        (|c| c.batch.max_q_len = 3, "`batch.max_q_len`: expected at most 2 (the plan's capacity), found 3"),
        (|c| c.options.softmax_scale = f32::NAN, "`options.softmax_scale`: expected a finite number, found NaN"),
        (|c| c.options.window = Some(0), "`options.window`: expected 1..=1073741824, found 0"),
        (|c| c.options.soft_cap = Some(0.0), "`options.soft_cap`: expected a finite number above 0, found 0"),
        (
            |c| c.options.soft_cap = Some(f32::INFINITY),
            "`options.soft_cap`: expected a finite number above 0, found inf",
        ),
        (
            |c| c.options.alibi_slopes = c.cache.k_scale.take(),
            "`options.alibi_slopes`: expected 4 elements, one per head, found 2",
        ),
        (
            |c| c.options.sink_logits = c.cache.v_scale.take(),
            "`options.sink_logits`: expected 4 elements, one per head, found 2",
        ),
        (|c| c.batch.max_blocks = 0, "`batch.max_blocks`: expected 1..=67108863, found 0"),
        (|c| c.batch.max_blocks = 7, "`batch.block_table`: expected 14 elements, found 32"),
        (|c| c.cache.k_scale = c.cache.v_scale.take(), "`cache.v_scale`: expected 1 or 2 elements, found none"),
    ];
    let gpu = Gpu::new();
    let stream = &gpu.stream;
    let mut world = World::new(layout(KvFormat::E4M3), 2, 512, 1);
    let step = world.step(&[1, 1]);
    world.append(&step, &vec![f16::ONE; 2 * 128], &vec![f16::ONE; 2 * 128], false);
    let plan =
        Plan::new(&gpu.kernels, &world.layout, HEADS, Capacity { num_seqs: 2, max_q_len: 2, max_len: 512 }).unwrap();
    assert_eq!(plan.workspace_bytes(), 4 * HEADS * 2 * (D + 1) * 4);
    let q = stream.clone_htod(&[f16::ONE; 512]).unwrap();
    let mut status = stream.clone_htod(&[0u32]).unwrap();
    let mut out = stream.clone_htod(&[f16::from_f32(3.0); 512]).unwrap();
    let mut lse = stream.clone_htod(&[3.0f32; 8]).unwrap();
    let mut workspace = stream.alloc_zeros::<u8>(plan.workspace_bytes()).unwrap();
    let buffers = DeviceWorld::new(stream, &world, &step);
    for (change, expected) in cases {
        let mut call = Call {
            batch: buffers.batch(&world, &step),
            cache: buffers.cache(&world, &mut status),
            stride: 256,
            options: Options::new(0.125),
            q: 512,
            out: 512,
            lse: 8,
            workspace: plan.workspace_bytes(),
        };
        change(&mut call);
        let error = attend(
            &gpu.kernels,
            stream,
            &plan,
            &call.batch,
            &Rows { data: q.slice(..call.q), stride: call.stride },
            &mut call.cache,
            &call.options,
            &mut out.slice_mut(..call.out),
            Some(&mut lse.slice_mut(..call.lse)),
            &mut workspace.slice_mut(..call.workspace),
        )
        .unwrap_err();
        assert_eq!(error.to_string(), format!("attend: {expected}"));
    }
    assert!(stream.clone_dtoh(&out).unwrap().iter().all(|x| x.to_f32() == 3.0));
    assert!(stream.clone_dtoh(&lse).unwrap().iter().all(|&x| x == 3.0));
}

#[test]
fn another_layout_or_dtype_than_the_plans_is_refused() {
    let gpu = Gpu::new();
    let stream = &gpu.stream;
    let world = World::new(layout(KvFormat::INT8), 1, 64, 1);
    let capacity = Capacity { num_seqs: 1, max_q_len: 1, max_len: 64 };
    let plan = Plan::new(&gpu.kernels, &layout(KvFormat::FLOAT), HEADS, capacity).unwrap();
    let own = Plan::new(&gpu.kernels, &world.layout, HEADS, capacity).unwrap();
    let step = world.step(&[1]);
    let buffers = DeviceWorld::new(stream, &world, &step);
    let mut status = stream.clone_htod(&[0u32]).unwrap();
    let q = stream.clone_htod(&[bf16::ONE; 256]).unwrap();
    let mut out = stream.clone_htod(&[bf16::ONE; 256]).unwrap();
    let mut workspace = stream.alloc_zeros::<u8>(16).unwrap();
    for (plan, expected) in [
        (&plan, "attend: `cache.layout`: expected the plan's (KvLayout {"),
        (&own, "attend: `q, out`: expected f16 (the layout's dtype), found bf16"),
    ] {
        let error = attend(
            &gpu.kernels,
            stream,
            plan,
            &buffers.batch(&world, &step),
            &Rows { data: q.as_view(), stride: 256 },
            &mut buffers.cache(&world, &mut status),
            &Options::new(1.0),
            &mut out.as_view_mut(),
            None,
            &mut workspace.as_view_mut(),
        )
        .unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

fn merged<T: Element>(parts: usize, rows: usize, d: usize, data: &[f32], part_lse: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let gpu = Gpu::new();
    let stream = &gpu.stream;
    let typed: Vec<T> = data.iter().map(|&x| T::from_f32(x)).collect();
    let parts_out = stream.clone_htod(&typed).unwrap();
    let parts_lse = stream.clone_htod(part_lse).unwrap();
    let mut out = stream.alloc_zeros::<T>(rows * d).unwrap();
    let mut lse = stream.alloc_zeros::<f32>(rows).unwrap();
    merge_states(
        &gpu.kernels,
        stream,
        parts,
        d,
        &parts_out.as_view(),
        &parts_lse.as_view(),
        &mut out.as_view_mut(),
        Some(&mut lse.as_view_mut()),
    )
    .unwrap();
    let out = stream.clone_dtoh(&out).unwrap();
    (out.into_iter().map(T::to_f32).collect(), stream.clone_dtoh(&lse).unwrap())
}

fn merge_matches<T: Element>(tolerance: f64) {
    let (parts, rows, d) = (5, 7, 96);
    let mut data: Vec<f32> = (0..parts * rows * d).map(|i| ((i * 7919) % 1009) as f32 / 256.0 - 2.0).collect();
    let mut lse: Vec<f32> = (0..parts * rows).map(|i| ((i * 31) % 17) as f32 * 3.0 - 20.0).collect();
    // Row 2: one part saw nothing, and its output is not to be read; row 4: no part saw anything; row 5: far apart.
    lse[rows + 2] = f32::NEG_INFINITY;
    data[(rows + 2) * d..(rows + 3) * d].fill(f32::NAN);
    for part in 0..parts {
        lse[part * rows + 4] = f32::NEG_INFINITY;
        data[(part * rows + 4) * d..(part * rows + 5) * d].fill(f32::NAN);
        lse[part * rows + 5] = 1000.0 * part as f32;
    }
    let (out, found) = merged::<T>(parts, rows, d, &data, &lse);
    for row in 0..rows {
        let of = |part: usize| f64::from(lse[part * rows + row]);
        let top = (0..parts).map(of).fold(f64::NEG_INFINITY, f64::max);
        if top == f64::NEG_INFINITY {
            assert_eq!(found[row], f32::NEG_INFINITY);
            assert!(out[row * d..(row + 1) * d].iter().all(|&x| x == 0.0));
            continue;
        }
        let total: f64 = (0..parts).map(|p| (of(p) - top).exp()).sum();
        assert!((f64::from(found[row]) - (top + total.ln())).abs() <= 1e-4, "LSE of row {row}");
        for channel in 0..d {
            let mut sum = 0.0;
            for part in (0..parts).filter(|&p| of(p) > f64::NEG_INFINITY) {
                let x = T::from_f32(data[(part * rows + row) * d + channel]).to_f32();
                sum += (of(part) - top).exp() / total * f64::from(x);
            }
            let found = f64::from(out[row * d + channel]);
            assert!((found - sum).abs() <= tolerance * 2.0, "row {row} channel {channel}: {found} instead of {sum}");
        }
    }
}

/// Values are at most 2: half an ulp of storing, and the approximate exponential of f32.
#[test]
fn merging_is_its_definition() {
    merge_matches::<f32>(1e-6);
    merge_matches::<f16>(2f64.powi(-11) + 1e-6);
    merge_matches::<bf16>(2f64.powi(-8));
}

#[test]
fn merging_refuses_wrong_lengths() {
    let gpu = Gpu::new();
    let stream = &gpu.stream;
    let data = stream.alloc_zeros::<f32>(2 * 3 * 64).unwrap();
    let mut out = stream.alloc_zeros::<f32>(3 * 64).unwrap();
    let lse = stream.alloc_zeros::<f32>(6).unwrap();
    let mut case = |parts, d, n: usize, lses: usize, expected: &str| {
        let (data, lse) = (data.slice(..n), lse.slice(..lses));
        let error =
            merge_states(&gpu.kernels, stream, parts, d, &data, &lse, &mut out.as_view_mut(), None).unwrap_err();
        assert_eq!(error.to_string(), format!("merge_states: {expected}"));
    };
    case(2, 48, 384, 6, "`head_dim`: expected a positive multiple of 32, found 48");
    case(0, 64, 384, 6, "`parts`: expected 1..=2147483647, found 0");
    case(2, 128, 384, 6, "`out`: expected a multiple of 128 elements, fewer than 2^33 rows, found 192");
    case(2, 64, 383, 6, "`parts_out`: expected 384 elements, found 383");
    case(2, 64, 384, 5, "`parts_lse`: expected 6 elements, found 5");
}
