//! The device on the golden inputs, whose codes the reference is held to.

use half::f16;
use lowbit::format::{Axis, Code, Matrix, Scheme};

use crate::golden::Golden;
use crate::world::{Device, Way, check};

/// Exact halves, subnormals, tiny ranges, NaN and infinities, and rows where a reciprocal changes codes.
#[test]
fn ties() {
    let device = Device::new();
    let file = Golden::open("ties");
    for set in file.names().iter().filter_map(|n| n.strip_suffix(".x")) {
        let (x, shape) = (file.f16(&format!("{set}.x")), file.shape(&format!("{set}.x")));
        let (rows, cols) = (shape[0], shape[1]);
        // The same rows padded with their first element to whole chunks, which go another way through the kernel.
        let whole = cols.next_multiple_of(8);
        let padded: Vec<f16> =
            (0..rows * whole).map(|i| x[i / whole * cols + if i % whole < cols { i % whole } else { 0 }]).collect();
        for code in Code::ALL.into_iter().filter(|code| code.block().is_none()) {
            let scheme = Scheme { code, axis: Axis::Row };
            check(&device, scheme, Matrix::dense(rows, cols), &x, Way::default(), [0, 0]);
            check(&device, scheme, Matrix::dense(rows, whole), &padded, Way::default(), [0, 0]);
        }
    }
}

#[test]
fn microscaling_and_nvfp4_blocks() {
    let device = Device::new();
    let file = Golden::open("mx");
    let (x, shape) = (file.f16("x"), file.shape("x"));
    for code in Code::ALL {
        let Some(block) = code.block() else { continue };
        let scheme = Scheme { code, axis: Axis::Group(block) };
        check(&device, scheme, Matrix::dense(shape[0], shape[1]), &x, Way::default(), [0, 0]);
    }
}

#[test]
fn real_keys() {
    let device = Device::new();
    let file = Golden::open("quantize_real_k");
    let (x, shape) = (file.f16("x"), file.shape("x"));
    let matrix = Matrix::dense(shape[0], shape[1] * shape[2]);
    for code in Code::ALL.into_iter().filter(|code| code.block().is_none()) {
        for axis in [Axis::Row, Axis::Group(32), Axis::TokenGroup(32), Axis::Column, Axis::Tensor] {
            check(&device, Scheme { code, axis }, matrix, &x, Way::default(), [0, 0]);
        }
    }
}
