//! Golden vectors: independent files under `tests/data`, see the README there.

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

/// An open file of golden tensors.
pub struct Golden {
    bytes: Vec<u8>,
}

#[allow(dead_code)] // Every test file uses some of it.
impl Golden {
    /// Reads `tests/data/<name>.safetensors`.
    pub fn open(name: &str) -> Golden {
        let path = format!("{}/tests/data/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Golden { bytes: std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}")) }
    }

    fn get(&self, name: &str, dtypes: &[Dtype]) -> (Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(dtypes.contains(&tensor.dtype()), "{name} is {:?}", tensor.dtype());
        (tensor.shape().to_vec(), tensor.data().to_vec())
    }

    /// Names of all tensors.
    pub fn names(&self) -> Vec<String> {
        SafeTensors::deserialize(&self.bytes).unwrap().names().into_iter().map(String::from).collect()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().shape().to_vec()
    }

    /// u8, i8 or bool as bytes.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.get(name, &[Dtype::U8, Dtype::I8, Dtype::BOOL]).1
    }

    /// i32.
    pub fn i32(&self, name: &str) -> Vec<i32> {
        elements(&self.get(name, &[Dtype::I32]).1)
    }

    /// f32.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        elements(&self.get(name, &[Dtype::F32]).1)
    }

    /// f64.
    pub fn f64(&self, name: &str) -> Vec<f64> {
        elements(&self.get(name, &[Dtype::F64]).1)
    }

    /// f16.
    pub fn f16(&self, name: &str) -> Vec<f16> {
        elements(&self.get(name, &[Dtype::F16]).1)
    }

    /// bf16, stored as u16 bits.
    pub fn bf16(&self, name: &str) -> Vec<bf16> {
        elements(&self.get(name, &[Dtype::U16, Dtype::BF16]).1)
    }
}

fn elements<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}
