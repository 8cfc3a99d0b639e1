//! Linear layers of a safetensors checkpoint, found by name.

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::awq::Awq;
use super::compressed::CompressedTensors;
use super::gptq::{Gptq, GptqVersion};
use super::order::Imported;
use super::words::{ScaleValues, Words};
use crate::error::{Error, Result};

const OP: &str = "weights::Checkpoint::load";

/// Which tensors a layer of the checkpoint has, and what they mean. All 4 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckpointFormat {
    /// `qweight`, `qzeros`, `scales`, and perhaps `g_idx` ([`Gptq`]).
    Gptq(GptqVersion),
    /// `qweight`, `qzeros`, `scales` ([`Awq`]).
    Awq,
    /// `weight_packed`, `weight_scale`, and perhaps `weight_zero_point`, `weight_g_idx`, `weight_shape`
    /// ([`CompressedTensors`]).
    CompressedTensors,
}

/// A checkpoint: tensors by name, and how they code weights.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    /// The open file. A layer's tensors must lie in one file.
    pub tensors: &'a SafeTensors<'a>,
    /// Its format.
    pub format: CheckpointFormat,
    /// k of a group, as the checkpoint's configuration says (`group_size`). `None`: what the shapes say, which is k over the
    /// number of groups and must come out even.
    pub group: Option<usize>,
}

impl Checkpoint<'_> {
    /// The layer of that name, such as `model.layers.0.mlp.up_proj`.
    ///
    /// # Errors
    /// [`Error::Argument`] that names the tensor which is missing, has another type, or another shape than the rest imply;
    /// and those of the format's importer.
    pub fn load(&self, layer: &str) -> Result<Imported> {
        let layer = Layer { tensors: self.tensors, name: layer, group: self.group };
        match self.format {
            CheckpointFormat::Gptq(version) => layer.gptq(version),
            CheckpointFormat::Awq => layer.awq(),
            CheckpointFormat::CompressedTensors => layer.compressed(),
        }
    }
}

struct Layer<'a> {
    tensors: &'a SafeTensors<'a>,
    name: &'a str,
    group: Option<usize>,
}

const WORDS: &[Dtype] = &[Dtype::I32, Dtype::U32];
const SCALES: &[Dtype] = &[Dtype::F16, Dtype::BF16, Dtype::F32];

impl<'a> Layer<'a> {
    fn gptq(&self, version: GptqVersion) -> Result<Imported> {
        let qweight = self.matrix("qweight", WORDS)?;
        let ([words_k, n], scales) = (shape(&qweight), self.matrix("scales", SCALES)?);
        let (k, groups) = (8 * words_k, shape(&scales)[0]);
        let qzeros = self.matrix("qzeros", WORDS)?;
        self.fits("scales", &scales, [groups, n])?;
        self.fits("qzeros", &qzeros, [groups, n / 8])?;
        let g_idx = self.indices("g_idx", k)?;
        // With a g_idx the groups need not divide k.
        let group = if g_idx.is_some() { self.group.unwrap_or(k.div_ceil(groups)) } else { self.group_of(k, groups)? };
        let scales = Values::of(&scales);
        let (qweight, qzeros) = (Words::U8(qweight.data()), Words::U8(qzeros.data()));
        Gptq { n, k, group, version, qweight, qzeros, scales: scales.view(), g_idx: g_idx.as_deref() }.import()
    }

    fn awq(&self) -> Result<Imported> {
        let qweight = self.matrix("qweight", WORDS)?;
        let ([k, words_n], scales) = (shape(&qweight), self.matrix("scales", SCALES)?);
        let (n, groups) = (8 * words_n, shape(&scales)[0]);
        let qzeros = self.matrix("qzeros", WORDS)?;
        self.fits("scales", &scales, [groups, n])?;
        self.fits("qzeros", &qzeros, [groups, words_n])?;
        let scales = Values::of(&scales);
        let (qweight, qzeros) = (Words::U8(qweight.data()), Words::U8(qzeros.data()));
        Awq { n, k, group: self.group_of(k, groups)?, qweight, qzeros, scales: scales.view() }.import()
    }

    fn compressed(&self) -> Result<Imported> {
        let packed = self.matrix("weight_packed", WORDS)?;
        let [n, words_k] = shape(&packed);
        let k = match self.find("weight_shape") {
            None => 8 * words_k,
            Some(tensor) => self.stated_k(&tensor, n, words_k)?,
        };
        let scales = self.matrix("weight_scale", SCALES)?;
        let groups = shape(&scales)[1];
        self.fits("weight_scale", &scales, [n, groups])?;
        let zero_point = match self.find("weight_zero_point") {
            None => None,
            Some(_) => Some(self.matrix("weight_zero_point", WORDS)?),
        };
        if let Some(zero_point) = &zero_point {
            self.fits("weight_zero_point", zero_point, [n.div_ceil(8), groups])?;
        }
        let g_idx = self.indices("weight_g_idx", k)?;
        let group = if g_idx.is_some() { self.group.unwrap_or(k.div_ceil(groups)) } else { self.group_of(k, groups)? };
        let scales = Values::of(&scales);
        CompressedTensors {
            n,
            k,
            group,
            weight_packed: Words::U8(packed.data()),
            scales: scales.view(),
            zero_point: zero_point.as_ref().map(|tensor| Words::U8(tensor.data())),
            g_idx: g_idx.as_deref(),
        }
        .import()
    }

    fn path(&self, tensor: &str) -> String {
        format!("{}.{tensor}", self.name)
    }

    fn find(&self, tensor: &str) -> Option<TensorView<'a>> {
        self.tensors.tensor(&self.path(tensor)).ok()
    }

    /// A matrix of one of the types.
    fn matrix(&self, tensor: &'static str, types: &[Dtype]) -> Result<TensorView<'a>> {
        let path = self.path(tensor);
        let error = |found: String| Error::argument(OP, tensor, format!("`{path}`, a matrix of {types:?}"), found);
        let view = self.find(tensor).ok_or_else(|| error("no tensor of that name".to_string()))?;
        if !types.contains(&view.dtype()) || view.shape().len() != 2 || view.shape().contains(&0) {
            return Err(error(format!("{:?} {:?}", view.dtype(), view.shape())));
        }
        Ok(view)
    }

    fn fits(&self, tensor: &'static str, view: &TensorView, expected: [usize; 2]) -> Result<()> {
        if view.shape() == expected {
            return Ok(());
        }
        let expected = format!("`{}` of shape {expected:?}", self.path(tensor));
        Err(Error::argument(OP, tensor, expected, format!("{:?}", view.shape())))
    }

    /// Group indices, if the layer has them.
    fn indices(&self, tensor: &'static str, k: usize) -> Result<Option<Vec<i32>>> {
        let Some(view) = self.find(tensor) else { return Ok(None) };
        if view.dtype() != Dtype::I32 || view.shape() != [k] {
            let expected = format!("`{}`, I32 of shape [{k}]", self.path(tensor));
            return Err(Error::argument(OP, tensor, expected, format!("{:?} {:?}", view.dtype(), view.shape())));
        }
        Ok(Some(elements(view.data())))
    }

    fn group_of(&self, k: usize, groups: usize) -> Result<usize> {
        match self.group {
            Some(group) if group > 0 && k.div_ceil(group) == groups => Ok(group),
            Some(group) => Err(Error::argument(OP, "group", format!("{groups} groups in {k}"), group.to_string())),
            None if k.is_multiple_of(groups) => Ok(k / groups),
            None => {
                let expected = format!("a size of {groups} groups in {k}, which do not divide it evenly");
                Err(Error::argument(OP, "group", expected, "none"))
            }
        }
    }

    /// The k of `weight_shape [n, k]`.
    fn stated_k(&self, tensor: &TensorView, n: usize, words_k: usize) -> Result<usize> {
        let stated: Vec<i64> = match tensor.dtype() {
            Dtype::I64 => elements(tensor.data()),
            Dtype::I32 => elements::<i32>(tensor.data()).into_iter().map(i64::from).collect(),
            _ => Vec::new(),
        };
        match stated[..] {
            [rows, k] if rows == n as i64 && k > 0 && (k as u64).div_ceil(8) == words_k as u64 => Ok(k as usize),
            _ => {
                let expected = format!("`{}`, {n} and the k of {words_k} words", self.path("weight_shape"));
                let found = format!("{:?} {:?}: {stated:?}", tensor.dtype(), tensor.shape());
                Err(Error::argument(OP, "weight_shape", expected, found))
            }
        }
    }
}

/// Of a matrix.
fn shape(tensor: &TensorView) -> [usize; 2] {
    [tensor.shape()[0], tensor.shape()[1]]
}

/// Scales, aligned.
enum Values {
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    F32(Vec<f32>),
}

impl Values {
    /// Of a tensor of one of the types [`SCALES`].
    fn of(tensor: &TensorView) -> Self {
        match tensor.dtype() {
            Dtype::F16 => Self::F16(elements(tensor.data())),
            Dtype::BF16 => Self::Bf16(elements(tensor.data())),
            _ => Self::F32(elements(tensor.data())),
        }
    }

    fn view(&self) -> ScaleValues<'_> {
        match self {
            Self::F16(values) => ScaleValues::F16(values),
            Self::Bf16(values) => ScaleValues::Bf16(values),
            Self::F32(values) => ScaleValues::F32(values),
        }
    }
}

/// A file's tensors lie at any address.
fn elements<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}
