//! Attention of a chunk that is not in the cache yet: the definition against appending first, where that loses nothing, and
//! the kernels against the definition.

mod kv_world;

use half::f16;
use kv_world::{Step, World, noise};
use lowbit::cache::{KvFormat, KvLayout, KvShape};
use lowbit::format::{DType, Rotation};
use lowbit::reference::attend::{Options, attend, attend_prefill};
use lowbit::reference::kv::Rows;

fn layout(format: KvFormat, d: usize, dtype: DType) -> KvLayout {
    let shape = KvShape { num_kv_heads: 2, head_dim: d, page_tokens: 32, max_append: 4, dtype };
    KvLayout::new(shape, format).unwrap()
}

/// A cache in the model's dtype holds what the call brings, so appending first makes no difference.
#[test]
fn a_float_cache_sees_the_same_before_and_after() {
    let (heads, d) = (4, 64);
    let mut world = World::new(layout(KvFormat::FLOAT, d, DType::F16), 2, 100, 1);
    let row = world.row();
    let step = world.step(&[37, 0]);
    world.append(&step, &noise(37 * row, 1), &noise(37 * row, 2), true);
    let step = world.step(&[20, 45]);
    let (k, v, q) = (noise(65 * row, 3), noise(65 * row, 4), noise(65 * heads * d, 5));
    let rows = |data, stride| Rows { data, stride };
    let options = Options { window: Some(30), ..Options::new(0.05) };
    let q = rows(&q[..], heads * d);
    let before = attend_prefill(
        &world.cache_ref(),
        &world.batch(&step),
        q,
        rows(&k[..], row),
        rows(&v[..], row),
        heads,
        &options,
    )
    .unwrap();
    world.append(&step, &k, &v, true);
    let after = attend(&world.cache_ref(), &world.batch(&step), q, heads, &options).unwrap();
    assert_eq!(before, after);
}

#[cfg(kernels_built)]
mod attend_device;

#[cfg(kernels_built)]
mod kernel {
    use super::attend_device::{DeviceWorld, Found, Gpu, UNTOUCHED, compare};
    use super::*;
    use half::bf16;
    use lowbit::cache::{self, Status};
    use lowbit::cudarc::driver::CudaSlice;
    use lowbit::format::{Element, Half16};
    use lowbit::ops;
    use lowbit::reference::attend::Attention;

    /// New tokens and their queries.
    struct Chunk<T> {
        q: Vec<T>,
        k: Vec<T>,
        v: Vec<T>,
    }

    fn of<T: Half16>(len: usize, seed: u64) -> Vec<T> {
        noise(len, seed).into_iter().map(|x| T::from_f32(x.to_f32())).collect()
    }

    /// Sequences of `lens[i].0` cached tokens, and a chunk of `lens[i].1` more for each.
    fn filled<T: Half16>(layout: KvLayout, lens: &[(usize, usize)], heads: usize) -> (World, Step, Chunk<T>) {
        let most = lens.iter().map(|l| l.0 + l.1).max().unwrap();
        let mut world = World::new(layout, lens.len(), most, 21);
        for scale in [&mut world.k_scale, &mut world.v_scale].into_iter().flatten() {
            if scale.len() <= layout.shape().num_kv_heads {
                scale.fill(0.05);
            }
        }
        let row = world.row();
        let step = world.step(&lens.iter().map(|l| l.0).collect::<Vec<_>>());
        world.append(&step, &of::<T>(step.total_q * row, 1), &of::<T>(step.total_q * row, 2), true);
        let step = world.step(&lens.iter().map(|l| l.1).collect::<Vec<_>>());
        let n = step.total_q;
        let q = of(n * heads * layout.shape().head_dim, 5);
        (world, step, Chunk { q, k: of(n * row, 3), v: of(n * row, 4) })
    }

    fn by_device<T: Half16>(
        gpu: &Gpu,
        world: &World,
        step: &Step,
        chunk: &Chunk<T>,
        heads: usize,
        options: &Options<'_>,
    ) -> lowbit::Result<Found> {
        let stream = &gpu.stream;
        let width = heads * world.layout.shape().head_dim;
        let buffers = DeviceWorld::new(stream, world, step);
        let mut status = stream.clone_htod(&[0u32]).unwrap();
        let [q, k, v] = [&chunk.q, &chunk.k, &chunk.v].map(|data| stream.clone_htod(data).unwrap());
        let mut out = stream.clone_htod(&vec![T::from_f32(UNTOUCHED); step.total_q * width]).unwrap();
        let mut lse = stream.clone_htod(&vec![UNTOUCHED; step.total_q * heads]).unwrap();
        let bytes = ops::attend::prefill_workspace_bytes(&world.layout, heads, step.total_q).unwrap();
        // SAFETY: the kernels write what they read of it; the software device reports it if they do not.
        let mut workspace = unsafe { stream.alloc::<u8>(bytes) }.unwrap();
        let [slopes, sinks] =
            [options.alibi_slopes, options.sink_logits].map(|x| x.map(|x| stream.clone_htod(x).unwrap()));
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
        let rows = |data, stride| cache::Rows { data, stride };
        ops::attend::attend_prefill(
            &gpu.kernels,
            stream,
            heads,
            &buffers.batch(world, step),
            &rows(q.as_view(), width),
            &rows(k.as_view(), world.row()),
            &rows(v.as_view(), world.row()),
            &mut buffers.cache(world, &mut status),
            &device_options,
            &mut out.as_view_mut(),
            Some(&mut lse.as_view_mut()),
            &mut workspace.as_view_mut(),
        )?;
        Ok(Found {
            out: stream.clone_dtoh(&out).unwrap().into_iter().map(Element::to_f32).collect(),
            lse: stream.clone_dtoh(&lse).unwrap(),
            status: Status(stream.clone_dtoh(&status).unwrap()[0]),
        })
    }

    fn by_definition<T: Half16>(
        world: &World,
        step: &Step,
        chunk: &Chunk<T>,
        heads: usize,
        options: &Options<'_>,
    ) -> Attention {
        let rows = |data, stride| Rows { data, stride };
        attend_prefill(
            &world.cache_ref(),
            &world.batch(step),
            rows(&chunk.q[..], heads * world.layout.shape().head_dim),
            rows(&chunk.k[..], world.row()),
            rows(&chunk.v[..], world.row()),
            heads,
            &Options { rope: world.angles.as_deref(), ..*options },
        )
        .unwrap()
    }

    /// Nothing cached, a token, less and more than tiles and windows of prefix and chunk; a padding row. Longer chunks than
    /// `max_append`.
    const LENS: [(usize, usize); 6] = [(0, 40), (45, 1), (70, 33), (300, 64), (20, 0), (32, 9)];

    fn check<T: Half16>(gpu: &Gpu, layout: KvLayout, group: usize, options: &Options<'_>) {
        let heads = 2 * group;
        let (world, step, chunk) = filled::<T>(layout, &LENS, heads);
        let found = by_device(gpu, &world, &step, &chunk, heads, options).unwrap();
        let expected = by_definition(&world, &step, &chunk, heads, options);
        let d = layout.shape().head_dim;
        let what = format!("{} D {d} group {group} {options:?}", layout.format());
        compare(&what, &found, &expected, d, T::DTYPE);
    }

    #[test]
    fn chunks_are_the_definition() {
        let gpu = Gpu::new();
        let plain = Options::new(0.02);
        for format in [KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::kivi4(32), KvFormat::kivi4(128)] {
            check::<f16>(&gpu, layout(format, 64, DType::F16), 1, &plain);
            check::<f16>(&gpu, layout(format, 128, DType::F16), 3, &Options { window: Some(37), ..plain });
        }
        check::<bf16>(&gpu, layout(KvFormat::INT8, 80, DType::Bf16), 2, &plain);
        check::<bf16>(&gpu, layout(KvFormat::kivi4(32), 96, DType::Bf16), 1, &plain);
        check::<f16>(&gpu, layout(KvFormat::E4M3, 256, DType::F16), 1, &plain);
        for (turn, format) in kv_world::NUQ_FORMATS.into_iter().enumerate() {
            check::<f16>(&gpu, kv_world::pre_rope(layout(format, 64, DType::F16), turn), 2, &plain);
        }
    }

    /// Every warp takes a second tile, whose weights are masked only if the tile is known to need it.
    #[test]
    fn a_long_chunk_is_causal() {
        let gpu = Gpu::new();
        let (world, step, chunk) = filled::<f16>(layout(KvFormat::INT8, 64, DType::F16), &[(10, 200)], 2);
        let options = Options::new(0.02);
        let found = by_device(&gpu, &world, &step, &chunk, 2, &options).unwrap();
        compare("200 tokens", &found, &by_definition(&world, &step, &chunk, 2, &options), 64, DType::F16);
    }

    /// One block reads all of a prefix: more than 32 tiles a warp, and twice that.
    #[test]
    fn a_long_prefix() {
        let gpu = Gpu::new();
        for (format, tokens) in [(KvFormat::INT8, 4200), (KvFormat::kivi4(32), 8500)] {
            let (world, step, chunk) = filled::<f16>(layout(format, 64, DType::F16), &[(tokens, 2)], 2);
            let options = Options::new(0.1);
            let found = by_device(&gpu, &world, &step, &chunk, 2, &options).unwrap();
            let expected = by_definition(&world, &step, &chunk, 2, &options);
            compare(&format!("{format}, {tokens} tokens"), &found, &expected, 64, DType::F16);
        }
    }

    #[test]
    fn options_reach_both_parts() {
        let gpu = Gpu::new();
        let (slopes, sinks) = ([0.5, 0.1, 0.02, 0.3], [1.0, -3.0, 0.0, 6.0]);
        let options = Options {
            soft_cap: Some(5.0),
            alibi_slopes: Some(&slopes),
            sink_logits: Some(&sinks),
            window: Some(50),
            ..Options::new(0.02)
        };
        for format in [KvFormat::INT8, KvFormat::kivi4(32)] {
            check::<f16>(&gpu, layout(format, 64, DType::F16), 2, &options);
            let rotation = |block| Rotation::Hadamard { block };
            let rotated = layout(format, 64, DType::F16).rotated(rotation(64), rotation(32)).unwrap();
            check::<f16>(&gpu, rotated, 2, &options);
        }
    }

    /// A sequence alone, and in a batch: the same bits.
    #[test]
    fn a_row_does_not_depend_on_its_batch() {
        let gpu = Gpu::new();
        let (heads, d) = (4, 64);
        for format in [KvFormat::INT8, KvFormat::kivi4(32)] {
            let (world, step, chunk) = filled::<f16>(layout(format, d, DType::F16), &LENS, heads);
            let options = Options::new(0.02);
            let together = by_device(&gpu, &world, &step, &chunk, heads, &options).unwrap();
            for i in [2, 3] {
                let blocks = world.max_blocks;
                let alone = World {
                    table: world.table[i * blocks..(i + 1) * blocks].to_vec(),
                    slots: vec![world.slots[i]],
                    lens: vec![world.lens[i]],
                    ..world.clone()
                };
                let m = LENS[i].1;
                let own =
                    Step { seq_lens: vec![step.seq_lens[i]], cu_q_lens: vec![0, m as i32], max_q_len: m, total_q: m };
                let rows = step.cu_q_lens[i] as usize..step.cu_q_lens[i + 1] as usize;
                let part = |x: &[f16], width: usize| x[rows.start * width..rows.end * width].to_vec();
                let (q, row) = (heads * d, world.row());
                let own_chunk = Chunk { q: part(&chunk.q, q), k: part(&chunk.k, row), v: part(&chunk.v, row) };
                let found = by_device(&gpu, &alone, &own, &own_chunk, heads, &options).unwrap();
                assert_eq!(found.out, together.out[rows.start * q..rows.end * q], "{format}, sequence {i}");
                assert_eq!(found.lse, together.lse[rows.start * heads..rows.end * heads], "{format}, sequence {i}");
            }
        }
    }

    #[test]
    fn bad_arguments_are_named() {
        let gpu = Gpu::new();
        let layout = layout(KvFormat::INT8, 64, DType::F16);
        let refused = |heads: usize, change: &dyn Fn(&mut Step, &mut Chunk<f16>), options: Options<'_>| -> String {
            let (world, mut step, mut chunk) = filled::<f16>(layout, &[(5, 3)], 4);
            change(&mut step, &mut chunk);
            by_device(&gpu, &world, &step, &chunk, heads, &options).unwrap_err().to_string()
        };
        let plain = Options::new(1.0);
        assert_eq!(
            refused(3, &|_, _| (), plain),
            "attend_prefill: `num_heads`: expected a positive multiple of 2 KV heads, found 3"
        );
        assert_eq!(
            refused(4, &|_, chunk| chunk.k.truncate(383), plain),
            "attend_prefill: `k.data`: expected at least 384 elements, found 383"
        );
        assert_eq!(
            refused(4, &|_, chunk| chunk.q.truncate(767), plain),
            "attend_prefill: `q.data`: expected at least 768 elements, found 767"
        );
        assert_eq!(
            refused(4, &|_, _| (), Options { tree_mask: Some(&[1; 3]), ..plain }),
            "attend_prefill: a tree mask is not supported; supported: attend, which takes one"
        );
    }
}
