//! Rotary position embedding (Su et al. 2021, "RoFormer", arXiv 2104.09864): which channels are pairs, and the table of
//! their angles.

/// Which two channels of a head are one pair; pair i of `rotary_dim / 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RopeStyle {
    /// Channels 2i and 2i + 1 (GPT-J, GGUF's llama).
    Interleaved,
    /// Channels i and i + `rotary_dim / 2` (GPT-NeoX, Hugging Face's llama).
    HalfSplit,
}

/// The table that the cache's append takes: `f32 [positions, rotary_dim / 2, 2]`, cosine and sine of the angle
/// `position * theta^(-2 i / rotary_dim)` of pair i, computed in f64. An engine with other angles (scaled frequencies,
/// scaled sums) makes its own table.
pub fn rope_table(theta: f64, rotary_dim: usize, positions: usize) -> Vec<f32> {
    let pairs = rotary_dim / 2;
    let frequency: Vec<f64> = (0..pairs).map(|i| theta.powf(-2.0 * i as f64 / rotary_dim as f64)).collect();
    let mut table = Vec::with_capacity(2 * pairs * positions);
    for position in 0..positions {
        for frequency in &frequency {
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            table.extend([cos as f32, sin as f32]);
        }
    }
    table
}
