//! Codebooks and ranges of KVQuant (Hooper et al., arXiv 2401.18079).

use half::f16;

use super::to_f16;
use crate::error::{Error, Result};
use crate::format::Codebook;

/// Rounds of k-means; it ends earlier when nothing moves.
const ROUNDS: usize = 100;

/// The table of `bits` (2, 3, 4) for normalized values: weighted k-means in one dimension over those with |z| <= 1, from
/// quantile starts ((i + 1/2) / levels), rounded to f16.
///
/// `weights`, if given, are one a value, not negative: KVQuant's are squared gradients of the loss (Fisher information). What attention
/// gives a token and how large its queries are does as well, without gradients: examples/smollm2/src/calibration.rs.
/// Values that are not finite, or beyond 1 (outliers, which are kept aside), do not count.
///
/// The values are sorted once, with running sums of weight and of weight times value, so a round costs a binary search a
/// level: calibration is as fast as its sort, which the feature `rayon` spreads over threads (the order of a stable sort is
/// one, so the result is the same).
///
/// # Errors
/// [`Error::Argument`]: other bits, weights of another number, negative or not finite, or no value that counts.
pub fn nuq(bits: usize, z: &[f32], weights: Option<&[f32]>) -> Result<Codebook> {
    const OP: &str = "calibrate::nuq";
    if !(2..=4).contains(&bits) {
        return Err(Error::argument(OP, "bits", "2, 3 or 4", bits.to_string()));
    }
    if let Some(found) = weights.map(<[f32]>::len).filter(|&len| len != z.len()) {
        return Err(Error::argument(OP, "weights", format!("{} weights", z.len()), found.to_string()));
    }
    if let Some(w) = weights.into_iter().flatten().find(|w| !(w.is_finite() && **w >= 0.0)) {
        return Err(Error::argument(OP, "weights", "finite weights, none negative", w.to_string()));
    }
    let weight = |i: usize| weights.map_or(1.0, |w| w[i]);
    let mut points: Vec<(f32, f32)> = z.iter().enumerate().map(|(i, &z)| (z, weight(i))).collect();
    points.retain(|&(z, w)| z.abs() <= 1.0 && w > 0.0);
    if points.is_empty() {
        return Err(Error::argument(OP, "z", "a value with |z| <= 1 and a weight", "none"));
    }
    sort(&mut points);
    let sums = Sums::new(&points);
    let count = 1 << bits;
    let mut levels: Vec<f64> = (0..count).map(|i| quantile(&points, (i as f64 + 0.5) / count as f64)).collect();
    for _ in 0..ROUNDS {
        let next = sums.means(&points, &levels);
        let moved = next != levels;
        levels = next;
        if !moved {
            break;
        }
    }
    Codebook::new(&levels.into_iter().map(to_f16).collect::<Vec<_>>())
}

/// Running sums over the first i points.
struct Sums {
    weight: Vec<f64>,
    moment: Vec<f64>,
}

impl Sums {
    fn new(points: &[(f32, f32)]) -> Sums {
        let (mut weight, mut moment) = (vec![0.0], vec![0.0]);
        let (mut w, mut m) = (0.0, 0.0);
        for point in points {
            let point_weight = f64::from(point.1);
            w += point_weight;
            m += point_weight * f64::from(point.0);
            weight.push(w);
            moment.push(m);
        }
        Sums { weight, moment }
    }

    /// The mean of the points nearest to each level (a tie goes to the lower level); a level without points stays.
    fn means(&self, points: &[(f32, f32)], levels: &[f64]) -> Vec<f64> {
        let boundary = |pair: &[f64]| {
            let middle = (pair[0] + pair[1]) / 2.0;
            points.partition_point(|point| f64::from(point.0) <= middle)
        };
        let inner = levels.windows(2).map(boundary);
        let ends: Vec<usize> = std::iter::once(0).chain(inner).chain(std::iter::once(points.len())).collect();
        let mean = |(i, level): (usize, &f64)| {
            let (from, to) = (ends[i], ends[i + 1].max(ends[i]));
            let weight = self.weight[to] - self.weight[from];
            if weight > 0.0 { (self.moment[to] - self.moment[from]) / weight } else { *level }
        };
        let mut means: Vec<f64> = levels.iter().enumerate().map(mean).collect();
        means.sort_by(f64::total_cmp);
        means
    }
}

#[cfg(feature = "rayon")]
fn sort(points: &mut [(f32, f32)]) {
    use rayon::slice::ParallelSliceMut;
    points.par_sort_by(|a, b| a.0.total_cmp(&b.0));
}

#[cfg(not(feature = "rayon"))]
fn sort(points: &mut [(f32, f32)]) {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
}

/// The quantile of sorted values, between neighbours on a straight line (numpy's default).
fn quantile(sorted: &[(f32, f32)], q: f64) -> f64 {
    let at = (sorted.len() - 1) as f64 * q;
    let low = at.floor() as usize;
    let (a, b) = (f64::from(sorted[low].0), f64::from(sorted[(low + 1).min(sorted.len() - 1)].0));
    let t = at - low as f64;
    if t < 0.5 { a + (b - a) * t } else { b - (b - a) * (1.0 - t) }
}

/// Range and zero of every channel for [`crate::format::Spread::Channel`]: half width and centre of the interval between
/// the quantiles `tail` and 1 - `tail` over the rows of `x` [rows, channels].
///
/// KVQuant's `tail` is 0.005: 1 % of a row are outliers, and it has slots for so many of all heads' channels. A cache has them
/// head by head ([`crate::cache::KvFormat::nuq4`]); what is beyond the range and finds no slot is cut off at it. With few slots a smaller
/// tail loses less (examples/smollm2: 0.003 with two slots for 64 channels).
///
/// # Errors
/// [`Error::Argument`]: a tail outside 0..0.5, no channel, `x` that is not whole rows or has none, or is not finite.
pub fn channel_range(x: &[f32], channels: usize, tail: f64) -> Result<(Vec<f16>, Vec<f16>)> {
    const OP: &str = "calibrate::channel_range";
    if !(0.0..0.5).contains(&tail) {
        return Err(Error::argument(OP, "tail", "from 0 to below 0.5", tail.to_string()));
    }
    if channels == 0 || x.is_empty() || !x.len().is_multiple_of(channels) {
        return Err(Error::argument(OP, "x", format!("rows of {channels} channels"), x.len().to_string()));
    }
    if let Some(v) = x.iter().find(|v| !v.is_finite()) {
        return Err(Error::argument(OP, "x", "finite values", v.to_string()));
    }
    let of_channel = |channel: usize| {
        let mut column: Vec<(f32, f32)> = x[channel..].iter().step_by(channels).map(|&v| (v, 1.0)).collect();
        sort(&mut column);
        let (high, low) = (quantile(&column, 1.0 - tail), quantile(&column, tail));
        (to_f16((high - low) / 2.0), to_f16((high + low) / 2.0))
    };
    Ok((0..channels).map(of_channel).unzip())
}
