//! What must not change a bit: the batch around a row, the plan's capacity, the other query heads, the order in which the
//! device runs blocks and warps, a graph that is replayed, the way E4M3 is decoded.
#![cfg(kernels_built)]

mod attend_device;
mod kv_world;

use attend_device::{DeviceWorld, Found, Gpu};
use half::f16;
use kv_world::{Step, World, noise};
use lowbit::cache::{Capacity, KvFormat, KvLayout, KvShape, Plan, Rows, Status};
use lowbit::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use lowbit::format::DType;
use lowbit::ops;
use lowbit::reference::attend::Options;
use nvcuda::client::{self, Schedule};

const FORMATS: [KvFormat; 4] = [KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::kivi4(32)];
const D: usize = 64;
const KV_HEADS: usize = 2;

fn layout(format: KvFormat) -> KvLayout {
    let shape = KvShape { num_kv_heads: KV_HEADS, head_dim: D, page_tokens: 32, max_append: 3, dtype: DType::F16 };
    KvLayout::new(shape, format).unwrap()
}

/// A cache of sequences with `lens[i].0` tokens, the last `lens[i].1` of them new.
fn filled(format: KvFormat, lens: &[(usize, usize)]) -> (World, Step) {
    let most = lens.iter().map(|l| l.0).max().unwrap();
    let mut world = World::new(layout(format), lens.len(), most, 21);
    let old: Vec<usize> = lens.iter().map(|(n, m)| n - m).collect();
    let new: Vec<usize> = lens.iter().map(|l| l.1).collect();
    let step = world.step(&old);
    let row = world.row();
    world.append(&step, &noise(step.total_q * row, 1), &noise(step.total_q * row, 2), true);
    let step = world.step(&new);
    world.append(&step, &noise(step.total_q * row, 3), &noise(step.total_q * row, 4), false);
    (world, step)
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn assert_same(what: &str, a: &Found, b: &Found) {
    assert_eq!(bits(&a.out), bits(&b.out), "{what}: out");
    assert_eq!(bits(&a.lse), bits(&b.lse), "{what}: LSE");
    assert_eq!(a.status, b.status, "{what}");
}

const OPTIONS: Options<'static> = Options::new(0.05);
const LENS: [(usize, usize); 5] = [(700, 1), (33, 2), (257, 1), (1, 1), (300, 3)];

#[test]
fn a_row_does_not_depend_on_its_batch_or_the_capacity() {
    let gpu = Gpu::new();
    for format in FORMATS {
        let (world, step) = filled(format, &LENS);
        let heads = 3 * KV_HEADS;
        let q = noise(step.total_q * heads * D, 5);
        let together = gpu.attend(&world, &step, &q, heads, &OPTIONS);
        for (max_len, max_q_len) in [(700, 3), (5000, 3), (20_000, 3)] {
            let capacity = Capacity { num_seqs: 9, max_q_len, max_len };
            let found = gpu.attend_within(&world, &step, &q, heads, &OPTIONS, capacity);
            assert_same(&format!("{format}, capacity {capacity:?}"), &together, &found);
        }
        for (i, &(_, m)) in LENS.iter().enumerate() {
            let blocks = world.max_blocks;
            let alone = World {
                table: world.table[i * blocks..(i + 1) * blocks].to_vec(),
                slots: vec![world.slots[i]],
                lens: vec![world.lens[i]],
                ..world.clone()
            };
            let own = Step { seq_lens: vec![step.seq_lens[i]], cu_q_lens: vec![0, m as i32], max_q_len: m, total_q: m };
            let rows = step.cu_q_lens[i] as usize..step.cu_q_lens[i + 1] as usize;
            let width = heads * D;
            let found = gpu.attend(&alone, &own, &q[rows.start * width..rows.end * width], heads, &OPTIONS);
            let expected = Found {
                out: together.out[rows.start * width..rows.end * width].to_vec(),
                lse: together.lse[rows.start * heads..rows.end * heads].to_vec(),
                status: Status::OK,
            };
            assert_same(&format!("{format}, sequence {i} alone"), &expected, &found);
        }
    }
}

/// Eight query heads of a KV head, three of them, or one: the same row.
#[test]
fn a_row_does_not_depend_on_the_other_columns() {
    let gpu = Gpu::new();
    for format in FORMATS {
        let (world, step) = filled(format, &LENS);
        let (group, rows) = (11, step.total_q);
        let q = noise(rows * group * KV_HEADS * D, 6);
        let all = gpu.attend(&world, &step, &q, group * KV_HEADS, &OPTIONS);
        for part in [1, 3] {
            // The first `part` query heads of each KV head.
            let pick = |width: usize, data: &dyn Fn(usize) -> f32| -> Vec<f32> {
                let mut picked = Vec::new();
                for (row, kv) in (0..rows).flat_map(|row| (0..KV_HEADS).map(move |kv| (row, kv))) {
                    let start = ((row * KV_HEADS + kv) * group) * width;
                    picked.extend((start..start + part * width).map(data));
                }
                picked
            };
            let some: Vec<f16> = pick(D, &|i| q[i].to_f32()).into_iter().map(f16::from_f32).collect();
            let found = gpu.attend(&world, &step, &some, part * KV_HEADS, &OPTIONS);
            let expected = Found { out: pick(D, &|i| all.out[i]), lse: pick(1, &|i| all.lse[i]), status: all.status };
            assert_same(&format!("{format}, {part} of {group} heads"), &expected, &found);
        }
    }
}

#[test]
fn the_schedule_does_not_matter() {
    let gpu = Gpu::new();
    for format in FORMATS {
        let (world, step) = filled(format, &[(300, 1), (520, 2)]);
        let heads = 4 * KV_HEADS;
        let q = noise(step.total_q * heads * D, 7);
        let plain = gpu.attend(&world, &step, &q, heads, &OPTIONS);
        for seed in [1, 2] {
            let change = |m: &mut client::Modes| (m.schedule, m.seed) = (Schedule::Adversarial, seed);
            let found = client::with_modes(change, || gpu.attend(&world, &step, &q, heads, &OPTIONS));
            assert_same(&format!("{format}, adversarial schedule {seed}"), &plain, &found);
        }
    }
}

/// E4M3 by moving bits (compute_80) and by the conversion instruction (compute_89): scaled by a power of two, so the same.
#[test]
fn both_images_give_the_same_bits() {
    let (world, step) = filled(KvFormat::E4M3, &[(300, 1), (40, 2)]);
    let heads = 3 * KV_HEADS;
    let q = noise(step.total_q * heads * D, 8);
    let results = ["sm_80", "sm_89", "sm_90"].map(|model| {
        client::set_model(model);
        Gpu::new().attend(&world, &step, &q, heads, &OPTIONS)
    });
    client::reset_modes();
    assert_same("sm_80 and sm_89", &results[0], &results[1]);
    assert_same("sm_89 and sm_90", &results[1], &results[2]);
}

/// One graph, captured once, replayed while the sequences grow over page, window and chunk edges.
#[test]
fn a_graph_is_replayed_with_growing_lengths() {
    let (context, kernels) = lowbit::testing::device();
    // SAFETY: this test orders its work on one stream itself.
    unsafe { context.disable_event_tracking() };
    let gpu = Gpu { stream: context.new_stream().unwrap(), kernels };
    let stream = &gpu.stream;
    for format in FORMATS {
        let heads = 2 * KV_HEADS;
        let capacity = Capacity { num_seqs: 2, max_q_len: 1, max_len: 544 };
        let mut world = World::new(layout(format), 2, 544, 4);
        let plan = Plan::new(&gpu.kernels, &world.layout, heads, capacity).unwrap();
        let q = noise(2 * heads * D, 9);
        let (q_device, mut status) = (stream.clone_htod(&q).unwrap(), stream.clone_htod(&[0u32]).unwrap());
        let mut out = stream.alloc_zeros::<f16>(q.len()).unwrap();
        let mut lse = stream.alloc_zeros::<f32>(2 * heads).unwrap();
        let mut workspace = stream.alloc_zeros::<u8>(plan.workspace_bytes()).unwrap();
        let first = world.step(&[1, 1]);
        let mut buffers = DeviceWorld::new(stream, &world, &first);
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        ops::attend::attend(
            &gpu.kernels,
            stream,
            &plan,
            &buffers.batch(&world, &first),
            &Rows { data: q_device.as_view(), stride: heads * D },
            &mut buffers.cache(&world, &mut status),
            &ops::attend::Options::new(OPTIONS.softmax_scale),
            &mut out.as_view_mut(),
            Some(&mut lse.as_view_mut()),
            &mut workspace.as_view_mut(),
        )
        .unwrap();
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags).unwrap().expect("a graph was captured");
        let row = world.row();
        for grow in [[1, 1], [30, 200], [2, 54], [1, 2], [222, 200], [1, 1]] {
            for (i, tokens) in grow.into_iter().enumerate() {
                let mut new = [0, 0];
                new[i] = tokens;
                let step = world.step(&new);
                let seed = (world.lens[i] * 7 + i) as u64;
                world.append(&step, &noise(tokens * row, seed), &noise(tokens * row, seed + 1), true);
            }
            // The last token of each is this step's.
            let lens: Vec<i32> = world.lens.iter().map(|&n| n as i32).collect();
            let step = Step { seq_lens: lens, cu_q_lens: vec![0, 1, 2], max_q_len: 1, total_q: 2 };
            buffers.upload(stream, &world, &step);
            graph.launch().unwrap();
            let replayed = Found {
                out: stream.clone_dtoh(&out).unwrap().into_iter().map(f16::to_f32).collect(),
                lse: stream.clone_dtoh(&lse).unwrap(),
                status: Status(stream.clone_dtoh(&status).unwrap()[0]),
            };
            let direct = gpu.attend(&world, &step, &q, heads, &OPTIONS);
            assert_same(&format!("{format}, lengths {:?}", world.lens), &direct, &replayed);
        }
    }
}
