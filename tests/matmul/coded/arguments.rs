//! What the wrapper refuses, with its words; and that nothing is written then.

use half::f16;
use lowbit::Error;
use lowbit::format::{ByteCode, CodedRows, CodedScale, CodedZero};
use lowbit::ops::matmul::{self, ByteOperands, CodedConfig, Epilogue, Residual};
use lowbit::weights::{ByteAxis, ByteLayout};

use super::world::*;

const N: usize = 24;
const K: usize = 160;
const ROWS: usize = 2;

struct Setup {
    config: CodedConfig,
    code: ByteCode,
    row_stride: usize,
    codes: usize,
    scale: CodedScale<usize>,
    zero: Option<CodedZero<usize>>,
    weights: usize,
    weights_offset: usize,
    bias: usize,
    residual: usize,
    out: usize,
}

fn attempt(layout: &ByteLayout, setup: &Setup) -> Result<(), Error> {
    let World { kernels, stream } = world();
    let weights = stream.alloc_zeros::<u8>(layout.bytes() + 64).unwrap();
    let codes = stream.alloc_zeros::<u8>(setup.codes).unwrap();
    let (mut scale, mut zero) = (None, None);
    let scale = lend_scale(&setup.scale, |&len| &*scale.insert(stream.clone_htod(&vec![1f32; len + 1]).unwrap()));
    let scale_len = *setup.scale.buffer();
    let scale_view = scale.buffer().slice(..scale_len);
    let zero = setup
        .zero
        .as_ref()
        .map(|z| lend_zero(z, |&len| (&*zero.insert(stream.alloc_zeros::<i32>(len + 1).unwrap()), len)));
    let zero_view = zero.as_ref().map(|z| z.buffer().0.slice(..z.buffer().1));
    let of = |len: usize| stream.alloc_zeros::<f16>(len).unwrap();
    let (bias, residual) = (of(setup.bias), of(setup.residual));
    let before = vec![f16::from_f32(42.0); setup.out];
    let mut out = stream.clone_htod(&before).unwrap();
    let x = CodedRows {
        code: setup.code,
        codes: &codes.as_view(),
        row_stride: setup.row_stride,
        scale: lend_scale(&scale, |_| &scale_view),
        zero: zero.as_ref().zip(zero_view.as_ref()).map(|(z, view)| lend_zero(z, |_| view)),
    };
    let weights = weights.slice(setup.weights_offset..setup.weights_offset + setup.weights);
    let result = matmul::w8a8(
        kernels,
        stream,
        &setup.config,
        &ByteOperands { layout, weights: &weights, x },
        &Epilogue { bias: Some(&bias.as_view()), residual: Residual::From(&residual.as_view()) },
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
    let layout = ByteLayout::new(N, K, ByteCode::Int8, ByteAxis::Output).unwrap();
    let good = || Setup {
        config: CodedConfig::contiguous(ROWS, N),
        code: ByteCode::Int8,
        row_stride: K,
        codes: ROWS * K,
        scale: CodedScale::Row(ROWS),
        zero: Some(CodedZero::Row(ROWS)),
        weights: layout.bytes(),
        weights_offset: 0,
        bias: N,
        residual: ROWS * N,
        out: ROWS * N,
    };
    assert_eq!(attempt(&layout, &good()), Ok(()));
    let bytes = layout.bytes();
    type Change = fn(&mut Setup);
    let table: Vec<(Change, String)> = vec![
        (|s| s.config.rows = 0, "`config.rows`: expected 1 to 1048576, found 0".into()),
        (|s| s.config.rows = (1 << 20) + 1, "`config.rows`: expected 1 to 1048576, found 1048577".into()),
        (
            |s| s.config.fast_accumulation = true,
            "weights int8 / Output / fast accumulation is not supported; supported: int8 / Output, e4m3 / Output, \
             e4m3 / Block, e4m3 / Output / fast accumulation, e4m3 / Block / fast accumulation"
                .into(),
        ),
        (|s| s.code = ByteCode::E4m3, "`x.code`: expected int8, the weights', found e4m3".into()),
        (|s| s.row_stride = K - 1, "`x.row_stride`: expected at least 160, found 159".into()),
        (|s| s.codes -= 1, "`x.codes`: expected at least 320, found 319".into()),
        (|s| s.row_stride += 1, "`x.codes`: expected at least 321, found 320".into()),
        (
            |s| s.row_stride = usize::MAX,
            format!("`x.row_stride`: expected a matrix that fits the address space, found 2 rows {} apart", usize::MAX),
        ),
        (|s| s.scale = CodedScale::Row(1), "`x.scale`: expected at least 2, found 1".into()),
        (|s| s.scale = CodedScale::Tensor(0), "`x.scale`: expected at least 1, found 0".into()),
        (|s| s.zero = Some(CodedZero::Row(1)), "`x.zero`: expected at least 2, found 1".into()),
        (|s| s.config.out_stride = 23, "`config.out_stride`: expected at least 24, found 23".into()),
        (|s| s.config.residual_stride = 0, "`config.residual_stride`: expected at least 24, found 0".into()),
        (|s| s.weights -= 1, format!("`weights`: expected at least {bytes}, found {}", bytes - 1)),
        (|s| s.weights_offset = 8, "`weights`: expected a start at a multiple of 16 bytes, found 0x".into()),
        (|s| s.bias -= 1, "`bias`: expected at least 24, found 23".into()),
        (|s| s.residual -= 1, "`residual`: expected at least 48, found 47".into()),
        (|s| s.out -= 1, "`out`: expected at least 48, found 47".into()),
        (
            |s| s.scale = CodedScale::Group(4),
            "scales 1x128 of x with scales of the weights per Output is not supported; supported: per tensor / Output, \
             per row / Output, 1x128 / Block"
                .into(),
        ),
    ];
    for (change, message) in table {
        let mut setup = good();
        change(&mut setup);
        let error = attempt(&layout, &setup).expect_err(&message).to_string();
        assert!(error.starts_with(&format!("matmul::w8a8: {message}")), "{error}\nis not\n{message}");
    }
}

#[test]
fn split_shapes_ask_for_their_workspace() {
    let World { kernels, stream } = world();
    let layout = ByteLayout::new(16, 8192, ByteCode::Int8, ByteAxis::Output).unwrap();
    let needed = matmul::w8a8_workspace_bytes(kernels, &layout, 2);
    assert!(needed > 0);
    let (weights, codes) =
        (stream.alloc_zeros::<u8>(layout.bytes()).unwrap(), stream.alloc_zeros::<u8>(2 * 8192).unwrap());
    let scale = stream.clone_htod(&[1f32]).unwrap();
    let mut out = stream.alloc_zeros::<f32>(32).unwrap();
    let mut workspace = stream.alloc_zeros::<u8>(needed).unwrap();
    let mut run = |bytes: usize| {
        let x = CodedRows {
            code: ByteCode::Int8,
            codes: &codes.as_view(),
            row_stride: 8192,
            scale: CodedScale::Tensor(&scale.as_view()),
            zero: None,
        };
        let (config, weights) = (CodedConfig::contiguous(2, 16), weights.as_view());
        let operands = ByteOperands { layout: &layout, weights: &weights, x };
        let workspace = &mut workspace.slice_mut(..bytes);
        let epilogue = Epilogue::default();
        matmul::w8a8(kernels, stream, &config, &operands, &epilogue, &mut out.as_view_mut(), Some(workspace))
    };
    assert_eq!(run(needed), Ok(()));
    let error = run(needed - 1).unwrap_err().to_string();
    assert_eq!(error, format!("matmul::w8a8: `workspace`: expected at least {needed}, found {}", needed - 1));
}
