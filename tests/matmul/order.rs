//! Act-order: activations put into the order of sorted weights, and their products.

use half::{bf16, f16};
use lowbit::format::Half16;
use lowbit::ops::matmul::{self, ArrangeConfig};
use lowbit::reference;
use lowbit::weights::{Gptq, GptqVersion, PADDING, Packed, ScaleValues, Words};
use rand::RngExt;

use crate::golden::Golden;
use crate::world::*;

/// Runs the kernel; elements between rows of the output must stay.
fn arrange<X: Half16>(world: &World, config: ArrangeConfig, order: &[u32], x: &[X], order_at: usize) -> Vec<X> {
    let World { kernels, stream } = world;
    let mut placed = vec![PADDING; order_at];
    placed.extend_from_slice(order);
    let (order, x) = (stream.clone_htod(&placed).unwrap(), stream.clone_htod(x).unwrap());
    let marker = X::from_f32(-7.0);
    let mut out = stream.clone_htod(&vec![marker; config.rows * config.out_stride]).unwrap();
    let (order, mut view) = (order.slice(order_at..), out.as_view_mut());
    matmul::arrange(kernels, stream, &config, &order, &x.as_view(), &mut view).unwrap();
    let out = stream.clone_dtoh(&out).unwrap();
    let rows = out.chunks(config.out_stride);
    assert!(rows.clone().all(|row| row[config.positions..].iter().all(|x| x.to_f32() == -7.0)), "between rows");
    rows.flat_map(|row| row[..config.positions].to_vec()).collect()
}

fn bits<X: Half16>(values: &[X]) -> Vec<u16> {
    bytemuck::cast_slice::<X, u16>(values).to_vec()
}

#[test]
fn arranged_rows_are_their_definition() {
    let world = world();
    let mut rng = rng(51);
    for (rows, inputs, positions) in [(1, 1, 1), (3, 100, 77), (2, 64, 4096), (5, 300, 32), (70, 24, 40)] {
        // Every bit pattern is moved as it is, NaN too.
        let x: Vec<f16> = (0..rows * inputs).map(|_| f16::from_bits(rng.random())).collect();
        let order: Vec<u32> = (0..positions)
            .map(|at| if at % 7 == 3 { [PADDING, inputs as u32][at % 2] } else { rng.random_range(0..inputs) as u32 })
            .collect();
        let expected = reference::matmul::arrange(&x, inputs, &order);
        for (extra, order_at) in [(0, 0), (3, 0), (0, 1)] {
            let contiguous = ArrangeConfig::contiguous(rows, inputs, positions);
            let config = ArrangeConfig { out_stride: contiguous.out_stride + extra, ..contiguous };
            in_every_mode(|mode| {
                let found = arrange(&world, config, &order, &x, order_at);
                assert_eq!(bits(&found), bits(&expected), "{rows} {inputs} {positions} {extra} {order_at} {mode}");
            });
        }
        let b: Vec<bf16> = x.iter().map(|x| bf16::from_bits(x.to_bits())).collect();
        let found = arrange(&world, ArrangeConfig::contiguous(rows, inputs, positions), &order, &b, 0);
        assert_eq!(bits(&found), bits(&expected), "bf16");
    }
}

/// GPTQ tensors with an act-order, shards of them and groups of unequal sizes: imported, packed, arranged, multiplied.
#[test]
fn act_order_gives_the_golden_products() {
    let world = world();
    let golden = Golden::open("matmul_act_order");
    for name in ["equal", "shard0", "shard1", "unequal"] {
        let g_idx = golden.i32(&format!("{name}.g_idx"));
        let scales = golden.f16(&format!("{name}.scales"));
        let qweight = golden.i32(&format!("{name}.gptq.qweight"));
        let qzeros = golden.i32(&format!("{name}.gptq_v1.qzeros"));
        let k = g_idx.len();
        let n = qweight.len() / (k / 8);
        let imported = Gptq {
            n,
            k,
            group: 64,
            version: GptqVersion::V1,
            qweight: Words::I32(&qweight),
            qzeros: Words::I32(&qzeros),
            scales: ScaleValues::F16(&scales),
            g_idx: Some(&g_idx),
        }
        .import()
        .unwrap();
        let weights = Packed::from_plain(&imported.weights).unwrap();
        let order = imported.order.clone().expect("groups that are no runs");
        for kind in ["gauss", "abs", "plus3"] {
            let x = golden.f16(&format!("{name}.x.{kind}"));
            let rows = x.len() / k;
            let positions = imported.weights.k;
            let config = ArrangeConfig { out_stride: positions, ..ArrangeConfig::contiguous(rows, k, positions) };
            let arranged = arrange(&world, config, &order, &x, 0);
            assert_eq!(bits(&arranged), bits(&imported.arrange(&x, k).unwrap()), "{name}: as on the host");
            for tiled in [false, true] {
                let call = Call { tiled, ..Call::<f16, f32>::new(&weights, &arranged, rows) };
                let y = golden.f64(&format!("{name}.y.{kind}"));
                let expected = reference::matmul::Product { y, magnitude: call.reference().magnitude };
                in_every_mode(|mode| {
                    assert_close(&call.run(&world).unwrap(), &expected, &format!("{name} {kind} tiled {tiled} {mode}"));
                });
            }
        }
    }
}

#[test]
fn wrong_arguments_are_named() {
    let World { kernels, stream } = &world();
    let (order, x) = (stream.alloc_zeros::<u32>(40).unwrap(), stream.alloc_zeros::<f16>(60).unwrap());
    let mut out = stream.clone_htod(&[f16::from_f32(42.0); 80]).unwrap();
    let good = ArrangeConfig::contiguous(2, 30, 40);
    for (config, message) in [
        (ArrangeConfig { rows: 0, ..good }, "`config.rows`: expected 1 to 1048576, found 0"),
        (ArrangeConfig { inputs: 0, ..good }, "`config.inputs`: expected 1 to 16777216, found 0"),
        (ArrangeConfig { positions: 1 << 25, ..good }, "`config.positions`: expected 1 to 16777216, found 33554432"),
        (ArrangeConfig { positions: 41, ..good }, "`order`: expected at least 41, found 40"),
        (ArrangeConfig { x_stride: 29, ..good }, "`config.x_stride`: expected at least 30, found 29"),
        (ArrangeConfig { x_stride: 31, ..good }, "`x`: expected at least 61, found 60"),
        (ArrangeConfig { out_stride: 39, ..good }, "`config.out_stride`: expected at least 40, found 39"),
        (ArrangeConfig { rows: 1, out_stride: 81, positions: 40, ..good }, ""),
        (ArrangeConfig { out_stride: 48, ..good }, "`out`: expected at least 88, found 80"),
    ] {
        let result = matmul::arrange(kernels, stream, &config, &order.as_view(), &x.as_view(), &mut out.as_view_mut());
        match result {
            Ok(()) => assert_eq!(message, "", "{config:?}"),
            Err(error) => {
                assert_eq!(error.to_string(), format!("matmul::arrange: {message}"));
                let found = stream.clone_dtoh(&out).unwrap();
                assert!(found[40..].iter().all(|y| y.to_f32() == 42.0), "an error writes nothing");
            }
        }
    }
}
