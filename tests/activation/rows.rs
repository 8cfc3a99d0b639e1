//! Every output of every operation over shapes, strides, alignments and modes of the software device.

use half::{bf16, f16};
use lowbit::format::activation::{Gate, MAX_COLS};
use lowbit::format::{Code, Half16};
use nvcuda::client::{self, Approx, Schedule};
use proptest::prelude::*;

use crate::world::*;

const GATES: [Gate; 3] = [Gate::Silu, Gate::GeluTanh, Gate::GeluErf];
const KINDS: [Kind; 3] = [Kind::Token, Kind::Static(0.02), Kind::Group];

fn span(rows: usize, cols: usize, stride: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride + cols }
}

/// The norm with and without residual and smoothing, and the gates, by number.
fn input<E: Half16>(which: usize, rows: usize, cols: usize, stride: usize, seed: u64, special: bool) -> Input<E> {
    let len = span(rows, cols, stride);
    let x = numbers(len, seed, special);
    let smooth = (which % 2 == 1).then(|| divisors(cols, seed + 2));
    match which {
        0..4 => Input::Norm {
            x,
            residual: (which >= 2).then(|| numbers(len, seed + 1, special)),
            weight: numbers(cols, seed + 3, false),
            smooth,
            epsilon: 1e-5,
        },
        _ => {
            // Not infinite: that times a sigmoid below 2^-126 is NaN on the device, and infinite in f64.
            let finite = |x: E| if x.to_f32().is_infinite() { E::from_f32(1.0) } else { x };
            let up = numbers(len, seed + 1, special).into_iter().map(finite).collect();
            Input::Gate { function: GATES[which % 3], gate: x, up, smooth }
        }
    }
}
const INPUTS: usize = 4 + 6;

fn every<E: Half16>(world: &World, rows: usize, cols: usize, stride: usize, shift: usize, special: bool) {
    for which in 0..INPUTS {
        let input = input::<E>(which, rows, cols, stride, which as u64 + 10, special);
        let coded = [None]
            .into_iter()
            .chain([Code::Int8, E4M3].into_iter().flat_map(|code| KINDS.map(|kind| Some((code, kind)))));
        for coded in coded {
            let call = Call { rows, cols, stride, shift, input: input.clone(), coded };
            call.check(world, &format!("{} input {which}", E::DTYPE));
        }
    }
}

#[test]
fn shapes() {
    let world = world();
    for (rows, cols, stride, shift) in
        [(0, 8, 8, 0), (3, 0, 0, 0), (1, 1, 1, 0), (2, 7, 9, 1), (3, 128, 136, 0), (2, 328, 328, 8), (2, 129, 131, 3)]
    {
        every::<f16>(&world, rows, cols, stride, shift, false);
        every::<bf16>(&world, rows, cols, stride, shift, false);
    }
}

/// A NaN or an infinity in a norm's row makes all of it NaN or zero; in a gate's it stays where it is.
#[test]
fn special_values() {
    let world = world();
    every::<f16>(&world, 6, 200, 200, 0, true);
    every::<bf16>(&world, 6, 200, 200, 0, true);
    let finite = |rows: usize, x: f32| vec![bf16::from_f32(x); rows * 64];
    for x in [-90.0, -120.0, 90.0, 1e5, -1e5] {
        for function in GATES {
            let input = Input::Gate { function, gate: finite(1, x), up: finite(1, 2.0), smooth: None };
            let coded = Some((Code::Int8, Kind::Token));
            Call { rows: 1, cols: 64, stride: 64, shift: 0, input, coded }.check(&world, "tails");
        }
    }
}

/// Sizes of models, and the longest row.
#[test]
fn long_rows() {
    let world = world();
    for (which, cols) in [(2, 4096), (6, 14_336), (1, 16_385), (4, MAX_COLS)] {
        for coded in [(Code::Int8, Kind::Token), (E4M3, Kind::Group)] {
            let input = input::<f16>(which, 1, cols, cols, 5, false);
            Call { rows: 1, cols, stride: cols, shift: 0, input, coded: Some(coded) }.check(&world, "long");
        }
    }
}

/// Halves of one buffer, as a fused projection leaves them.
#[test]
fn halves_of_one_buffer() {
    let world = world();
    let (rows, cols) = (3, 256);
    let both = numbers::<f16>(rows * 2 * cols, 9, false);
    let (gate, up) = (both[..(rows - 1) * 2 * cols + cols].to_vec(), both[cols..].to_vec());
    let input = Input::Gate { function: Gate::Silu, gate, up, smooth: None };
    let coded = Some((Code::Int8, Kind::Token));
    Call { rows, cols, stride: 2 * cols, shift: 0, input, coded }.check(&world, "halves");
}

#[test]
fn every_numerics_mode_and_model() {
    for model in ["sm_80", "sm_89", "sm_90"] {
        client::set_model(model);
        let world = world();
        for approx in [Approx::Rounded, Approx::Perturbed] {
            for schedule in [Schedule::InOrder, Schedule::Adversarial] {
                client::with_modes(
                    |m| (m.approx, m.schedule, m.seed) = (approx, schedule, 23),
                    || every::<f16>(&world, 2, 264, 264, 0, false),
                );
            }
        }
    }
    client::reset_modes();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_shape_stride_and_alignment(
        rows in 1usize..5, eights in 1usize..90, ragged in 0usize..8, gap in 0usize..9, shift in 0usize..9,
        which in 0usize..INPUTS, kind in 0usize..3, int8: bool, is_bf16: bool, special: bool, seed in 0u64..1000,
    ) {
        let world = world();
        let cols = eights * 8 - ragged;
        let stride = cols + gap;
        let coded = Some((if int8 { Code::Int8 } else { E4M3 }, KINDS[kind]));
        if is_bf16 {
            let input = input::<bf16>(which, rows, cols, stride, seed, special);
            Call { rows, cols, stride, shift, input, coded }.check(&world, "bf16");
        } else {
            let input = input::<f16>(which, rows, cols, stride, seed, special);
            Call { rows, cols, stride, shift, input, coded }.check(&world, "f16");
        }
    }
}
