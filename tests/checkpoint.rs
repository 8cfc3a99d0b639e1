//! The loader of checkpoints: layers found by name give what the importers give; what is missing or misshapen is named.

#[path = "common/golden.rs"]
mod golden;

use std::collections::HashMap;

use golden::Golden;
use half::f16;
use lowbit::weights::{Checkpoint, CheckpointFormat, GptqVersion, Imported, PlainWeights, Zeros};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

const LAYER: &str = "model.layers.0.mlp.up_proj";

/// Tensors of one layer, to be changed and serialized.
#[derive(Clone, Default)]
struct File(HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl File {
    fn with(mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        self.0.insert(format!("{LAYER}.{name}"), (dtype, shape.to_vec(), bytes));
        self
    }

    fn without(mut self, name: &str) -> Self {
        assert!(self.0.remove(&format!("{LAYER}.{name}")).is_some());
        self
    }

    fn load(&self, format: CheckpointFormat, group: Option<usize>) -> lowbit::Result<Imported> {
        let views = self.0.iter().map(|(name, (dtype, shape, bytes))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        Checkpoint { tensors: &SafeTensors::deserialize(&bytes).unwrap(), format, group }.load(LAYER)
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn halves(values: &[f16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Golden weights, k 256, n 96, 4 groups of 64.
fn plain() -> PlainWeights {
    let golden = Golden::open("weights");
    PlainWeights {
        n: 96,
        k: 256,
        group: 64,
        codes: golden.bytes("k256_n96_g64.codes"),
        scales: golden.f16("k256_n96_g64.scales"),
        zeros: Zeros::Codes(golden.bytes("k256_n96_g64.zeros")),
    }
}

fn gptq() -> File {
    let (plain, file) = (plain(), File::default());
    let stored = plain.to_gptq(GptqVersion::V2).unwrap();
    file.with("qweight", Dtype::I32, &[32, 96], words(&stored.qweight))
        .with("qzeros", Dtype::I32, &[4, 12], words(&stored.qzeros))
        .with("scales", Dtype::F16, &[4, 96], halves(&plain.scales))
}

fn compressed() -> File {
    let (plain, file) = (plain(), File::default());
    let stored = plain.to_compressed_tensors().unwrap();
    let by_output: Vec<f16> = (0..96 * 4).map(|at| plain.scales[at % 4 * 96 + at / 4]).collect();
    let shape = [96i64, 256].iter().flat_map(|size| size.to_le_bytes()).collect();
    file.with("weight_packed", Dtype::I32, &[96, 32], words(&stored.weight_packed))
        .with("weight_scale", Dtype::F16, &[96, 4], halves(&by_output))
        .with("weight_zero_point", Dtype::I32, &[12, 4], words(&stored.zero_point.unwrap()))
        .with("weight_shape", Dtype::I64, &[2], shape)
}

const V2: CheckpointFormat = CheckpointFormat::Gptq(GptqVersion::V2);

#[test]
fn layers_are_found_by_name() {
    let expected = Imported { weights: plain(), order: None };
    let stored = plain().to_awq().unwrap();
    let awq = File::default()
        .with("qweight", Dtype::I32, &[256, 12], words(&stored.qweight))
        .with("qzeros", Dtype::I32, &[4, 12], words(&stored.qzeros))
        .with("scales", Dtype::F16, &[4, 96], halves(&plain().scales));
    for group in [None, Some(64)] {
        assert_eq!(gptq().load(V2, group).unwrap(), expected);
        assert_eq!(awq.load(CheckpointFormat::Awq, group).unwrap(), expected);
        assert_eq!(compressed().load(CheckpointFormat::CompressedTensors, group).unwrap(), expected);
    }
    // f32 scales that f16 holds, and a g_idx of runs, change nothing.
    let floats = plain().scales.iter().flat_map(|scale| scale.to_f32().to_le_bytes()).collect();
    let runs: Vec<u8> = (0..256i32).flat_map(|k| (k / 64).to_le_bytes()).collect();
    let file = gptq().with("scales", Dtype::F32, &[4, 96], floats).with("g_idx", Dtype::I32, &[256], runs);
    assert_eq!(file.load(V2, None).unwrap(), expected);
    // A g_idx of no runs gives the order.
    let mixed: Vec<u8> = (0..256i32).flat_map(|k| (k % 4).to_le_bytes()).collect();
    let imported = gptq().with("g_idx", Dtype::I32, &[256], mixed).load(V2, None).unwrap();
    assert_eq!(imported.order.unwrap()[..3], [0, 4, 8]);
    // Symmetric compressed-tensors have no zeros.
    let imported = compressed().without("weight_zero_point").load(CheckpointFormat::CompressedTensors, None).unwrap();
    assert_eq!(imported.weights, PlainWeights { zeros: Zeros::Symmetric, ..plain() });
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    let table: [(File, CheckpointFormat, Option<usize>, &str); 12] = [
        (
            gptq().without("qweight"),
            V2,
            None,
            "`qweight`: expected `model.layers.0.mlp.up_proj.qweight`, a matrix of [I32, U32], found no tensor of that name",
        ),
        (
            gptq().without("qzeros"),
            V2,
            None,
            "`qzeros`: expected `model.layers.0.mlp.up_proj.qzeros`, a matrix of [I32, U32], found no tensor of that name",
        ),
        (
            gptq().without("scales"),
            CheckpointFormat::Awq,
            None,
            "`scales`: expected `model.layers.0.mlp.up_proj.scales`, a matrix of [F16, BF16, F32], found no tensor of that \
             name",
        ),
        (
            gptq().with("qweight", Dtype::F32, &[2, 2], vec![0; 16]),
            V2,
            None,
            "`qweight`: expected `model.layers.0.mlp.up_proj.qweight`, a matrix of [I32, U32], found F32 [2, 2]",
        ),
        (
            gptq().with("qweight", Dtype::I32, &[4], vec![0; 16]),
            V2,
            None,
            "`qweight`: expected `model.layers.0.mlp.up_proj.qweight`, a matrix of [I32, U32], found I32 [4]",
        ),
        (
            gptq().with("scales", Dtype::F16, &[4, 95], vec![0; 760]),
            V2,
            None,
            "`scales`: expected `model.layers.0.mlp.up_proj.scales` of shape [4, 96], found [4, 95]",
        ),
        (
            gptq().with("qzeros", Dtype::I32, &[12, 4], vec![0; 192]),
            V2,
            None,
            "`qzeros`: expected `model.layers.0.mlp.up_proj.qzeros` of shape [4, 12], found [12, 4]",
        ),
        (
            gptq().with("g_idx", Dtype::I64, &[256], vec![0; 2048]),
            V2,
            None,
            "`g_idx`: expected `model.layers.0.mlp.up_proj.g_idx`, I32 of shape [256], found I64 [256]",
        ),
        (gptq(), V2, Some(128), "`group`: expected 4 groups in 256, found 128"),
        (gptq(), V2, Some(0), "`group`: expected 4 groups in 256, found 0"),
        (
            gptq().with("scales", Dtype::F16, &[3, 96], vec![0; 576]).with(
                "qzeros",
                Dtype::I32,
                &[3, 12],
                vec![0; 144],
            ),
            V2,
            None,
            "`group`: expected a size of 3 groups in 256, which do not divide it evenly, found none",
        ),
        (
            compressed().with("weight_shape", Dtype::I64, &[2], vec![1; 16]),
            CheckpointFormat::CompressedTensors,
            None,
            "`weight_shape`: expected `model.layers.0.mlp.up_proj.weight_shape`, 96 and the k of 32 words, found I64 [2]: \
             [72340172838076673, 72340172838076673]",
        ),
    ];
    for (file, format, group, message) in table {
        let found = file.load(format, group).unwrap_err().to_string();
        assert_eq!(found, format!("weights::Checkpoint::load: {message}"));
    }
}
