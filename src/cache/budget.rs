//! How much memory a model's cache takes, and how many tokens fit.
//!
//! Without windows and padding the size is the formula everyone knows, `2 * layers * kv_heads * head_dim * tokens * bytes`;
//! here with scales, whole pages, windows and block tables.

use super::KvLayout;

/// The caches of all layers of a model; one layout for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelCache {
    /// Layers with attention.
    pub layers: u64,
    /// The cache of one layer.
    pub layout: KvLayout,
}

/// Bytes of a model's cache by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheBytes {
    /// Codes and scales, whole pages.
    pub pages: u64,
    /// State slots: the tokens kept in the model's dtype.
    pub windows: u64,
    /// Block tables (one for all layers), lengths and slots.
    pub tables: u64,
}

impl CacheBytes {
    /// All of it.
    pub const fn total(&self) -> u64 {
        self.pages + self.windows + self.tables
    }
}

impl ModelCache {
    /// Bytes of codes and scales per token, all layers.
    pub const fn bytes_per_token(&self) -> u64 {
        self.layers * self.layout.bytes_per_token() as u64
    }

    /// Bytes of `num_seqs` sequences of up to `tokens` tokens each.
    pub const fn bytes(&self, num_seqs: u64, tokens: u64) -> CacheBytes {
        let blocks = tokens.div_ceil(self.layout.shape().page_tokens as u64);
        CacheBytes {
            pages: self.layers * num_seqs * blocks * self.layout.page_bytes() as u64,
            windows: self.layers * num_seqs * self.layout.state_bytes() as u64,
            // Per sequence: a row of the table, its length, its first row, its slot.
            tables: num_seqs * (4 * blocks + 12),
        }
    }

    /// The most tokens, a whole number of pages, that `num_seqs` sequences can have each within `budget` bytes; 0 if not
    /// even the windows fit.
    pub const fn tokens_in(&self, budget: u64, num_seqs: u64) -> u64 {
        let fixed = self.bytes(num_seqs, 0).total();
        let block = self.bytes(num_seqs, self.layout.shape().page_tokens as u64).total() - fixed;
        if num_seqs == 0 || budget < fixed {
            0
        } else {
            (budget - fixed) / block * self.layout.shape().page_tokens as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{KvFormat, KvShape};
    use crate::format::DType;

    const GIB: u64 = 1 << 30;

    fn llama_70b(num_kv_heads: usize, format: KvFormat) -> ModelCache {
        let shape = KvShape { num_kv_heads, head_dim: 128, page_tokens: 64, max_append: 1, dtype: DType::F16 };
        ModelCache { layers: 80, layout: KvLayout::new(shape, format).unwrap() }
    }

    #[test]
    fn llama_70b_at_128k_tokens() {
        assert_eq!(llama_70b(8, KvFormat::FLOAT).bytes(1, 128 * 1024).pages, 40 * GIB);
        assert_eq!(llama_70b(64, KvFormat::FLOAT).bytes(1, 128 * 1024).pages, 320 * GIB);
        let kivi = llama_70b(8, KvFormat::kivi4(128)).bytes(1, 128 * 1024);
        assert_eq!(kivi.pages, 40 * GIB * 160 / 512);
        assert_eq!(kivi.windows, 80 * 2 * 8 * 160 * 128 * 2);
    }

    #[test]
    fn what_fits_fits_and_a_page_more_does_not() {
        for format in [KvFormat::FLOAT, KvFormat::INT8, KvFormat::kivi4(32)] {
            let model = llama_70b(8, format);
            for (budget, num_seqs) in [(GIB, 1), (24 * GIB, 7), (80 * GIB, 64)] {
                let tokens = model.tokens_in(budget, num_seqs);
                assert!(tokens > 0 && model.bytes(num_seqs, tokens).total() <= budget);
                assert!(model.bytes(num_seqs, tokens + 1).total() > budget, "{format} {budget} {num_seqs}");
            }
            assert_eq!((model.tokens_in(100, 8), model.tokens_in(GIB, 0)), (0, 0));
        }
    }
}
