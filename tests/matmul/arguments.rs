//! What the wrapper refuses, with its words; and that nothing is written then.

use half::{bf16, f16};
use lowbit::Error;
use lowbit::cudarc::driver::CudaSlice;
use lowbit::format::DType;
use lowbit::ops::matmul::{self, Decode, Operands, Residual, SkinnyConfig, supported};
use lowbit::weights::{PackedLayout, WeightFormat, ZeroPoint};

use crate::world::*;

const N: usize = 24;
const K: usize = 160;
const ROWS: usize = 2;

struct Setup {
    config: SkinnyConfig,
    weights: usize,
    x: usize,
    bias: usize,
    residual: usize,
    out: usize,
    weights_offset: usize,
}

fn attempt(setup: &Setup) -> Result<(), Error> {
    let World { kernels, stream } = world();
    let layout = PackedLayout::new(N, K, 32, WeightFormat::Int4(ZeroPoint::Symmetric)).unwrap();
    let weights = stream.alloc_zeros::<u8>(layout.bytes() + 64).unwrap();
    let of = |len: usize| -> CudaSlice<f16> { stream.alloc_zeros(len.max(1)).unwrap() };
    let (x, bias, residual) = (of(setup.x), of(setup.bias), of(setup.residual));
    let before = vec![f16::from_f32(42.0); setup.out];
    let mut out = stream.clone_htod(&before).unwrap();
    let result = matmul::skinny(
        &kernels,
        &stream,
        &setup.config,
        &Operands {
            layout: &layout,
            weights: &weights.slice(setup.weights_offset..setup.weights_offset + setup.weights),
            x: &x.slice(..setup.x),
            bias: Some(&bias.slice(..setup.bias)),
            residual: Residual::From(&residual.slice(..setup.residual)),
        },
        &mut out.as_view_mut(),
        None,
    );
    if result.is_err() {
        assert_eq!(stream.clone_dtoh(&out).unwrap(), before, "an error leaves the output as it was");
    }
    result
}

#[test]
fn wrong_arguments_are_named() {
    let layout = PackedLayout::new(N, K, 32, WeightFormat::Int4(ZeroPoint::Symmetric)).unwrap();
    let good = || Setup {
        config: SkinnyConfig::contiguous(&layout, ROWS),
        weights: layout.bytes(),
        x: ROWS * K,
        bias: N,
        residual: ROWS * N,
        out: ROWS * N,
        weights_offset: 0,
    };
    assert_eq!(attempt(&good()), Ok(()));
    let bytes = layout.bytes();
    type Change = fn(&mut Setup);
    let table: Vec<(Change, String)> = vec![
        (|s| s.config.rows = 0, "`config.rows`: expected 1 to 32, found 0".into()),
        (|s| s.config.rows = 33, "`config.rows`: expected 1 to 32, found 33".into()),
        (|s| s.config.x_stride = K - 1, "`config.x_stride`: expected at least 160, found 159".into()),
        (|s| s.config.out_stride = 23, "`config.out_stride`: expected at least 24, found 23".into()),
        (|s| s.config.residual_stride = 0, "`config.residual_stride`: expected at least 24, found 0".into()),
        (
            |s| s.config.x_stride = usize::MAX,
            format!(
                "`config.x_stride`: expected a matrix that fits the address space, found 2 rows {} apart",
                usize::MAX
            ),
        ),
        (|s| s.weights -= 1, format!("`weights`: expected at least {bytes}, found {}", bytes - 1)),
        (|s| s.weights_offset = 8, "`weights`: expected a start at a multiple of 16 bytes, found 0x".into()),
        (|s| s.x -= 1, "`x`: expected at least 320, found 319".into()),
        (|s| s.config.x_stride += 1, "`x`: expected at least 321, found 320".into()),
        (|s| s.bias -= 1, "`bias`: expected at least 24, found 23".into()),
        (|s| s.residual -= 1, "`residual`: expected at least 48, found 47".into()),
        (|s| s.out -= 1, "`out`: expected at least 48, found 47".into()),
    ];
    for (change, message) in table {
        let mut setup = good();
        change(&mut setup);
        let error = attempt(&setup).expect_err(&message).to_string();
        assert!(error.starts_with(&format!("matmul::skinny: {message}")), "{error}\nis not\n{message}");
    }
}

#[test]
fn split_shapes_ask_for_their_workspace() {
    let World { kernels, stream } = world();
    let layout = PackedLayout::new(16, 8192, 128, WeightFormat::Int4(ZeroPoint::Symmetric)).unwrap();
    let needed = matmul::workspace_bytes(&kernels, &layout, 2);
    assert!(needed > 0);
    let (weights, x) =
        (stream.alloc_zeros::<u8>(layout.bytes()).unwrap(), stream.alloc_zeros::<f16>(2 * 8192).unwrap());
    let mut out = stream.alloc_zeros::<f32>(32).unwrap();
    let mut workspace = stream.alloc_zeros::<u8>(needed).unwrap();
    let config = SkinnyConfig::contiguous(&layout, 2);
    let (weights, x) = (weights.as_view(), x.as_view());
    let operands = Operands { layout: &layout, weights: &weights, x: &x, bias: None, residual: Residual::None };
    let mut run = |bytes: usize| {
        let mut workspace = workspace.slice_mut(..bytes);
        matmul::skinny(&kernels, &stream, &config, &operands, &mut out.as_view_mut(), Some(&mut workspace))
    };
    assert_eq!(run(needed), Ok(()));
    let error = run(needed - 1).unwrap_err().to_string();
    assert_eq!(error, format!("matmul::skinny: `workspace`: expected at least {needed}, found {}", needed - 1));
}

/// `supported` is true if and only if the call does not return `Unsupported`.
#[test]
fn supported_says_what_is() {
    let World { kernels, stream } = world();
    let zeros = |plus| WeightFormat::Int4(ZeroPoint::Bits4 { plus });
    let formats = [ZeroPoint::Symmetric, ZeroPoint::Real, ZeroPoint::Min].map(WeightFormat::Int4);
    let mut refused = 0;
    for format in formats.into_iter().chain([zeros(0), zeros(1), WeightFormat::Int8]) {
        for group in [32, 64, 128, 256, 384] {
            let Ok(layout) = PackedLayout::new(16, 384, group, format) else { continue };
            let weights = stream.alloc_zeros::<u8>(layout.bytes()).unwrap();
            let (half, bhalf) = (stream.alloc_zeros::<f16>(384).unwrap(), stream.alloc_zeros::<bf16>(384).unwrap());
            let mut out = stream.alloc_zeros::<f32>(16).unwrap();
            for decode in [Decode::Fast, Decode::Exact] {
                let config = SkinnyConfig { decode, ..SkinnyConfig::contiguous(&layout, 1) };
                let weights = weights.as_view();
                let (x, b) = (half.as_view(), bhalf.as_view());
                let (bias, residual) = (None, Residual::None);
                let with_f16 = Operands { layout: &layout, weights: &weights, x: &x, bias, residual };
                let with_bf16 = Operands { layout: &layout, weights: &weights, x: &b, bias, residual };
                let mut out = out.as_view_mut();
                for (x, result) in [
                    (DType::F16, matmul::skinny(&kernels, &stream, &config, &with_f16, &mut out, None)),
                    (DType::Bf16, matmul::skinny(&kernels, &stream, &config, &with_bf16, &mut out, None)),
                ] {
                    let unsupported = matches!(result, Err(Error::Unsupported { .. }));
                    assert_eq!(supported(&layout, x, decode), !unsupported, "{format:?} {group} {x} {decode:?}");
                    assert!(result.is_ok() || unsupported, "{result:?}");
                    refused += usize::from(unsupported);
                }
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn what_is_not_there_lists_what_is() {
    let World { kernels, stream } = world();
    let layout = PackedLayout::new(16, 128, 64, WeightFormat::Int4(ZeroPoint::Symmetric)).unwrap();
    let (weights, x) = (stream.alloc_zeros::<u8>(layout.bytes()).unwrap(), stream.alloc_zeros::<f16>(128).unwrap());
    let mut out = stream.alloc_zeros::<f32>(16).unwrap();
    let config = SkinnyConfig { decode: Decode::Exact, ..SkinnyConfig::contiguous(&layout, 1) };
    let (weights, x) = (weights.as_view(), x.as_view());
    let operands = Operands { layout: &layout, weights: &weights, x: &x, bias: None, residual: Residual::None };
    let error = matmul::skinny(&kernels, &stream, &config, &operands, &mut out.as_view_mut(), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "matmul::skinny: Exact decode of 4-bit symmetric weights in groups of 64 with f16 activations is not supported; \
         supported: 4-bit symmetric / 32 / f16, 4-bit symmetric / 128 / f16, 4-bit with 4-bit zeros / 32 / f16, \
         4-bit with 4-bit zeros / 128 / f16, 8-bit / 32 / f16, 8-bit / many or all k / f16, 8-bit / 32 / bf16, \
         8-bit / many or all k / bf16"
    );
}
