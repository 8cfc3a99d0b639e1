//! Attention over rotated caches and over trees of drafts, against the definition; and the definition against what it
//! must equal: the cache that is not rotated, the causal call, the branch on its own.

mod kv_world;

use half::f16;
use kv_world::{World, noise};
use lowbit::cache::{KvFormat, KvLayout, KvShape};
use lowbit::format::{DType, Rotation};
use lowbit::reference::attend::{Attention, Options, attend};
use lowbit::reference::kv::Rows;

const PAGE: usize = 32;

fn layout(format: KvFormat, d: usize, dtype: DType, by: [Rotation; 2]) -> KvLayout {
    let shape = KvShape { num_kv_heads: 2, head_dim: d, page_tokens: PAGE, max_append: 16, dtype };
    KvLayout::new(shape, format).unwrap().rotated(by[0], by[1]).unwrap()
}

fn block(block: usize) -> Rotation {
    Rotation::Hadamard { block }
}

/// The call's parents of drafts as rows' masks: draft i hangs on `parents[i]`, or on the prompt.
fn masks(parents: &[Option<usize>]) -> Vec<u32> {
    let mut masks: Vec<u32> = Vec::new();
    for (i, parent) in parents.iter().enumerate() {
        masks.push(1 << i | parent.map_or(0, |parent| masks[parent]));
    }
    masks
}

/// Eleven drafts in branches of up to four.
const TREE: [Option<usize>; 11] =
    [None, None, Some(0), Some(0), Some(1), Some(2), Some(2), Some(4), Some(6), Some(6), None];

fn by_definition(world: &World, step: &kv_world::Step, q: &[f16], heads: usize, options: &Options<'_>) -> Attention {
    let rows = Rows { data: q, stride: heads * world.layout.shape().head_dim };
    attend(&world.cache_ref(), &world.batch(step), rows, heads, options).unwrap()
}

/// A cache in f16 that is rotated gives what one that is not gives, but for the rounding of rotated keys and values.
#[test]
fn rotation_does_not_change_attention() {
    let (heads, d) = (4, 64);
    let mut found = Vec::new();
    for by in [[Rotation::None; 2], [block(64), block(32)]] {
        let mut world = World::new(layout(KvFormat::FLOAT, d, DType::F16, by), 1, 100, 1);
        let step = world.step(&[80]);
        let row = world.row();
        world.append(&step, &noise(80 * row, 1), &noise(80 * row, 2), true);
        let step = world.step(&[2]);
        world.append(&step, &noise(2 * row, 3), &noise(2 * row, 4), false);
        found.push(by_definition(&world, &step, &noise(2 * heads * d, 5), heads, &Options::new(0.05)));
    }
    // Keys of up to 16 channels of size 8 rounded to f16: logits to about 1e-3.
    let far = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far(&found[0].lse, &found[1].lse) < 2e-3, "{}", far(&found[0].lse, &found[1].lse));
    assert!(far(&found[0].out, &found[1].out) < 1e-2, "{}", far(&found[0].out, &found[1].out));
    assert_ne!(found[0].out, found[1].out);
}

/// Row r of a tree equals the last row of a call that brings its branch alone.
#[test]
fn a_branch_is_a_sequence() {
    let (heads, d, prompt) = (4, 64, 45);
    for (format, window) in [(KvFormat::FLOAT, None), (KvFormat::INT8, Some(32)), (KvFormat::kivi4(32), Some(40))] {
        let mut world = World::new(layout(format, d, DType::F16, [Rotation::None; 2]), 1, 100, 1);
        let row = world.row();
        let step = world.step(&[prompt]);
        world.append(&step, &noise(prompt * row, 1), &noise(prompt * row, 2), true);
        let (k, v) = (noise(11 * row, 3), noise(11 * row, 4));
        let q = noise(11 * heads * d, 5);
        let masks = masks(&TREE);
        let options = Options { window, ..Options::new(0.05) };
        let mut tree = world.clone();
        let step = tree.step(&[11]);
        tree.append(&step, &k, &v, false);
        let found = by_definition(&tree, &step, &q, heads, &Options { tree_mask: Some(&masks), ..options });
        for (r, mask) in masks.iter().enumerate() {
            let path: Vec<usize> = (0..11).filter(|i| mask >> i & 1 == 1).collect();
            let pick = |x: &[f16], width: usize| -> Vec<f16> {
                path.iter().flat_map(|&i| x[i * width..(i + 1) * width].to_vec()).collect()
            };
            let mut branch = world.clone();
            let step = branch.step(&[path.len()]);
            branch.append(&step, &pick(&k, row), &pick(&v, row), false);
            let alone = by_definition(&branch, &step, &pick(&q, heads * d), heads, &options);
            let last = path.len() - 1;
            let same = found.out[r * heads * d..(r + 1) * heads * d] == alone.out[last * heads * d..];
            assert!(same, "{format}, draft {r}");
            assert_eq!(found.lse[r * heads..(r + 1) * heads], alone.lse[last * heads..], "{format}, draft {r}");
        }
    }
}

#[test]
fn what_a_tree_does_not_go_with() {
    let world = World::new(layout(KvFormat::INT8, 64, DType::F16, [Rotation::None; 2]), 1, 100, 1);
    let slopes = [1.0; 2];
    let options = Options { tree_mask: Some(&[1; 40]), ..Options::new(1.0) };
    for (m, options, expected) in [
        (33, options, "attend: `batch.max_q_len`: expected at most 32 with a tree mask, found 33"),
        (
            3,
            Options { window: Some(31), ..options },
            "attend: `options.window`: expected at least 32 with a tree mask, found 31",
        ),
        (
            3,
            Options { alibi_slopes: Some(&slopes), ..options },
            "attend: ALiBi with a tree mask is not supported; supported: a tree mask without ALiBi",
        ),
        (
            3,
            Options { tree_mask: Some(&[1; 2]), ..options },
            "attend: `tree_mask`: expected at least 3 elements, found 2",
        ),
    ] {
        let step = world.step(&[m]);
        let q = vec![f16::ONE; m * 128];
        let rows = Rows { data: &q[..], stride: 128 };
        let error = attend(&world.cache_ref(), &world.batch(&step), rows, 2, &options).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[cfg(kernels_built)]
mod attend_device;

#[cfg(kernels_built)]
mod kernel {
    use super::attend_device::{Found, Gpu, LSE_TOLERANCE, compare, compare_within, expected};
    use super::kv_world::Step;
    use super::*;
    use half::bf16;
    use lowbit::format::Half16;

    const FORMATS: [KvFormat; 4] = [KvFormat::FLOAT, KvFormat::INT8, KvFormat::E4M3, KvFormat::kivi4(32)];

    /// Sequences of `lens[i].0` tokens, the last `lens[i].1` of them new, and queries for them.
    fn filled<T: Half16>(layout: KvLayout, lens: &[(usize, usize)], heads: usize) -> (World, Step, Vec<T>) {
        let of = |data: Vec<f16>| -> Vec<T> { data.into_iter().map(|x| T::from_f32(x.to_f32())).collect() };
        let most = lens.iter().map(|l| l.0).max().unwrap();
        let mut world = World::new(layout, lens.len(), most, 21);
        for scale in [&mut world.k_scale, &mut world.v_scale].into_iter().flatten() {
            scale.fill(0.05);
        }
        let row = world.row();
        let step = world.step(&lens.iter().map(|(n, m)| n - m).collect::<Vec<_>>());
        world.append(&step, &of(noise(step.total_q * row, 1)), &of(noise(step.total_q * row, 2)), true);
        let step = world.step(&lens.iter().map(|l| l.1).collect::<Vec<_>>());
        world.append(&step, &of(noise(step.total_q * row, 3)), &of(noise(step.total_q * row, 4)), false);
        let q = of(noise(step.total_q * heads * layout.shape().head_dim, 5));
        (world, step, q)
    }

    fn rotated<T: Half16>(gpu: &Gpu, format: KvFormat, d: usize, by: [Rotation; 2]) {
        let heads = 4;
        let layout = layout(format, d, T::DTYPE, by);
        // One chunk, and two that are merged.
        let (world, step, q) = filled::<T>(layout, &[(70, 2), (300, 1)], heads);
        let options = Options::new(0.02);
        let found = gpu.attend(&world, &step, &q, heads, &options);
        let expected = expected(&world, &step, &q, heads, &options);
        // Rotated queries are rounded to 11 bits, or in bf16 to 8: logits err eight times as much.
        let lse = if T::DTYPE == DType::Bf16 { 8.0 * LSE_TOLERANCE } else { LSE_TOLERANCE };
        let what = format!("{format} D {d} {by:?}");
        let (row, lse) = compare_within(&what, &found, &expected, d, T::DTYPE, lse);
        println!("{format} D {d} {} {by:?}: rows {row:.1e}, LSE {lse:.1e}", T::DTYPE);
    }

    #[test]
    fn rotated_caches_are_the_definition() {
        let gpu = Gpu::new();
        for format in FORMATS {
            rotated::<f16>(&gpu, format, 64, [block(64), block(64)]);
            rotated::<f16>(&gpu, format, 128, [block(128), Rotation::None]);
        }
        rotated::<f16>(&gpu, KvFormat::INT8, 128, [Rotation::None, block(128)]);
        rotated::<f16>(&gpu, KvFormat::INT8, 80, [block(16), block(16)]);
        rotated::<f16>(&gpu, KvFormat::kivi4(32), 192, [block(64), block(32)]);
        rotated::<f16>(&gpu, KvFormat::E4M3, 256, [block(256), block(256)]);
        rotated::<bf16>(&gpu, KvFormat::FLOAT, 64, [block(32), block(8)]);
        rotated::<bf16>(&gpu, KvFormat::kivi4(32), 64, [block(32), block(8)]);
    }

    #[test]
    fn trees_are_the_definition() {
        let gpu = Gpu::new();
        for format in FORMATS {
            let wide = (128, 3, Some(40));
            let cases = if format == KvFormat::INT8 { vec![(64, 1, None), wide] } else { vec![(64, 1, Some(40))] };
            for (d, group, window) in cases {
                let layout = layout(format, d, DType::F16, [Rotation::None; 2]);
                // Drafts over the edge of a tile, a page and a chunk; a plain step beside them; padding.
                let lens = [(45, 11), (11, 11), (260, 11), (70, 1), (20, 0)];
                let heads = 2 * group;
                let (world, step, q) = filled::<f16>(layout, &lens, heads);
                let tree = masks(&TREE);
                let mut mask: Vec<u32> = [&tree[..], &tree, &tree, &[u32::MAX]].concat();
                mask[11 + 3] = 0; // Sees nothing at all: its sequence has no prompt.
                mask[22 + 5] = 0; // Sees the prompt alone.
                let options = Options { window, tree_mask: Some(&mask), ..Options::new(0.04) };
                let found = gpu.attend(&world, &step, &q, heads, &options);
                let expected = expected(&world, &step, &q, heads, &options);
                compare(&format!("{format} D {d} window {window:?}"), &found, &expected, d, DType::F16);
            }
        }
    }

    /// What a row does not see may hold any number.
    #[test]
    fn other_branches_are_not_read() {
        let gpu = Gpu::new();
        let (heads, d, prompt) = (2, 64, 45);
        let masks = masks(&TREE);
        let mut world = World::new(layout(KvFormat::FLOAT, d, DType::F16, [Rotation::None; 2]), 1, 100, 1);
        let row = world.row();
        let step = world.step(&[prompt]);
        world.append(&step, &noise(prompt * row, 1), &noise(prompt * row, 2), true);
        let q = noise(11 * heads * d, 5);
        for r in [0, 8] {
            let drafts = |seed, other: f16| -> Vec<f16> {
                let mut x = noise(11 * row, seed);
                for i in (0..11).filter(|i| masks[r] >> i & 1 == 0) {
                    x[i * row..(i + 1) * row].fill(other);
                }
                x
            };
            let row_of = |other: f16| -> Found {
                let mut world = world.clone();
                let step = world.step(&[11]);
                world.append(&step, &drafts(3, other), &drafts(4, other), false);
                let options = Options { tree_mask: Some(&masks), ..Options::new(0.04) };
                gpu.attend(&world, &step, &q, heads, &options)
            };
            let (clean, planted) = (row_of(f16::ONE), row_of(f16::from_f32(1000.0)));
            let width = heads * d;
            assert_eq!(clean.out[r * width..(r + 1) * width], planted.out[r * width..(r + 1) * width], "draft {r}");
            assert_eq!(clean.lse[r * heads..(r + 1) * heads], planted.lse[r * heads..(r + 1) * heads], "draft {r}");
        }
    }

    /// A chain of drafts is the causal call, bit for bit.
    #[test]
    fn a_chain_is_causal() {
        let gpu = Gpu::new();
        for format in [KvFormat::INT8, KvFormat::kivi4(32)] {
            let layout = layout(format, 64, DType::F16, [Rotation::None; 2]);
            let (world, step, q) = filled::<f16>(layout, &[(70, 16), (300, 5)], 4);
            let chain = |m: usize| (0..m).map(|i| u32::MAX >> (31 - i));
            let mask: Vec<u32> = chain(16).chain(chain(5)).collect();
            let options = Options::new(0.04);
            let causal = gpu.attend(&world, &step, &q, 4, &options);
            let tree = gpu.attend(&world, &step, &q, 4, &Options { tree_mask: Some(&mask), ..options });
            assert_eq!(causal, tree, "{format}");
        }
    }
}
