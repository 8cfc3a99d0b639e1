//! Golden vectors: the reference equals them, the kernels follow.

use half::f16;
use lowbit::format::Code;
use lowbit::format::activation::Gate;

use crate::golden::Golden;
use crate::world::*;

fn golden_calls() -> Vec<(String, Call<f16>)> {
    let file = Golden::open("fused");
    let mut calls = Vec::new();
    for cols in [576, 200] {
        for smoothed in [false, true] {
            let name = if smoothed { "smoothed" } else { "plain" };
            let norm = |field: &str| format!("rmsnorm_c{cols}.{field}");
            let silu = |field: &str| format!("silu_c{cols}.{field}");
            let input = Input::Norm {
                x: file.f16(&norm("x")),
                residual: Some(file.f16(&norm("residual"))),
                weight: file.f16(&norm("weight")),
                smooth: smoothed.then(|| file.f32(&norm("smooth"))),
                epsilon: 1e-5,
            };
            let call = |input| Call { rows: 8, cols, stride: cols, shift: 0, input, coded: None };
            calls.push((norm(name), call(input)));
            let input = Input::Gate {
                function: Gate::Silu,
                gate: file.f16(&silu("gate")),
                up: file.f16(&silu("up")),
                smooth: smoothed.then(|| file.f32(&silu("smooth"))),
            };
            calls.push((silu(name), call(input)));
        }
    }
    calls
}

#[test]
fn rows_codes_and_scales() {
    let (world, file) = (world(), Golden::open("fused"));
    for (name, call) in golden_calls() {
        for (code, scheme) in [(Code::Int8, "int8"), (E4M3, "e4m3")] {
            let call = Call { coded: Some((code, Kind::Token)), ..call.clone() };
            let written = call.by_reference();
            // The oracle's row is rounded from f64, as the reference's is.
            assert_eq!(bits(&written.row), bits(&file.f16(&format!("{name}.row"))), "{name}");
            assert_eq!(written.codes, file.bytes(&format!("{name}.{scheme}.q")), "{name} {scheme}");
            assert_eq!(bits(&written.scale), bits(&file.f32(&format!("{name}.{scheme}.scale"))), "{name} {scheme}");
            if let Some(residual) = written.residual {
                let (op, _) = name.split_once('.').unwrap();
                assert_eq!(bits(&residual), bits(&file.f16(&format!("{op}.new_residual"))), "{name}");
            }
            call.check(&world, &name);
        }
        for (name, call) in golden_calls() {
            Call { coded: Some((E4M3, Kind::Group)), ..call }.check(&world, &name);
        }
    }
}

/// The kernel's row against the f64 oracle: half a unit in the last place and 2^-16 of the value for f32's roundings,
/// and half of f16's smallest number.
#[test]
fn rows_are_near_the_oracle() {
    let (world, file) = (world(), Golden::open("fused"));
    for (name, call) in golden_calls() {
        let oracle = file.f64(&format!("{name}.row_f64"));
        for (x, y) in call.by_device(&world, true).row.iter().zip(oracle) {
            let most = (2f64.powi(-11) + 2f64.powi(-16)) * y.abs() + 2f64.powi(-25);
            assert!((x.to_f64() - y).abs() <= most, "{name}: {x} for {y}");
        }
    }
}

/// A norm of rows of +-1 without epsilon has the weight as its row, exactly: so golden rows of ties, subnormals and
/// special values reach the quantizer of the fused kernel.
#[test]
fn golden_ties_through_the_weight() {
    let (world, file) = (world(), Golden::open("ties"));
    for set in file.names().iter().filter_map(|name| name.strip_suffix(".x")) {
        let (x, shape) = (file.f16(&format!("{set}.x")), file.shape(&format!("{set}.x")));
        let cols = shape[1];
        for (code, scheme) in [(Code::Int8, "int8"), (E4M3, "e4m3")] {
            let codes =
                file.names().contains(&format!("{set}.{scheme}.q")).then(|| file.bytes(&format!("{set}.{scheme}.q")));
            for (row, x) in x.chunks(cols).enumerate() {
                let ones = vec![f16::ONE; cols];
                let input = Input::Norm { x: ones, residual: None, weight: x.to_vec(), smooth: None, epsilon: 0.0 };
                let call = Call { rows: 1, cols, stride: cols, shift: 0, input, coded: Some((code, Kind::Token)) };
                let found = call.by_device(&world, true);
                assert_eq!(bits(&found.row), bits(x), "{set} row {row}");
                let (expected, scale) = quantized(code, Kind::Token, x, 1, cols);
                assert_eq!((&found.codes, bits(&found.scale)), (&expected, bits(&scale)), "{set} row {row} {scheme}");
                if let Some(codes) = &codes {
                    assert_eq!(found.codes, codes[row * cols..][..cols], "{set} row {row} {scheme}");
                }
            }
        }
    }
}
