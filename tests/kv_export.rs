//! Caches of ggml's blocks given back as blocks: the appended rows as the `gguf` package and the reference code them, byte
//! for byte, by the reference and by the kernel.

#[path = "common/golden.rs"]
mod golden;
mod kv_world;

use golden::Golden;
use half::{bf16, f16};
use kv_world::World;
use lowbit::cache::{KvCode, KvFormat, KvLayout, KvShape, Status};
use lowbit::format::{GgmlType, Half16, Matrix, Transform};
use lowbit::reference::ggml;
use lowbit::reference::kv::{CacheMut, export_blocks};
use rand::RngExt;

const FORMATS: [KvFormat; 3] = [KvFormat::Q8_0, KvFormat::Q8_0_Q4_0, KvFormat::Q4_0];

fn layout<T: Half16>(format: KvFormat, num_kv_heads: usize, head_dim: usize, page_tokens: usize) -> KvLayout {
    let shape = KvShape { num_kv_heads, head_dim, page_tokens, max_append: 1, dtype: T::DTYPE };
    KvLayout::new(shape, format).unwrap()
}

fn types(format: &KvFormat) -> [GgmlType; 2] {
    [format.k, format.v].map(|side| if side.code == KvCode::Q8_0 { GgmlType::Q8_0 } else { GgmlType::Q4_0 })
}

/// Bytes that an export must not leave.
const UNTOUCHED: u8 = 0xAB;

/// The blocks of the first `tokens` tokens of sequence `seq`, by the reference.
fn exported(world: &mut World, seq: usize, tokens: usize) -> [Vec<u8>; 2] {
    let layout = world.layout;
    let mut out = types(layout.format()).map(|kind| vec![UNTOUCHED; tokens * kind.row_bytes(world.row())]);
    let table = world.table[seq * world.max_blocks..(seq + 1) * world.max_blocks].to_vec();
    let mut cache = CacheMut {
        layout,
        pages: &mut world.pages,
        state: &mut world.state,
        status: &mut world.status,
        k_scale: None,
        v_scale: None,
    };
    let [k, v] = &mut out;
    export_blocks(&mut cache, &table, tokens, k, v).unwrap();
    out
}

/// Rows of every size: gaussian-like, zeros of both signs, ties for the largest magnitude, subnormals.
fn rows<T: Half16>(len: usize, seed: u64) -> Vec<T> {
    let mut random = kv_world::rng(seed);
    kv_world::noise(len, seed)
        .into_iter()
        .enumerate()
        .map(|(i, x)| match (i / 32 % 7, random.random_range(0..4)) {
            (0, 0) => T::from_f32(-2.0),
            (0, _) => T::from_f32(2.0),
            (1, 0) => T::from_f32(-0.0),
            (1, _) => T::from_f32(0.0),
            (2, n) => T::from_f32(n as f32 * 6e-8),
            _ => T::from_f32(x.to_f32()),
        })
        .collect()
}

/// A world of three sequences with what was appended to each.
fn filled<T: Half16>(format: KvFormat, d: usize, page_tokens: usize) -> (World, Vec<[Vec<T>; 2]>) {
    let lens = [70, 0, 37];
    let mut world = World::new(layout::<T>(format, 2, d, page_tokens), lens.len(), 100, d as u64);
    let row = world.row();
    let step = world.step(&lens);
    let (k, v) = (rows::<T>(step.total_q * row, 5), rows::<T>(step.total_q * row, 6));
    world.append(&step, &k, &v, true);
    let of =
        |x: &[T], seq: usize| x[step.cu_q_lens[seq] as usize * row..step.cu_q_lens[seq + 1] as usize * row].to_vec();
    let appended = (0..lens.len()).map(|seq| [of(&k, seq), of(&v, seq)]).collect();
    (world, appended)
}

fn expected<T: Half16>(world: &World, side: usize, rows: &[T]) -> Vec<u8> {
    let (kind, cols) = (types(world.layout.format())[side], world.row());
    let shape = Matrix { rows: rows.len() / cols, cols, row_stride: cols };
    let mut blocks = vec![0; shape.rows * kind.row_bytes(cols)];
    ggml::quantize(kind, &Transform::NONE, shape, rows, &mut blocks).unwrap();
    blocks
}

fn check<T: Half16>() {
    for format in FORMATS {
        for &d in format.head_dims() {
            let (mut world, appended) = filled::<T>(format, d, format.tile_tokens());
            for (seq, rows) in appended.iter().enumerate() {
                let tokens = world.lens[seq];
                let found = exported(&mut world, seq, tokens);
                for side in 0..2 {
                    assert!(found[side] == expected(&world, side, &rows[side]), "{format} D {d} side {side}");
                }
            }
            assert_eq!(world.status, Status::OK);
        }
    }
}

#[test]
fn blocks_are_those_of_the_rows() {
    check::<f16>();
    check::<bf16>();
}

#[test]
fn blocks_are_those_of_gguf() {
    let golden = Golden::open("ggml");
    let x: Vec<f32> = golden.f32("x");
    // The rows are f32; those that f16 holds exactly are compared.
    let half: Vec<f16> = x.iter().map(|&x| f16::from_f32(x)).collect();
    let exact: Vec<usize> =
        (0..x.len() / 64).filter(|r| (64 * r..64 * r + 64).all(|i| half[i].to_f32() == x[i])).collect();
    assert!(exact.len() >= 4, "{} rows", exact.len());
    for format in [KvFormat::Q8_0, KvFormat::Q4_0] {
        let kind = types(&format)[0];
        let bytes = golden.bytes(&format!("{}.bytes", kind.name()));
        let mut world = World::new(layout::<f16>(format, 1, 64, 32), 1, x.len() / 64, 3);
        let step = world.step(&[x.len() / 64]);
        world.append(&step, &half, &half, true);
        let found = exported(&mut world, 0, x.len() / 64);
        for &row in &exact {
            let at = row * kind.row_bytes(64)..(row + 1) * kind.row_bytes(64);
            for found in &found {
                assert_eq!(found[at.clone()], bytes[at.clone()], "{format} row {row}");
            }
        }
    }
}

#[test]
fn bad_arguments_are_named() {
    let text = |format, tokens: usize, k: usize, v: usize| {
        let mut world = World::new(layout::<f16>(format, 1, 64, 32), 1, 64, 1);
        let before = world.clone();
        let table = world.table.clone();
        let mut cache = CacheMut {
            layout: world.layout,
            pages: &mut world.pages,
            state: &mut world.state,
            status: &mut world.status,
            k_scale: None,
            v_scale: None,
        };
        let error = export_blocks(&mut cache, &table, tokens, &mut vec![0; k], &mut vec![0; v]).unwrap_err();
        assert_eq!((world.pages, world.status), (before.pages, before.status));
        error.to_string()
    };
    assert_eq!(
        text(KvFormat::Q8_0, 65, 10_000, 10_000),
        "kv::export_blocks: `tokens`: expected at most 64, what the table covers, found 65"
    );
    assert_eq!(
        text(KvFormat::Q8_0_Q4_0, 64, 64 * 68 - 1, 10_000),
        "kv::export_blocks: `k_blocks`: expected at least 4352 bytes, found 4351"
    );
    assert_eq!(
        text(KvFormat::Q8_0_Q4_0, 64, 64 * 68, 64 * 36 - 1),
        "kv::export_blocks: `v_blocks`: expected at least 2304 bytes, found 2303"
    );
    assert_eq!(
        text(KvFormat::INT4, 1, 100, 100),
        "kv::export_blocks: KV format (k: int4 per 32 channels, v: int4 per 32 channels, residual 0) is not supported; supported: \
         q8_0; q8_0 with q4_0; q4_0"
    );
}

#[cfg(kernels_built)]
#[test]
fn the_kernel_gives_the_same_bytes() {
    use lowbit::cache::KvCacheRef;
    use lowbit::ops;

    let device = kv_world::device::Device::new();
    for format in FORMATS {
        for &d in format.head_dims() {
            let (mut world, _) = filled::<f16>(format, d, 64);
            // A page of the first sequence is gone.
            world.table[1] = if d == 64 { -1 } else { world.num_pages() as i32 };
            for seq in [0, 2] {
                let tokens = world.lens[seq];
                world.status = Status::OK;
                let expected = exported(&mut world, seq, tokens);
                assert_eq!(world.status, if seq == 0 { Status::BAD_PAGE } else { Status::OK });
                let (pages, state) = (device.upload(&world.pages), device.upload(&[0u8]));
                let mut status = device.upload(&[0u32]);
                let table = device.upload(&world.table[seq * world.max_blocks..(seq + 1) * world.max_blocks]);
                let [mut k, mut v] = [0, 1].map(|side| device.upload(&vec![UNTOUCHED; expected[side].len()]));
                let mut cache = KvCacheRef {
                    layout: world.layout,
                    pages: pages.as_view(),
                    state: state.slice(..0),
                    status: status.as_view_mut(),
                    k_scale: None,
                    v_scale: None,
                };
                ops::kv::export_blocks(
                    &device.kernels,
                    &device.stream,
                    &table.as_view(),
                    tokens,
                    &mut cache,
                    &mut k.as_view_mut(),
                    &mut v.as_view_mut(),
                )
                .unwrap();
                let found = [&k, &v].map(|blocks| device.stream.clone_dtoh(blocks).unwrap());
                assert!(found == expected, "{format} D {d} sequence {seq}");
                assert_eq!(Status(device.stream.clone_dtoh(&status).unwrap()[0]), world.status);
            }
        }
    }
}
