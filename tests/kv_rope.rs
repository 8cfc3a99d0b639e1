//! RoPE and rotation inside append: golden angles and rotations through the definition, and the kernel against the
//! definition, every byte of pages and state, in ragged batches of every format.

mod kv_world;

use half::f16;
use kv_world::{World, WorldRope};
use lowbit::cache::{KvCode, KvFormat, KvLayout, KvShape, tile};
use lowbit::format::{DType, RopeStyle, Rotation, rope_table};
use safetensors::SafeTensors;

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn tensor<T: bytemuck::AnyBitPattern>(file: &SafeTensors<'_>, name: &str) -> Vec<T> {
    let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    tensor.data().chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

/// What an f16 cache of two heads holds of one key at `position`; every block of its table is the same page.
fn stored_key(d: usize, position: usize, key: &[f16], rope: Option<WorldRope>, rotation: Rotation) -> Vec<f32> {
    let shape = KvShape { num_kv_heads: 2, head_dim: d, page_tokens: 16, max_append: 1, dtype: DType::F16 };
    let layout = KvLayout::new(shape, KvFormat::FLOAT).unwrap().rotated(rotation, Rotation::None).unwrap();
    let mut world = World::new(layout, 1, 1, 1);
    world.max_blocks = position / 16 + 1;
    world.table = vec![2; world.max_blocks];
    world.lens = vec![position];
    world.rope = rope;
    let step = world.step(&[1]);
    world.append(&step, key, key, false);
    let bits = |head: usize, channel: usize| {
        let at = 2 * layout.page_bytes() + layout.record_offset(head, position % 16);
        let byte = at + tile::k_place(KvCode::Float, d, position % 16, channel).byte;
        f16::from_le_bytes([world.pages[byte], world.pages[byte + 1]])
    };
    (0..2 * d).map(|i| bits(i / d, i % d).to_f32()).collect()
}

/// The golden angles are f64; the definition rounds table, products and sum to f32 and the result to f16.
#[test]
fn keys_are_turned_by_the_golden_angles() {
    let bytes = golden("rope");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let positions = tensor::<i32>(&file, "positions");
    for (d, rotary_dim) in [(64, 64), (128, 64)] {
        let name = |part: &str| format!("d{d}_r{rotary_dim}.{part}");
        let x = tensor::<f16>(&file, &name("x"));
        let base = tensor::<f64>(&file, &name("base"))[0];
        let angles = [tensor::<f64>(&file, &name("cos")), tensor::<f64>(&file, &name("sin"))];
        for (style, part) in [(RopeStyle::Interleaved, "interleaved"), (RopeStyle::HalfSplit, "half")] {
            let expected = tensor::<f64>(&file, &name(part));
            for (row, &position) in positions.iter().enumerate() {
                // Only the last row of the table is looked at.
                let position = position as usize;
                let mut table = vec![f32::NAN; position * rotary_dim];
                let pairs = row * rotary_dim / 2..(row + 1) * rotary_dim / 2;
                table.extend(pairs.flat_map(|i| [angles[0][i] as f32, angles[1][i] as f32]));
                table.resize((position / 16 + 1) * 16 * rotary_dim, f32::NAN);
                if position < 5000 {
                    let made = rope_table(base, rotary_dim, position + 1);
                    let from = position * rotary_dim;
                    for (i, (made, golden)) in made[from..].iter().zip(&table[from..]).enumerate() {
                        // The angle itself is up to 5000 radians in f64, from another library's power.
                        assert!((made - golden).abs() < 1e-6, "{style:?} position {position}, {i}: {made} {golden}");
                    }
                }
                let rope = Some(WorldRope { style, rotary_dim, table });
                let key = &x[row * 2 * d..][..2 * d];
                let found = stored_key(d, position, key, rope, Rotation::None);
                for (c, (&found, &expected)) in found.iter().zip(&expected[row * 2 * d..]).enumerate() {
                    let size = key.iter().map(|x| x.to_f64().abs()).fold(0.0, f64::max);
                    let limit = 2f64.powi(-11) * expected.abs() + 2f64.powi(-25) + 2f64.powi(-21) * size;
                    let error = (f64::from(found) - expected).abs();
                    assert!(error <= limit, "{style:?} D {d} row {row} channel {c}: {found} instead of {expected}");
                }
            }
        }
    }
}

#[test]
fn keys_are_rotated_as_golden() {
    let bytes = golden("hadamard");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for d in [64, 128] {
        let (x, expected) =
            (tensor::<f16>(&file, &format!("d{d}.x")), tensor::<f16>(&file, &format!("d{d}.rotated_f16")));
        for row in 0..24 {
            let key = &x[row * 2 * d..][..2 * d];
            let found = stored_key(d, row, key, None, Rotation::of_head(d));
            let expected: Vec<f32> = expected[row * 2 * d..][..2 * d].iter().map(|x| x.to_f32()).collect();
            assert_eq!(found, expected, "D {d} row {row}");
        }
    }
}

#[cfg(kernels_built)]
mod kernel {
    use super::*;
    use crate::kv_world::device::{Device, NewRows};
    use crate::kv_world::{formats, noise};
    use half::bf16;
    use lowbit::cache::Status;
    use lowbit::format::Half16;

    const NONE: Rotation = Rotation::None;

    fn block(block: usize) -> Rotation {
        Rotation::Hadamard { block }
    }

    /// Prompts, single tokens with padding, several tokens, chunks: by the definition and by the kernel.
    fn serve<T: Half16>(
        device: &Device,
        format: KvFormat,
        d: usize,
        rope: Option<(RopeStyle, usize)>,
        by: [Rotation; 2],
    ) {
        let shape = KvShape { num_kv_heads: 2, head_dim: d, page_tokens: 32, max_append: 5, dtype: T::DTYPE };
        let layout = KvLayout::new(shape, format).unwrap().rotated(by[0], by[1]).unwrap();
        let mut world = World::new(layout, 3, 2 * format.residual as usize + 100, 3);
        let positions = world.max_blocks * 32;
        world.rope = rope.map(|(style, rotary_dim)| WorldRope {
            style,
            rotary_dim,
            table: rope_table(10_000.0, rotary_dim, positions),
        });
        let row = world.row();
        let r = format.residual as usize;
        for (call, (new, prefill)) in
            [([33, 0, r + 20], true), ([1, 1, 0], false), ([5, 3, 1], false), ([31, 40, 14], true)]
                .into_iter()
                .enumerate()
        {
            let step = world.step(&new);
            let tokens = |seed| -> Vec<T> {
                let mut tokens: Vec<T> =
                    noise(step.total_q * row, seed).into_iter().map(|x| T::from_f32(x.to_f32())).collect();
                // A row whose rotation overflows f16, one with a NaN, one with an infinity.
                tokens[..d].fill(T::from_f32(65504.0));
                tokens[row + 3] = T::from_f32(f32::NAN);
                tokens[row + d + 5] = T::from_f32(f32::NEG_INFINITY);
                tokens
            };
            let (k, v) = (tokens(call as u64), tokens(10 + call as u64));
            let mut found = world.clone();
            world.append(&step, &k, &v, prefill);
            let rows = |data| NewRows { data, skip: 0, stride: row };
            device.append(&mut found, &step, rows(&k), rows(&v), prefill).unwrap();
            let what = format!("{format} D {d} {rope:?} {by:?} {}: call {call}", T::DTYPE);
            assert!(found.pages == world.pages, "{what}: pages");
            assert!(found.state == world.state, "{what}: state");
            assert_eq!(found.status, world.status, "{what}");
            // The float cache keeps a NaN as it is.
            assert_eq!(world.status == Status::NAN, format != KvFormat::FLOAT, "{what}");
        }
    }

    #[test]
    fn rows_are_turned_and_rotated_in_the_launch() {
        use RopeStyle::{HalfSplit, Interleaved};
        let device = Device::new();
        for format in formats() {
            serve::<f16>(&device, format, 64, Some((Interleaved, 64)), [NONE, NONE]);
            serve::<f16>(&device, format, 128, Some((HalfSplit, 128)), [block(128), block(64)]);
            // Parts of a head, whose halves are no multiple of what a lane holds.
            serve::<bf16>(&device, format, 64, Some((HalfSplit, 24)), [block(8), NONE]);
            serve::<f16>(&device, format, 64, Some((Interleaved, 10)), [NONE, block(32)]);
            serve::<bf16>(&device, format, 128, None, [NONE, block(128)]);
        }
        serve::<f16>(&device, KvFormat::INT8, 80, Some((HalfSplit, 32)), [block(16), block(16)]);
        serve::<f16>(&device, KvFormat::kivi4(32), 192, Some((Interleaved, 192)), [block(64), block(32)]);
        serve::<f16>(&device, KvFormat::E4M3, 256, Some((HalfSplit, 64)), [block(256), block(256)]);
    }

    #[test]
    fn bad_angles_are_refused() {
        let device = Device::new();
        let shape = KvShape { num_kv_heads: 1, head_dim: 64, page_tokens: 32, max_append: 1, dtype: DType::F16 };
        let mut world = World::new(KvLayout::new(shape, KvFormat::INT8).unwrap(), 1, 64, 1);
        let before = world.pages.clone();
        let step = world.step(&[1]);
        let key = [f16::ONE; 64];
        for (rotary_dim, elements, expected) in [
            (0, 4096, "kv::append: `rope.rotary_dim`: expected a multiple of 2 from 2 to 64, found 0"),
            (31, 4096, "kv::append: `rope.rotary_dim`: expected a multiple of 2 from 2 to 64, found 31"),
            (66, 4224, "kv::append: `rope.rotary_dim`: expected a multiple of 2 from 2 to 64, found 66"),
            (
                64,
                4095,
                "kv::append: `rope.table`: expected at least 4096 elements, 64 for every position of the block table, \
                 found 4095",
            ),
        ] {
            let table = vec![0.0; elements];
            world.rope = Some(WorldRope { style: RopeStyle::Interleaved, rotary_dim, table });
            let rows = || NewRows { data: &key[..], skip: 0, stride: 64 };
            let error = device.append(&mut world, &step, rows(), rows(), false).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert_eq!(world.pages, before);
        }
    }
}
