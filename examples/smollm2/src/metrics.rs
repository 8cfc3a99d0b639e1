//! What a cache format costs in accuracy, against the f32 run on the same tokens.

use rayon::prelude::*;

/// Accuracy of one run over a chunk of tokens; natural logarithms.
#[derive(Debug, Clone)]
pub struct Accuracy {
    /// Tokens predicted: all of the chunk but the first.
    pub predictions: usize,
    /// exp of the mean negative log-likelihood.
    pub perplexity: f64,
    /// Mean of the NLL's increase over the f32 run, in nats per token.
    pub dnll: f64,
    /// Standard error of `dnll`: the differences' standard deviation over the square root of their count.
    pub dnll_se: f64,
    /// Mean Kullback-Leibler divergence KL(f32 || run), in nats.
    pub kl: f64,
    /// Share of positions whose most likely token is the f32 run's.
    pub top1: f64,
}

/// What one position contributes: the NLL of its next token in both runs, KL, and whether the most likely tokens agree.
struct Position {
    baseline: f64,
    run: f64,
    kl: f64,
    agree: bool,
}

/// Log-probabilities `[tokens, vocab]` of logits, row by row, in place.
pub fn log_softmax(logits: &mut [f32], vocab: usize) {
    logits.par_chunks_exact_mut(vocab).for_each(|row| {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|&x| ((x - top) as f64).exp()).sum();
        let shift = top as f64 + total.ln();
        row.iter_mut().for_each(|x| *x = (*x as f64 - shift) as f32);
    });
}

/// Compares log-probabilities `run` with `baseline`, both `[tokens, vocab]`, for the token sequence `ids`.
pub fn compare(ids: &[u32], baseline: &[f32], run: &[f32], vocab: usize) -> Accuracy {
    let predictions = ids.len() - 1;
    let rows: Vec<Position> = (0..ids.len())
        .into_par_iter()
        .map(|t| {
            let (p, q) = (&baseline[t * vocab..][..vocab], &run[t * vocab..][..vocab]);
            let kl = p.iter().zip(q).map(|(&p, &q)| (p as f64).exp() * (p as f64 - q as f64)).sum();
            let nll = |row: &[f32]| ids.get(t + 1).map_or(0.0, |&next| -row[next as usize] as f64);
            Position { baseline: nll(p), run: nll(q), kl, agree: argmax(p) == argmax(q) }
        })
        .collect();
    let n = predictions as f64;
    let mean = |f: &dyn Fn(&Position) -> f64| rows[..predictions].iter().map(f).sum::<f64>() / n;
    let dnll = mean(&|r| r.run - r.baseline);
    let variance = mean(&|r| (r.run - r.baseline - dnll).powi(2));
    Accuracy {
        predictions,
        perplexity: mean(&|r| r.run).exp(),
        dnll,
        dnll_se: (variance / n).sqrt(),
        kl: rows.iter().map(|r| r.kl).sum::<f64>() / rows.len() as f64,
        top1: rows.iter().filter(|r| r.agree).count() as f64 / rows.len() as f64,
    }
}

/// Index of the largest element, the first of equals.
pub fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &x)| if x > best.1 { (i, x) } else { best }).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_equal_to_the_baseline_costs_nothing() {
        let mut logits = vec![1.0, 2.0, 3.0, 3.0, 1.0, 0.0, 0.5, 0.5, 0.0];
        log_softmax(&mut logits, 3);
        let a = compare(&[0, 2, 0], &logits, &logits, 3);
        assert_eq!((a.predictions, a.dnll, a.dnll_se, a.kl, a.top1), (2, 0.0, 0.0, 0.0, 1.0));
        let expected = ((-logits[2] - logits[3]) as f64 / 2.0).exp();
        assert!((a.perplexity - expected).abs() < 1e-6);
    }

    #[test]
    fn figures_of_two_known_distributions() {
        // baseline (1/2, 1/2), run (1/4, 3/4) at both of two positions
        let ln = |x: f64| x.ln() as f32;
        let base = [ln(0.5); 4];
        let run = [ln(0.25), ln(0.75), ln(0.25), ln(0.75)];
        let a = compare(&[0, 0], &base, &run, 2);
        assert!((a.dnll - 2f64.ln()).abs() < 1e-6);
        assert!((a.kl - 0.5 * (4.0f64 / 3.0).ln()).abs() < 1e-6);
        assert!((a.perplexity - 4.0).abs() < 1e-5);
        assert_eq!(a.top1, 0.0);
    }
}
