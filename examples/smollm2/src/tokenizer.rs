//! Byte-level BPE built from the vocabulary and merges that a GGUF file carries (`tokenizer.ggml.*`).

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::quantized::gguf_file::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

use crate::gguf::Model;

/// ggml's token type of control tokens such as `<|im_start|>`.
const CONTROL: i64 = 3;

/// Text to tokens and back.
pub struct Text {
    tokenizer: Tokenizer,
    /// Token that ends a generation.
    pub end: Option<u32>,
}

impl Text {
    /// Builds the tokenizer of `model`. Known pre-tokenizers: `smollm` (digits one by one, then byte level).
    pub fn new(model: &Model) -> Result<Text> {
        let kind = string(model, "tokenizer.ggml.model")?;
        ensure!(kind == "gpt2", "tokenizer.ggml.model: expected gpt2 (byte-level BPE), found {kind}");
        let pre = string(model, "tokenizer.ggml.pre")?;
        ensure!(pre == "smollm", "tokenizer.ggml.pre: expected smollm, found {pre}");
        let tokens = strings(model, "tokenizer.ggml.tokens")?;
        let merges = strings(model, "tokenizer.ggml.merges")?
            .iter()
            .map(|m| {
                m.split_once(' ')
                    .map(|(a, b)| (a.to_string(), b.to_string()))
                    .with_context(|| format!("tokenizer.ggml.merges: {m:?} is not a pair"))
            })
            .collect::<Result<Vec<_>>>()?;
        let vocab: Vocab = tokens.iter().enumerate().map(|(i, t)| (t.clone(), i as u32)).collect();
        let bpe = BPE::builder().vocab_and_merges(vocab, merges).build().map_err(|e| anyhow!("tokenizer: {e}"))?;
        let mut tokenizer = Tokenizer::new(bpe);
        let byte_level = ByteLevel::new(false, true, true);
        let steps = vec![PreTokenizerWrapper::Digits(Digits::new(true)), PreTokenizerWrapper::ByteLevel(byte_level)];
        tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
        tokenizer.with_decoder(Some(byte_level));
        let control = match model.metadata("tokenizer.ggml.token_type") {
            Ok(Value::Array(types)) => types
                .iter()
                .zip(&tokens)
                .filter(|(kind, _)| kind.to_i32().is_ok_and(|k| k as i64 == CONTROL))
                .map(|(_, token)| AddedToken::from(token.clone(), true))
                .collect(),
            _ => Vec::new(),
        };
        tokenizer.add_special_tokens(control).map_err(|e| anyhow!("tokenizer: {e}"))?;
        let end = model.metadata("tokenizer.ggml.eos_token_id").ok().and_then(|v| v.to_u32().ok());
        Ok(Text { tokenizer, end })
    }

    /// Tokens of `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode_fast(text, false).map_err(|e| anyhow!("tokenizer: {e}"))?.get_ids().to_vec())
    }

    /// Text of `tokens`, control tokens left out. An unfinished UTF-8 sequence at the end shows as U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer.decode(tokens, true).map_err(|e| anyhow!("tokenizer: {e}"))
    }

    /// `prompt` as one user turn of the ChatML template.
    pub fn chat(&self, prompt: &str) -> Result<String> {
        ensure!(self.tokenizer.token_to_id("<|im_start|>").is_some(), "--chat: the vocabulary has no <|im_start|>");
        Ok(format!("<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"))
    }
}

fn string<'m>(model: &'m Model, key: &str) -> Result<&'m str> {
    model.metadata(key)?.to_string().map(String::as_str).map_err(|_| anyhow!("metadata {key}: expected a string"))
}

fn strings(model: &Model, key: &str) -> Result<Vec<String>> {
    let list = model.metadata(key)?.to_vec().map_err(|_| anyhow!("metadata {key}: expected a list"))?;
    list.iter().map(|v| v.to_string().cloned().map_err(|_| anyhow!("metadata {key}: expected strings"))).collect()
}
