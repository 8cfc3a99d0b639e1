//! The parts of a llama block that are neither a matrix product nor attention, in f32 on the host.

/// RMSNorm of each row of `x [rows, n]`: x / sqrt(mean(x^2) + eps) * weight.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let mean = row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32;
        let scale = 1.0 / (mean + eps).sqrt();
        out.extend(row.iter().zip(weight).map(|(v, w)| v * scale * w));
    }
    out
}

/// cos and sin of RoPE angles p * base^(-2i/rotary_dim), computed in f64.
pub struct Rope {
    rotary_dim: usize,
    base: f64,
}

impl Rope {
    /// Tables for `rotary_dim` channels.
    pub fn new(rotary_dim: usize, base: f32) -> Rope {
        Rope { rotary_dim, base: base as f64 }
    }

    /// Turns the interleaved pairs (2i, 2i+1) of every head of `x [tokens, heads, head_dim]`, token i at `position + i`.
    pub fn apply(&self, x: &mut [f32], heads: usize, head_dim: usize, position: usize) {
        for (token, row) in x.chunks_exact_mut(heads * head_dim).enumerate() {
            for i in 0..self.rotary_dim / 2 {
                let angle = (position + token) as f64 * self.base.powf(-2.0 * i as f64 / self.rotary_dim as f64);
                let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
                for head in row.chunks_exact_mut(head_dim) {
                    let (a, b) = (head[2 * i], head[2 * i + 1]);
                    head[2 * i] = a * cos - b * sin;
                    head[2 * i + 1] = a * sin + b * cos;
                }
            }
        }
    }
}

/// gate <- SiLU(gate) * up = gate / (1 + exp(-gate)) * up.
pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + (-*g).exp()) * u;
    }
}

/// y <- y + x.
pub fn add(y: &mut [f32], x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}
