//! The product of any number of rows: its definition, the bits of the skinny kernel, its arguments and what it asks of
//! memory.

use half::{bf16, f16};
use lowbit::format::Half16;
use lowbit::format::activation::Gate;
use lowbit::ops::matmul::{self, Decode, Operands, Output, Residual, Segment, TiledConfig};
use lowbit::weights::Packed;
use nvcuda::client;
use proptest::prelude::*;

use crate::world::*;

fn tiled<'a, X: Half16>(weights: &'a Packed, x: &'a [X], rows: usize) -> Call<'a, X, f32> {
    Call { tiled: true, ..Call::new(weights, x, rows) }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Every kernel of the table, with k that ends in every part of a block, rows in every part of a block.
#[test]
fn every_kernel_is_its_definition() {
    let world = world();
    let mut rng = rng(41);
    let mut rows = [33, 1, 64, 100, 65, 17, 32].into_iter().cycle();
    let mut x_kinds = X_KINDS.into_iter().cycle();
    for (n, k) in [(24, 64), (8, 160), (136, 256), (40, 616)] {
        let of_4_bits = KINDS_OF_4_BITS.into_iter().flat_map(|kind| [32, 64, 128, k].map(|group| (kind, group)));
        for (kind, group) in of_4_bits.chain([(Kind::Int8, 32)]) {
            let k = if kind == Kind::Int8 { k / 32 * 32 } else { k };
            let weights = random_weights(&mut rng, kind, n, k, group);
            let (rows, x_kind) = (rows.next().unwrap(), x_kinds.next().unwrap());
            let (f, b) = (activations(&mut rng, x_kind, rows * k), activations(&mut rng, x_kind, rows * k));
            in_every_mode(|mode| {
                let case = format!("{kind:?} {n} x {k} group {group} rows {rows} {x_kind} {mode}");
                tiled::<f16>(&weights, &f, rows).check(&world, &case);
                tiled::<bf16>(&weights, &b, rows).check(&world, &format!("{case} bf16"));
            });
        }
    }
}

/// Long sums and many outputs.
#[test]
fn large_shapes_are_their_definition() {
    let world = world();
    let mut rng = rng(42);
    for (n, k, rows, kind, group) in [
        (24, 4096 + 32, 33, Kind::Zeros, 128),
        (8, 14336, 33, Kind::Symmetric, 512),
        (4104, 96, 33, Kind::Min, 32),
        (40, 576, 300, Kind::Symmetric, 64),
    ] {
        let weights = random_weights(&mut rng, kind, n, k, group);
        let x = activations::<f16>(&mut rng, "abs", rows * k);
        client::with_modes(
            |modes| modes.mma = client::MmaMode::Trunc,
            || tiled(&weights, &x, rows).check(&world, &format!("{kind:?} {n} x {k} group {group} rows {rows}")),
        );
    }
}

/// Where the skinny kernel does not split k over blocks, both make the same bits; and rows do not depend on their number.
#[test]
fn rows_are_those_of_the_exact_skinny_product() {
    let world = world();
    let mut rng = rng(43);
    for (kind, n, k, group) in [
        (Kind::Zeros, 24, 1000, 128),
        (Kind::Symmetric, 40, 1303, 32),
        (Kind::ZerosFromOne, 16, 2100, 32),
        (Kind::Min, 40, 576, 32),
        (Kind::Real, 8, 700, 256),
        (Kind::Min, 144, 1100, 128),
        (Kind::Int8, 24, 672, 32),
    ] {
        let weights = random_weights(&mut rng, kind, n, k, group);
        assert_eq!(matmul::workspace_bytes(&world.kernels, weights.layout(), 1), 0);
        let x = activations::<f16>(&mut rng, "gauss", 70 * k);
        in_repeatable_modes(|mode| {
            let case = format!("{kind:?} {n} x {k} group {group} {mode}");
            let all = bits(&tiled(&weights, &x, 70).run(&world).unwrap());
            assert_eq!(bits(&tiled(&weights, &x, 70).run(&world).unwrap()), all, "{case}: run to run");
            for rows in [1, 33, 64] {
                assert_eq!(bits(&tiled(&weights, &x, rows).run(&world).unwrap()), all[..rows * n], "{case}: {rows}");
            }
            for rows in [1, 9, 32] {
                let skinny = Call { decode: Decode::Exact, ..Call::<f16, f32>::new(&weights, &x, rows) };
                assert_eq!(bits(&skinny.run(&world).unwrap()), all[..rows * n], "{case}: skinny {rows}");
            }
        });
    }
}

/// Strides, unaligned rows, bias, residual, gate and segments.
#[test]
fn outputs_go_where_they_should() {
    let world = world();
    let World { kernels, stream } = &world;
    let (n, k, rows) = (96, 200, 40);
    let mut rng = rng(44);
    let weights = random_weights(&mut rng, Kind::Zeros, n, k, 64);
    let x = activations::<f16>(&mut rng, "plus3", rows * k);
    let bias: Vec<f32> = activations::<f16>(&mut rng, "gauss", n).iter().map(|x| x.to_f32()).collect();
    let residual: Vec<f32> = activations::<f16>(&mut rng, "gauss", rows * n).iter().map(|x| x.to_f32()).collect();
    let call = Call { bias: Some(&bias[..]), residual: Some(&residual[..]), ..tiled(&weights, &x, rows) };
    in_every_mode(|mode| call.check(&world, mode));
    let plain = Call { bias: Some(&bias[..]), ..tiled(&weights, &x, rows) }.run(&world).unwrap();

    let bytes = stream.clone_htod(weights.bytes()).unwrap();
    let (bytes, device_bias) = (bytes.as_view(), stream.clone_htod(&bias).unwrap());
    let device_bias = device_bias.as_view();
    for (stride, offset) in [(k + 1, 0), (k, 3), (k + 8, 8)] {
        let mut padded = vec![f16::NAN; rows * stride + offset];
        for (to, from) in padded[offset..].chunks_mut(stride).zip(x.chunks(k)) {
            to[..k].copy_from_slice(from);
        }
        let padded = stream.clone_htod(&padded).unwrap();
        let view = padded.slice(offset..offset + (rows - 1) * stride + k);
        let operands = Operands {
            layout: weights.layout(),
            weights: &bytes,
            x: &view,
            bias: Some(&device_bias),
            residual: Residual::None,
        };
        let out_stride = n + 5;
        let mut out = stream.clone_htod(&vec![-7f32; rows * out_stride]).unwrap();
        let config = TiledConfig { x_stride: stride, out_stride, ..TiledConfig::contiguous(weights.layout(), rows) };
        matmul::tiled(kernels, stream, &config, &operands, &mut out.as_view_mut()).unwrap();
        for (row, line) in stream.clone_dtoh(&out).unwrap().chunks(out_stride).enumerate() {
            assert_eq!(bits(&line[..n]), bits(&plain[row * n..][..n]), "stride {stride} offset {offset}");
            assert!(line[n..].iter().all(|&y| y == -7.0), "written beyond n");
        }
    }

    let device_x = stream.clone_htod(&x).unwrap();
    let device_x = device_x.as_view();
    let operands = Operands {
        layout: weights.layout(),
        weights: &bytes,
        x: &device_x,
        bias: Some(&device_bias),
        residual: Residual::None,
    };
    let config = TiledConfig::contiguous(weights.layout(), rows);
    let mut parts = [24, 40, 32].map(|columns| stream.clone_htod(&vec![-7f32; rows * columns]).unwrap());
    let mut segments = parts.each_mut().map(|part| {
        let columns = part.len() / rows;
        Segment { out: part.as_view_mut(), columns, stride: columns }
    });
    matmul::tiled(kernels, stream, &config, &operands, Output::Segments(&mut segments)).unwrap();
    let mut first = 0;
    for part in &parts {
        let columns = part.len() / rows;
        for (row, line) in stream.clone_dtoh(part).unwrap().chunks(columns).enumerate() {
            assert_eq!(bits(line), bits(&plain[row * n + first..][..columns]));
        }
        first += columns;
    }

    let mut out = stream.clone_htod(&vec![-7f32; rows * n / 2]).unwrap();
    let config = TiledConfig { out_stride: n / 2, ..config };
    let mut view = out.as_view_mut();
    matmul::tiled(kernels, stream, &config, &operands, Output::Gated(Gate::Silu, &mut view)).unwrap();
    let whole = lowbit::reference::matmul::skinny(&weights, &x, Some(&bias), None);
    let expected = lowbit::reference::matmul::gated(Gate::Silu, &whole, n);
    assert_close(&stream.clone_dtoh(&out).unwrap(), &expected, "gated");
}

#[test]
fn wrong_arguments_are_named() {
    let World { kernels, stream } = &world();
    let (n, k) = (24, 160);
    let weights = random_weights(&mut rng(45), Kind::Min, n, k, 32);
    let bytes = stream.clone_htod(weights.bytes()).unwrap();
    let x = stream.alloc_zeros::<f16>(40 * k).unwrap();
    let (bytes, x) = (bytes.as_view(), x.as_view());
    let mut out = stream.clone_htod(&vec![42f32; 40 * n]).unwrap();
    let good = TiledConfig::contiguous(weights.layout(), 40);
    for (config, message) in [
        (TiledConfig { rows: 0, ..good }, "`config.rows`: expected 1 to 1048576, found 0"),
        (TiledConfig { rows: (1 << 20) + 1, ..good }, "`config.rows`: expected 1 to 1048576, found 1048577"),
        (TiledConfig { rows: 41, ..good }, "`x`: expected at least 6560, found 6400"),
        (TiledConfig { x_stride: k - 1, ..good }, "`config.x_stride`: expected at least 160, found 159"),
        (TiledConfig { out_stride: n + 1, ..good }, "`out`: expected at least 999, found 960"),
    ] {
        let operands =
            Operands { layout: weights.layout(), weights: &bytes, x: &x, bias: None, residual: Residual::None };
        let error = matmul::tiled(kernels, stream, &config, &operands, &mut out.as_view_mut()).unwrap_err();
        assert_eq!(error.to_string(), format!("matmul::tiled: {message}"));
    }
    assert!(stream.clone_dtoh(&out).unwrap().iter().all(|&y| y == 42.0), "an error writes nothing");
}

/// Each block of rows reads the weights once, and x once for 128 outputs, without bank conflicts.
#[test]
fn weights_are_read_once_for_a_block_of_rows() {
    let world = world();
    if !client::active() {
        eprintln!("not softcuda: nothing is counted");
        return;
    }
    let (n, k) = (256, 1024);
    for (kernel, kind, group, block_rows, most) in [
        ("w4a16_f16_zero4_g128_tiled", Kind::Zeros, 128, 64, 1.03),
        ("w4a16_f16_min_g32_tiled", Kind::Min, 32, 32, 1.0),
        ("w8a16_f16_g32_tiled", Kind::Int8, 32, 64, 1.0),
    ] {
        let weights = random_weights(&mut rng(46), kind, n, k, group);
        let layout = weights.layout();
        let ideal = (layout.code_bytes() + layout.scale_bytes() + layout.zero_bytes()) as f64 / 32.0;
        for rows in [64usize, 128] {
            let x = activations::<f16>(&mut rng(47), "gauss", rows * k);
            client::reset_counters();
            tiled(&weights, &x, rows).run(&world).unwrap();
            let stats = client::counters_of(kernel).stats;
            let x_sectors = n.div_ceil(128) * rows * k * 2 / 32;
            let blocks = rows.div_ceil(block_rows) as f64;
            let requested = (stats.global_load_sectors - x_sectors as u64) as f64 / blocks;
            assert!(
                requested >= ideal && requested <= most * ideal,
                "{kernel} rows {rows}: {requested} sectors of weights for {ideal}"
            );
            assert_eq!(stats.shared_wavefronts, stats.shared_ideal_wavefronts, "{kernel}: bank conflicts");
            assert_eq!(stats.local_requests, 0, "{kernel}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_is_its_definition(
        n in 1usize..150, k in 1usize..500, g in 0usize..5, kind in 0usize..5, rows in 1usize..=130, x_kind in 0usize..4,
        seed: u64
    ) {
        let mut rng = rng(seed);
        let weights = random_weights(&mut rng, KINDS_OF_4_BITS[kind], n, k, [32, 64, 128, 256, k][g]);
        let x = activations::<f16>(&mut rng, X_KINDS[x_kind], rows * k);
        Call { tiled: true, ..Call::<f16, f16>::new(&weights, &x, rows) }.check(&world(), "f16");
    }
}
