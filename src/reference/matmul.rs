//! Matrix products: the definition.

use super::activation::gated as gate;
use crate::error::Result;
use crate::format::activation::Gate;
use crate::format::outliers::OutlierOutputs;
use crate::format::{CodedRows, Element, Half16, Matrix};
use crate::reference::outliers::extract;
use crate::weights::{Packed, PackedBytes};

/// A product and the size of its terms, in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// `[rows, n]`: `y[m][n] = sum_k x[m][k]*w[n][k] (+ bias[n]) (+ residual[m][n])`, not rounded to the output type.
    pub y: Vec<f64>,
    /// `[rows, n]`: `sum_k |x[m][k]|*|w[n][k]|`, what rounding errors are measured against.
    pub magnitude: Vec<f64>,
}

/// This is the definition of [`crate::ops::matmul::skinny`]: exact weights ([`Packed::weight`]), f64 sums in the order
/// of k. `x` is `[rows, k]`, `bias` `[n]`, `residual` `[rows, n]`, all contiguous.
///
/// # Panics
/// If a slice does not have the length that the weights' layout and `x` imply.
pub fn skinny<X: Element, O: Element>(
    weights: &Packed,
    x: &[X],
    bias: Option<&[O]>,
    residual: Option<&[O]>,
) -> Product {
    let (n, k) = (weights.layout().n(), weights.layout().k());
    of_numbers((n, k), |output, at| weights.weight(output, at), x, bias, residual)
}

/// This is the definition of [`crate::ops::matmul::w8a8`]: exact x ([`CodedRows::value`]) and weights
/// ([`PackedBytes::weight`]), f64 sums in the order of k.
///
/// # Panics
/// If a slice does not have the length that `rows` and the weights' layout imply.
pub fn w8a8<O: Element>(
    weights: &PackedBytes,
    rows: usize,
    x: &CodedRows<&[u8], &[f32], &[i32]>,
    bias: Option<&[O]>,
    residual: Option<&[O]>,
) -> Product {
    let (n, k) = (weights.layout().n(), weights.layout().k());
    let value = |row: usize, at: usize| x.value(row, at, k);
    product((rows, n, k), |output, at| weights.weight(output, at), value, bias, residual)
}

/// This is the definition of [`crate::ops::matmul::w8a16`]: exact weights ([`PackedBytes::weight`]), f64 sums in the order of k. `x` is
/// `[rows, k]`, `bias` `[n]`, `residual` `[rows, n]`, all contiguous.
///
/// # Panics
/// If a slice does not have the length that the weights' layout and `x` imply.
pub fn w8a16<X: Half16, O: Element>(
    weights: &PackedBytes,
    x: &[X],
    bias: Option<&[O]>,
    residual: Option<&[O]>,
) -> Product {
    let (n, k) = (weights.layout().n(), weights.layout().k());
    of_numbers((n, k), |output, at| weights.weight(output, at), x, bias, residual)
}

/// This is the definition of [`crate::ops::matmul::w4a8`]: exact x ([`CodedRows::value`]) and weights
/// ([`Packed::weight`]), f64 sums in the order of k.
///
/// # Panics
/// If a slice does not have the length that `rows` and the weights' layout imply.
pub fn w4a8<O: Element>(
    weights: &Packed,
    rows: usize,
    x: &CodedRows<&[u8], &[f32], &[i32]>,
    bias: Option<&[O]>,
    residual: Option<&[O]>,
) -> Product {
    let (n, k) = (weights.layout().n(), weights.layout().k());
    let value = |row: usize, at: usize| x.value(row, at, k);
    product((rows, n, k), |output, at| weights.weight(output, at), value, bias, residual)
}

/// This is the definition of [`crate::ops::matmul::llm_int8`] behind [`crate::ops::outliers::extract`]: int8 x int8 (per row,
/// per output) without the columns of x `[rows, k]` where some row has |x| >= threshold; these as they are, by the decoded
/// weights. If they are more than `cap`, all of x is taken as it is.
///
/// # Errors
/// Those of [`extract`].
///
/// # Panics
/// If a slice does not have the length that the weights' layout and `x` imply.
pub fn llm_int8<X: Half16, O: Element>(
    weights: &PackedBytes,
    x: &[X],
    (threshold, cap): (f32, usize),
    bias: Option<&[O]>,
    residual: Option<&[O]>,
) -> Result<Product> {
    let (n, k) = (weights.layout().n(), weights.layout().k());
    let rows = x.len() / k;
    assert_eq!(x.len(), rows * k, "x is [rows, {k}]");
    let (mut codes, mut scale, mut columns) = (vec![0; rows * k], vec![0.0; rows], vec![0; cap]);
    let (mut count, mut values) = ([0; 2], vec![X::from_f32(0.0); rows * cap]);
    let out = OutlierOutputs {
        codes: &mut codes[..],
        scale: &mut scale[..],
        columns: &mut columns[..],
        count: &mut count[..],
        values: &mut values[..],
    };
    extract(threshold, Matrix::dense(rows, k), x, out)?;
    let as_it_is = |at: usize| count[1] != 0 || columns.contains(&(at as u32));
    let value = |row: usize, at: usize| match as_it_is(at) {
        true => f64::from(x[row * k + at].to_f32()),
        false => f64::from(codes[row * k + at] as i8) * f64::from(scale[row]),
    };
    Ok(product((rows, n, k), |output, at| weights.weight(output, at), value, bias, residual))
}

/// Of contiguous rows that are numbers as they are.
fn of_numbers<X: Element, O: Element>(
    (n, k): (usize, usize),
    weight: impl Fn(usize, usize) -> f64,
    x: &[X],
    bias: Option<&[O]>,
    residual: Option<&[O]>,
) -> Product {
    let rows = x.len() / k;
    assert_eq!(x.len(), rows * k, "x is [rows, {k}]");
    let x = |row: usize, at: usize| f64::from(x[row * k + at].to_f32());
    product((rows, n, k), weight, x, bias, residual)
}

fn product<O: Element>(
    (rows, n, k): (usize, usize, usize),
    weight: impl Fn(usize, usize) -> f64,
    x: impl Fn(usize, usize) -> f64,
    bias: Option<&[O]>,
    residual: Option<&[O]>,
) -> Product {
    assert!(bias.is_none_or(|bias| bias.len() == n), "bias is [{n}]");
    assert!(residual.is_none_or(|residual| residual.len() == rows * n), "residual is [{rows}, {n}]");
    let x: Vec<f64> = (0..rows * k).map(|at| x(at / k, at % k)).collect();
    let mut product = Product { y: vec![0.0; rows * n], magnitude: vec![0.0; rows * n] };
    for output in 0..n {
        let w: Vec<f64> = (0..k).map(|at| weight(output, at)).collect();
        for row in 0..rows {
            let at = row * n + output;
            for (x, w) in x[row * k..][..k].iter().zip(&w) {
                let term = x * w;
                product.y[at] += term;
                product.magnitude[at] += term.abs();
            }
            product.y[at] += bias.map_or(0.0, |bias| f64::from(bias[output].to_f32()));
            product.y[at] += residual.map_or(0.0, |residual| f64::from(residual[at].to_f32()));
        }
    }
    product
}

/// `f(y[m][j]) * y[m][n/2 + j]`, `[rows, n / 2]`, of a product `[rows, n]`: the definition of a gated output. The magnitude is
/// what errors of the size of the product's magnitudes become to first order, |f'| <= 1.13, and |y| for the function's own.
///
/// # Panics
/// If `n` is odd or the product is not whole rows of it.
pub fn gated(function: Gate, product: &Product, n: usize) -> Product {
    let half = n / 2;
    assert!(n.is_multiple_of(2) && product.y.len().is_multiple_of(n), "rows of two halves");
    let mut out = Product { y: Vec::new(), magnitude: Vec::new() };
    for (y, magnitude) in product.y.chunks_exact(n).zip(product.magnitude.chunks_exact(n)) {
        for at in 0..half {
            let (f, up) = (gate(function, y[at]), y[half + at]);
            out.y.push(f * up);
            let from_product = 1.13 * magnitude[at] * up.abs() + f.abs() * magnitude[half + at];
            out.magnitude.push(from_product + (f * up).abs());
        }
    }
    out
}

/// This is the definition of [`crate::ops::matmul::arrange`]: `out[r][j] = x[r][order[j]]`, 0 where `order[j] >= inputs`;
/// `x` is `[rows, inputs]`, the result `[rows, order.len()]`, both contiguous.
///
/// # Panics
/// If `x` is not whole rows.
pub fn arrange<X: Element>(x: &[X], inputs: usize, order: &[u32]) -> Vec<X> {
    assert!(x.len().is_multiple_of(inputs), "rows of {inputs}");
    let at = |row: &[X], at: u32| row.get(at as usize).copied().unwrap_or(X::from_f32(0.0));
    x.chunks_exact(inputs).flat_map(|row| order.iter().map(move |&position| at(row, position))).collect()
}
