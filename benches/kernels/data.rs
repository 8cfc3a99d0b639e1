//! Inputs, and the comparisons that several families share.

use std::ops::Range;

use lowbit::half::f16;
use lowbit::reference::matmul::Product;
use lowbit::weights::{Packed, PackedLayout};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::device::Outcome;

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Numbers in -1 to 1; every 97th is ten times as large.
pub fn numbers(len: usize, seed: u64) -> Vec<f16> {
    let mut rng = rng(seed);
    let mut one = |at| rng.random_range(-1.0..1.0) * if at % 97 == 5 { 10.0 } else { 1.0f32 };
    (0..len).map(|at| f16::from_f32(one(at))).collect()
}

pub fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = rng(seed);
    (0..len).map(|_| rng.random()).collect()
}

/// Packed weights with random codes and zeros; scales (and minima) of about 2^-7. Outputs and k must need no padding.
pub fn packed(layout: PackedLayout) -> Packed {
    let mut all = bytes(layout.bytes(), 3);
    for (at, scale) in all[layout.scales_at()..][..layout.scale_bytes()].chunks_exact_mut(2).enumerate() {
        scale.copy_from_slice(&f16::from_f32(0.0078 + 0.0001 * (at % 13) as f32).to_le_bytes());
    }
    Packed::from_bytes(layout, all).expect("as many bytes as the layout has")
}

/// A product of so many rows, made by `some` of them a thread.
pub fn by_rows(rows: usize, some: impl Fn(Range<usize>) -> Product + Sync) -> Product {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = rows.div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let some = &some;
        let parts = (0..rows).step_by(each).map(|from| scope.spawn(move || some(from..rows.min(from + each))));
        let mut whole = Product { y: Vec::new(), magnitude: Vec::new() };
        for part in parts.collect::<Vec<_>>() {
            let part = part.join().expect("a reference that takes its operands");
            whole.y.extend(part.y);
            whole.magnitude.extend(part.magnitude);
        }
        whole
    })
}

/// The tolerance of every product: `2^-11 |y| + 2^-20 sum |x||w|` in f16, and half of the least f16.
pub fn close(found: &[f16], product: &Product) -> Outcome<()> {
    for (at, (found, y)) in found.iter().zip(&product.y).enumerate() {
        let tolerance = 2f64.powi(-11) * y.abs() + 2f64.powi(-20) * product.magnitude[at] + 2f64.powi(-25);
        // Written so that NaN fails.
        let near = (found.to_f64() - y).abs() <= tolerance;
        if !near {
            return Err(format!("output {at} is {found}, the reference's {y}").into());
        }
    }
    if found.len() == product.y.len() { Ok(()) } else { Err("outputs are missing".into()) }
}

pub fn equal<T: PartialEq>(what: &str, found: &[T], expected: &[T]) -> Outcome<()> {
    let at = found.iter().zip(expected).position(|(a, b)| a != b);
    match at {
        Some(at) => Err(format!("{what} differ from the reference's, first at {at}").into()),
        None if found.len() != expected.len() => Err(format!("{what}: {} of {}", found.len(), expected.len()).into()),
        None => Ok(()),
    }
}
