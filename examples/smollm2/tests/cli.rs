//! The program from outside: a tiny model made here goes through both commands, and broken files each give one clear line.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::quantized::gguf_file::{self, Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

const HIDDEN: usize = 128;
const FFN: usize = 192;
const LAYERS: usize = 2;
const HEADS: usize = 2;
const KV_HEADS: usize = 1;
const HEAD_DIM: usize = 64;

/// Deterministic numbers in -0.5..0.5.
fn noise(count: usize, seed: &mut u64) -> Vec<f32> {
    let mut next = || {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn alphabet() -> Vec<String> {
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    letters.into_iter().map(String::from).collect()
}

/// A model file of every supported matrix type.
fn model(edit: impl Fn(&mut Vec<(String, Value)>, &mut Vec<(String, QTensor)>)) -> Vec<u8> {
    let tokens: Vec<String> = alphabet().into_iter().chain(["he".to_string(), "Ġthe".to_string()]).collect();
    let vocab = tokens.len();
    let strings = |list: &[String]| Value::Array(list.iter().cloned().map(Value::String).collect());
    let mut metadata: Vec<(String, Value)> = vec![
        ("general.architecture".into(), Value::String("llama".into())),
        ("llama.block_count".into(), Value::U32(LAYERS as u32)),
        ("llama.embedding_length".into(), Value::U32(HIDDEN as u32)),
        ("llama.feed_forward_length".into(), Value::U32(FFN as u32)),
        ("llama.attention.head_count".into(), Value::U32(HEADS as u32)),
        ("llama.attention.head_count_kv".into(), Value::U32(KV_HEADS as u32)),
        ("llama.attention.layer_norm_rms_epsilon".into(), Value::F32(1e-5)),
        ("llama.rope.freq_base".into(), Value::F32(10_000.0)),
        ("llama.context_length".into(), Value::U32(512)),
        ("tokenizer.ggml.model".into(), Value::String("gpt2".into())),
        ("tokenizer.ggml.pre".into(), Value::String("smollm".into())),
        ("tokenizer.ggml.tokens".into(), strings(&tokens)),
        ("tokenizer.ggml.merges".into(), strings(&["h e".to_string()])),
    ];
    let mut seed = 7;
    let mut tensors = Vec::new();
    let mut matrix = |name: String, rows: usize, columns: usize, kind| {
        let scale = 2.0 / (columns as f32).sqrt();
        let data: Vec<f32> = noise(rows * columns, &mut seed).iter().map(|x| x * scale).collect();
        let tensor = Tensor::from_vec(data, (rows, columns), &Device::Cpu).unwrap();
        tensors.push((name, QTensor::quantize(&tensor, kind).unwrap()));
    };
    matrix("token_embd.weight".into(), vocab, HIDDEN, GgmlDType::Q8_0);
    for layer in 0..LAYERS {
        for (part, rows, columns, kind) in [
            ("attn_q", HEADS * HEAD_DIM, HIDDEN, GgmlDType::Q4_1),
            ("attn_k", KV_HEADS * HEAD_DIM, HIDDEN, GgmlDType::Q4_0),
            ("attn_v", KV_HEADS * HEAD_DIM, HIDDEN, GgmlDType::F16),
            ("attn_output", HIDDEN, HEADS * HEAD_DIM, GgmlDType::Q4_1),
            ("ffn_gate", FFN, HIDDEN, GgmlDType::Q4_1),
            ("ffn_up", FFN, HIDDEN, GgmlDType::F32),
            ("ffn_down", HIDDEN, FFN, GgmlDType::Q8_0),
        ] {
            matrix(format!("blk.{layer}.{part}.weight"), rows, columns, kind);
        }
    }
    let norms = (0..LAYERS).flat_map(|l| [format!("blk.{l}.attn_norm.weight"), format!("blk.{l}.ffn_norm.weight")]);
    for name in norms.chain(["output_norm.weight".to_string()]) {
        let ones = Tensor::ones(HIDDEN, candle_core::DType::F32, &Device::Cpu).unwrap();
        tensors.push((name, QTensor::quantize(&ones, GgmlDType::F32).unwrap()));
    }
    edit(&mut metadata, &mut tensors);
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    file.into_inner()
}

/// Without kernels the commands have nothing to run on; said loudly, past the harness's capture.
fn kernels_built() -> bool {
    let built = !lowbit::runtime::images().is_empty();
    if !built {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: {} ({})",
            std::thread::current().name().unwrap_or(""),
            lowbit::runtime::build_note()
        );
    }
    built
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn run(model: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smollm2"));
    command.args(&arguments[..1]).arg("--model").arg(model).args(&arguments[1..]).output().unwrap()
}

/// The one line on stderr of a run that must fail with exit code 1 and an empty stdout.
fn complaint(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert_eq!(out, "");
    assert_eq!(err.lines().count(), 1, "{err}");
    err.trim().to_string()
}

#[test]
fn broken_files_give_one_line_that_names_what_and_where() {
    let folder = Folder::new();
    let good = model(|_, _| {});
    let content = Content::read(&mut Cursor::new(&good)).unwrap();
    let data = content.tensor_data_offset as usize;
    let check = |name: &str, bytes: &[u8], expected: &[&str]| {
        let path = folder.file(name, bytes);
        let line = complaint(&run(&path, &["generate", "--tokens", "1"]));
        assert!(line.contains(name), "{line}");
        expected.iter().for_each(|part| assert!(line.contains(part), "{line:?} does not say {part:?}"));
    };
    check("empty.gguf", &[], &["not a readable GGUF file", "at byte 0 of 0"]);
    let mut magic = good.clone();
    magic[0] = b'X';
    check("magic.gguf", &magic, &["not a readable GGUF file", "unknown magic"]);
    check("header.gguf", &good[..data / 2], &["not a readable GGUF file", "at byte"]);
    check("data.gguf", &good[..good.len() - 1000], &["tensor ", "truncated"]);
    let unknown_type = {
        // In a tensor's info: name, dimensions, then the type.
        let name = b"blk.1.ffn_up.weight";
        let at = good.windows(name.len()).position(|w| w == name).unwrap() + name.len() + 4 + 2 * 8;
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&77u32.to_le_bytes());
        bytes
    };
    check("type.gguf", &unknown_type, &["at byte", "77"]);
    let unsupported = model(|_, tensors| {
        let index = tensors.iter().position(|t| t.0 == "blk.0.attn_q.weight").unwrap();
        let q5 = Tensor::zeros((HIDDEN, HIDDEN), candle_core::DType::F32, &Device::Cpu).unwrap();
        tensors[index].1 = QTensor::quantize(&q5, GgmlDType::Q5_0).unwrap();
    });
    check("q5.gguf", &unsupported, &["tensor blk.0.attn_q.weight: type Q5_0 is not supported", "Q4_0"]);
    let missing = model(|_, tensors| tensors.retain(|t| t.0 != "blk.1.ffn_down.weight"));
    check("missing.gguf", &missing, &["tensor blk.1.ffn_down.weight is missing"]);
    let misshapen = model(|_, tensors| {
        let index = tensors.iter().position(|t| t.0 == "output_norm.weight").unwrap();
        let short = Tensor::ones(64, candle_core::DType::F32, &Device::Cpu).unwrap();
        tensors[index].1 = QTensor::quantize(&short, GgmlDType::F32).unwrap();
    });
    check("shape.gguf", &misshapen, &["tensor output_norm.weight: expected shape [128], found [64]"]);
    let other = model(|metadata, _| metadata[0].1 = Value::String("gemma".into()));
    check("gemma.gguf", &other, &["general.architecture: expected llama, found gemma"]);
    let headless = model(|metadata, _| metadata.retain(|m| m.0 != "llama.attention.head_count"));
    check("headless.gguf", &headless, &["llama.attention.head_count is missing"]);
    let line = complaint(&run(Path::new("nowhere.gguf"), &["accuracy"]));
    assert!(line.contains("nowhere.gguf: cannot be opened"), "{line}");
}

#[test]
fn bad_arguments_are_named() {
    let folder = Folder::new();
    let path = folder.file("tiny.gguf", &model(|_, _| {}));
    let long = "0123456789".repeat(10);
    let text = folder.file("text.txt", long.as_bytes());
    let text = text.to_str().unwrap();
    let line = complaint(&run(&path, &["accuracy", "--text", text, "--offset", "90", "--tokens", "20"]));
    assert!(line.contains("the text has 100 tokens, and 90..110 were asked for"), "{line}");
    let line = complaint(&run(&path, &["generate", "--tokens", "600"]));
    assert!(line.contains("do not fit the model's context of 512"), "{line}");
    let output = run(&path, &["generate", "--kv", "int3"]);
    assert_eq!(output.status.code(), Some(2));
    let line = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(line.contains("int3") && line.contains("kivi4-r32"), "{line}");
}

#[test]
fn generate_continues_the_prompt_the_same_way_every_time() {
    if !kernels_built() {
        return;
    }
    let folder = Folder::new();
    let path = folder.file("tiny.gguf", &model(|_, _| {}));
    let mut texts = Vec::new();
    for kv in ["f16", "kivi4-r32", "f16"] {
        let output = run(&path, &["generate", "--prompt", "hehe 1st", "--tokens", "5", "--kv", kv]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let out = String::from_utf8_lossy(&output.stdout).to_string();
        assert!(out.contains("device: ") && out.contains("bytes per token") && out.contains("s per token"), "{out}");
        texts.push(out.lines().find(|l| l.starts_with("hehe 1st")).unwrap().to_string());
    }
    assert_eq!(texts[0], texts[2]);
    // Below 32 tokens a KIVI cache reads all from its f16 window.
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn accuracy_prints_one_object_a_line_and_nothing_else() {
    if !kernels_built() {
        return;
    }
    let folder = Folder::new();
    let path = folder.file("tiny.gguf", &model(|_, _| {}));
    let text = folder.file("text.txt", "the heat of the hearth, then the other three. ".repeat(5).as_bytes());
    let arguments =
        ["accuracy", "--json", "--tokens", "80", "--offset", "2", "--formats", "f32,f16,int8,kivi4-r32", "--text"];
    let output = run(&path, &[&arguments[..], &[text.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<serde_json::Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{out}");
    let number = |line: usize, key: &str| lines[line][key].as_f64().unwrap();
    assert_eq!((number(0, "dnll"), number(0, "kl"), number(0, "top1"), number(0, "tokens")), (0.0, 0.0, 1.0, 80.0));
    // Nothing is lost in f16 beyond rounding, little in int8, more in 4 bits.
    assert!(number(1, "kl") < 1e-5 && number(1, "kl") < number(2, "kl") && number(2, "kl") < number(3, "kl"), "{out}");
    assert!(number(3, "kl") < 0.05, "{out}");
    assert_eq!((number(1, "bits"), number(2, "bits"), number(3, "bits")), (16.0, 8.5, 5.0));
    assert_eq!(number(1, "bytes_per_token"), (LAYERS * 2 * HEAD_DIM * 2) as f64);
}

/// Every matrix of the blocks in Q4_1, as queries, keys and values that are one matrix must be of one type.
fn uniform() -> Vec<u8> {
    model(|_, tensors| {
        for (name, tensor) in tensors {
            if name.starts_with("blk.") && tensor.shape().rank() == 2 {
                let values = tensor.dequantize(&Device::Cpu).unwrap();
                *tensor = QTensor::quantize(&values, GgmlDType::Q4_1).unwrap();
            }
        }
    })
}

#[test]
fn every_deployment_goes_through_the_kernels_and_loses_what_its_bits_are_worth() {
    if !kernels_built() {
        return;
    }
    let folder = Folder::new();
    let path = folder.file("tiny.gguf", &uniform());
    let text = folder.file("text.txt", "the heat of the hearth, then the other three. ".repeat(5).as_bytes());
    let arguments = ["deploy", "--json", "--tokens", "40", "--offset", "60", "--calibration", "50", "--text"];
    let output = run(&path, &[&arguments[..], &[text.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<serde_json::Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let number = |name: &str, key: &str| {
        let line = lines.iter().find(|line| line["deployment"] == name).unwrap_or_else(|| panic!("no {name}: {out}"));
        line[key].as_f64().unwrap()
    };
    // The file's weights lose nothing but f16 and the cache; 8 bits lose little, E4M3 more, 4 bits rounded anew most.
    let kl = |name| number(name, "kl");
    assert!(kl("memory-first") < 2e-5 && kl("balanced") < 2e-5, "{out}");
    assert!(kl("w8a8") < 1e-4 && kl("w8a8-smooth") < 1e-4 && kl("speed-first") < 5e-4, "{out}");
    assert!(kl("w8a8-smooth") < kl("speed-first") && kl("speed-first") < kl("speed-first-fp8"), "{out}");
    assert!(kl("speed-first-fp8") < kl("memory-first-rtn") && kl("memory-first-rtn") < 0.01, "{out}");
    assert!(kl("balanced-rtn") < 0.01 && kl("balanced-rtn") > 10.0 * kl("balanced"), "{out}");
    assert!((4.5..5.0).contains(&number("memory-first-rtn", "bits_per_weight")), "{out}");
    assert!((8.0..9.0).contains(&number("speed-first", "bits_per_weight")), "{out}");
    let mixed = folder.file("mixed.gguf", &model(|_, _| {}));
    let line = complaint(&run(&mixed, &[&arguments[..], &[text.to_str().unwrap(), "balanced"]].concat()));
    assert!(line.contains("blk.0.attn_q.weight, blk.0.attn_k.weight") && line.contains("Q4_1"), "{line}");
    let overlapping =
        ["deploy", "--offset", "20", "--calibration", "21", "--tokens", "9", "--text", text.to_str().unwrap()];
    let line = complaint(&run(&path, &overlapping));
    assert!(line.contains("--calibration: expected 1 to 20, the tokens before --offset, found 21"), "{line}");
    let output = run(&path, &["deploy", "fastest"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("memory-first, balanced"), "names are listed");
}
