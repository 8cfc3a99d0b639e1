//! Skinny matrix products: the definition.

use crate::format::Element;
use crate::weights::Packed;

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
    let rows = x.len() / k;
    assert_eq!(x.len(), rows * k, "x is [rows, {k}]");
    assert!(bias.is_none_or(|bias| bias.len() == n), "bias is [{n}]");
    assert!(residual.is_none_or(|residual| residual.len() == rows * n), "residual is [{rows}, {n}]");
    let mut product = Product { y: vec![0.0; rows * n], magnitude: vec![0.0; rows * n] };
    for output in 0..n {
        let w: Vec<f64> = (0..k).map(|at| weights.weight(output, at)).collect();
        for row in 0..rows {
            let at = row * n + output;
            for (x, w) in x[row * k..][..k].iter().zip(&w) {
                let term = f64::from(x.to_f32()) * w;
                product.y[at] += term;
                product.magnitude[at] += term.abs();
            }
            product.y[at] += bias.map_or(0.0, |bias| f64::from(bias[output].to_f32()));
            product.y[at] += residual.map_or(0.0, |residual| f64::from(residual[at].to_f32()));
        }
    }
    product
}
