//! Reads a llama-architecture GGUF file: metadata into a [`Config`], tensors by name with their shapes checked.
//!
//! The container format is candle's reader; what this file adds is errors that name the file, the tensor and the place.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};

/// Shape of a llama-architecture model, from the metadata of its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the gated feed-forward layer.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Channels of one head.
    pub head_dim: usize,
    /// Channels of a head that RoPE turns, in interleaved pairs (2i, 2i+1).
    pub rotary_dim: usize,
    /// RoPE base.
    pub rope_base: f32,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
    /// Longest context the model was trained for, in tokens.
    pub context: usize,
    /// Entries of the vocabulary.
    pub vocab: usize,
}

/// An open model file.
pub struct Model {
    path: PathBuf,
    content: Content,
    file: Tracked<BufReader<File>>,
    /// The model's shape.
    pub config: Config,
}

/// Remembers how far the file was read, so that an error can say where.
struct Tracked<R> {
    inner: R,
    position: u64,
}

impl<R: Read> Read for Tracked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: Seek> Seek for Tracked<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.position = self.inner.seek(to)?;
        Ok(self.position)
    }
}

impl Model {
    /// Opens `path`, reads its metadata and checks that every tensor the architecture needs is there with the right shape and a
    /// type that this program can run.
    pub fn open(path: &Path) -> Result<Model> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("{name}: cannot be opened"))?;
        let size = file.metadata().with_context(|| format!("{name}: cannot be examined"))?.len();
        let mut file = Tracked { inner: BufReader::new(file), position: 0 };
        let content = Content::read(&mut file).map_err(|e| {
            anyhow::anyhow!("{name}: not a readable GGUF file: at byte {} of {size}: {}", file.position, one_line(&e))
        })?;
        let config = Config::read(&content).with_context(|| format!("{name}: metadata"))?;
        let model = Model { path: path.to_owned(), content, file, config };
        model.check(size).with_context(|| format!("{name}"))?;
        Ok(model)
    }

    /// The tensor `name` as stored.
    pub fn tensor(&mut self, name: &str) -> Result<QTensor> {
        self.content
            .tensor(&mut self.file, name, &Device::Cpu)
            .map_err(|e| anyhow::anyhow!("{}: tensor {name}: {}", self.path.display(), one_line(&e)))
    }

    /// The tensor `name` as f32, row-major.
    pub fn dequantized(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(self.tensor(name)?.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()?)
    }

    /// Whether the output projection is the embedding itself.
    pub fn tied(&self) -> bool {
        !self.content.tensor_infos.contains_key("output.weight")
    }

    /// The metadata entry `key`.
    pub fn metadata(&self, key: &str) -> Result<&Value> {
        self.content.metadata.get(key).with_context(|| format!("{}: metadata {key} is missing", self.path.display()))
    }

    fn check(&self, size: u64) -> Result<()> {
        for (name, rows, columns) in self.config.tensors(self.tied()) {
            let info = self.content.tensor_infos.get(&name).with_context(|| format!("tensor {name} is missing"))?;
            let expected: Vec<usize> = if rows == 1 { vec![columns] } else { vec![rows, columns] };
            ensure!(
                info.shape.dims() == expected,
                "tensor {name}: expected shape {expected:?}, found {:?}",
                info.shape.dims()
            );
            let supported = if rows == 1 { &NORM_TYPES[..] } else { &MATRIX_TYPES[..] };
            ensure!(
                supported.contains(&info.ggml_dtype),
                "tensor {name}: type {:?} is not supported; supported are {supported:?}",
                info.ggml_dtype
            );
            let block = info.ggml_dtype.block_size();
            ensure!(columns.is_multiple_of(block), "tensor {name}: rows of {columns} are not whole blocks of {block}");
            let bytes = (rows * columns / block * info.ggml_dtype.type_size()) as u64;
            let start = self.content.tensor_data_offset.saturating_add(info.offset);
            ensure!(
                start.checked_add(bytes).is_some_and(|end| end <= size),
                "tensor {name}: needs bytes {start}..{} and the file ends at {size}: truncated",
                start.saturating_add(bytes)
            );
        }
        Ok(())
    }
}

/// Types a matrix may have.
const MATRIX_TYPES: [GgmlDType; 5] =
    [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q8_0, GgmlDType::F16, GgmlDType::F32];
/// Types a norm's weight may have.
const NORM_TYPES: [GgmlDType; 2] = [GgmlDType::F32, GgmlDType::F16];

impl Config {
    fn read(content: &Content) -> Result<Config> {
        let get = |key: &str| content.metadata.get(key).with_context(|| format!("{key} is missing"));
        let architecture = get("general.architecture")?
            .to_string()
            .map_err(|e| anyhow::anyhow!("general.architecture: {}", one_line(&e)))?;
        ensure!(architecture == "llama", "general.architecture: expected llama, found {architecture}");
        let integer = |value: &Value, key: &str| match value.to_u64() {
            Ok(n) if n > 0 && n <= u32::MAX as u64 => Ok(n as usize),
            _ => bail!("{key}: expected a positive 32-bit integer, found {value:?}"),
        };
        let number = |key: &str| integer(get(key)?, key);
        let or = |key: &str, default: usize| content.metadata.get(key).map_or(Ok(default), |v| integer(v, key));
        let float = |value: &Value, key: &str| match value.to_f32() {
            Ok(x) if x.is_finite() && x > 0.0 => Ok(x),
            _ => bail!("{key}: expected a positive f32, found {value:?}"),
        };
        let (hidden, heads) = (number("llama.embedding_length")?, number("llama.attention.head_count")?);
        let head_dim = or("llama.attention.key_length", hidden / heads)?;
        let tokens = "tokenizer.ggml.tokens";
        let config = Config {
            layers: number("llama.block_count")?,
            hidden,
            ffn: number("llama.feed_forward_length")?,
            heads,
            kv_heads: or("llama.attention.head_count_kv", heads)?,
            head_dim,
            rotary_dim: or("llama.rope.dimension_count", head_dim)?,
            rope_base: content
                .metadata
                .get("llama.rope.freq_base")
                .map_or(Ok(10_000.0), |v| float(v, "llama.rope.freq_base"))?,
            norm_eps: float(get("llama.attention.layer_norm_rms_epsilon")?, "llama.attention.layer_norm_rms_epsilon")?,
            context: or("llama.context_length", 2048)?,
            vocab: get(tokens)?.to_vec().map_err(|e| anyhow::anyhow!("{tokens}: {}", one_line(&e)))?.len(),
        };
        ensure!(
            config.heads.is_multiple_of(config.kv_heads),
            "{} query heads are no multiple of {} KV heads",
            config.heads,
            config.kv_heads
        );
        ensure!(
            config.rotary_dim.is_multiple_of(2) && config.rotary_dim <= head_dim,
            "llama.rope.dimension_count: expected an even number up to {head_dim}, found {}",
            config.rotary_dim
        );
        Ok(config)
    }

    /// Weights of all blocks' matrices.
    pub fn block_weights(&self) -> usize {
        let of_blocks = |(name, rows, _): &(String, usize, usize)| name.starts_with("blk.") && *rows > 1;
        self.tensors(true).iter().filter(|t| of_blocks(t)).map(|(_, rows, columns)| rows * columns).sum()
    }

    /// Name, rows and columns of every tensor of the architecture; a vector has one row.
    fn tensors(&self, tied: bool) -> Vec<(String, usize, usize)> {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut all = vec![
            ("token_embd.weight".to_string(), self.vocab, self.hidden),
            ("output_norm.weight".to_string(), 1, self.hidden),
        ];
        if !tied {
            all.push(("output.weight".to_string(), self.vocab, self.hidden));
        }
        for layer in 0..self.layers {
            for (name, rows, columns) in [
                ("attn_norm", 1, self.hidden),
                ("attn_q", q, self.hidden),
                ("attn_k", kv, self.hidden),
                ("attn_v", kv, self.hidden),
                ("attn_output", self.hidden, q),
                ("ffn_norm", 1, self.hidden),
                ("ffn_gate", self.ffn, self.hidden),
                ("ffn_up", self.ffn, self.hidden),
                ("ffn_down", self.hidden, self.ffn),
            ] {
                all.push((format!("blk.{layer}.{name}.weight"), rows, columns));
            }
        }
        all
    }
}

/// The first line of an error's text: candle appends a backtrace to some.
fn one_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}
