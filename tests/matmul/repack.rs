//! Tensors of checkpoints packed on the device: the bytes that the importers make on the host.

use half::{bf16, f16};
use lowbit::cudarc::driver::CudaSlice;
use lowbit::ops::matmul::{self, DeviceOrder, DeviceScales, DeviceWords, DeviceZeros, RepackStatus, Tensors};
use lowbit::weights::{
    ActOrder, Awq, CompressedTensors, GgmlType, Gptq, GptqVersion, Imported, Packed, PackedLayout, PlainWeights,
    ScaleValues, WeightFormat, Words, ZeroPoint, Zeros,
};
use proptest::prelude::*;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::world::*;

fn bits4(plus: u8) -> WeightFormat {
    WeightFormat::Int4(ZeroPoint::Bits4 { plus })
}

/// Packs on the device, into a buffer full of other bytes.
fn repack(world: &World, layout: &PackedLayout, tensors: &Tensors<'_>) -> (Vec<u8>, RepackStatus) {
    let World { kernels, stream } = world;
    let mut out = stream.clone_htod(&vec![0xa5u8; layout.bytes()]).unwrap();
    let mut status = stream.alloc_zeros::<u32>(1).unwrap();
    matmul::repack(kernels, stream, layout, tensors, &mut out.as_view_mut(), &mut status.as_view_mut()).unwrap();
    (stream.clone_dtoh(&out).unwrap(), RepackStatus(stream.clone_dtoh(&status).unwrap()[0]))
}

/// The same bytes as `host`, and nothing to report.
fn same(world: &World, host: &Packed, tensors: &Tensors<'_>, case: &str) {
    let (found, status) = repack(world, host.layout(), tensors);
    assert_eq!(status, RepackStatus::OK, "{case}: {status}");
    let differs = found.iter().zip(host.bytes()).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{case}: the first byte that differs");
}

/// A device's copy of words, as bytes at an odd place in a larger buffer.
fn bytes_of(world: &World, words: &[u32]) -> CudaSlice<u8> {
    let mut bytes = vec![0xffu8; 4];
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    world.stream.clone_htod(&bytes).unwrap()
}

fn plain(rng: &mut ChaCha8Rng, n: usize, k: usize, group: usize, zeros: Option<u8>) -> PlainWeights {
    let kind = match zeros {
        None => Kind::Symmetric,
        Some(0) => Kind::Zeros,
        Some(_) => Kind::ZerosFromOne,
    };
    random_weights(rng, kind, n, k, group).to_plain().unwrap()
}

fn layout_of(weights: &PlainWeights, format: WeightFormat) -> PackedLayout {
    PackedLayout::new(weights.n, weights.k, weights.group, format).unwrap()
}

/// Groups in a random order, of unequal sizes.
fn random_g_idx(rng: &mut ChaCha8Rng, k: usize, groups: usize) -> Vec<i32> {
    (0..k).map(|_| rng.random_range(0..groups) as i32).collect()
}

fn gptq(world: &World, rng: &mut ChaCha8Rng, (n, k, group): (usize, usize, usize), act_order: bool, case: &str) {
    let stream = &world.stream;
    for (version, plus) in [(GptqVersion::V1, 1), (GptqVersion::V2, 0)] {
        let weights = plain(rng, n, k, group, Some(plus));
        let words = weights.to_gptq(version).unwrap();
        let groups = k.div_ceil(group);
        let g_idx = random_g_idx(rng, k, groups);
        let g_idx = act_order.then_some(&g_idx[..]);
        let imported = Gptq {
            n,
            k,
            group,
            version,
            qweight: Words::U32(&words.qweight),
            qzeros: Words::U32(&words.qzeros),
            scales: ScaleValues::F16(&weights.scales),
            g_idx,
        }
        .import()
        .unwrap();
        let host = Packed::from_plain_with(&imported.weights, layout_of(&imported.weights, bits4(plus))).unwrap();
        let scales = stream.clone_htod(&weights.scales).unwrap();
        let wide: Vec<f32> = weights.scales.iter().map(|s| s.to_f32()).collect();
        let wide = stream.clone_htod(&wide).unwrap();
        let signed = |words: &[u32]| stream.clone_htod(bytemuck::cast_slice::<u32, i32>(words)).unwrap();
        let (qweight, qzeros) = (signed(&words.qweight), signed(&words.qzeros));
        let (as_bytes, zero_bytes) = (bytes_of(world, &words.qweight), bytes_of(world, &words.qzeros));
        let sorted = g_idx.and_then(|g_idx| ActOrder::new(g_idx, group, groups).unwrap());
        assert_eq!(sorted.as_ref().map(|sorted| &sorted.order), imported.order.as_ref());
        let device = sorted
            .map(|sorted| (stream.clone_htod(&sorted.order).unwrap(), stream.clone_htod(&sorted.groups).unwrap()));
        let views = device.as_ref().map(|(order, groups)| (order.as_view(), groups.as_view()));
        let order =
            views.as_ref().map(|(order, of)| DeviceOrder { order, groups: of, inputs: k, tensor_groups: groups });
        let tensors = Tensors::Gptq {
            version,
            qweight: DeviceWords::I32(&qweight.as_view()),
            qzeros: DeviceWords::I32(&qzeros.as_view()),
            scales: DeviceScales::F16(&scales.as_view()),
            order,
        };
        same(world, &host, &tensors, &format!("{case} {version:?}"));
        let tensors = Tensors::Gptq {
            version,
            qweight: DeviceWords::U8(&as_bytes.slice(4..)),
            qzeros: DeviceWords::U8(&zero_bytes.slice(4..)),
            scales: DeviceScales::F32(&wide.as_view()),
            order,
        };
        same(world, &host, &tensors, &format!("{case} {version:?} bytes"));
    }
}

fn awq(world: &World, rng: &mut ChaCha8Rng, (n, k, group): (usize, usize, usize), case: &str) {
    let stream = &world.stream;
    let weights = plain(rng, n, k, group, Some(0));
    let words = weights.to_awq().unwrap();
    let imported = Awq {
        n,
        k,
        group,
        qweight: Words::U32(&words.qweight),
        qzeros: Words::U32(&words.qzeros),
        scales: ScaleValues::F16(&weights.scales),
    }
    .import()
    .unwrap();
    let host = Packed::from_plain_with(&imported.weights, layout_of(&imported.weights, bits4(0))).unwrap();
    let (qweight, qzeros) = (stream.clone_htod(&words.qweight).unwrap(), stream.clone_htod(&words.qzeros).unwrap());
    let scales = stream.clone_htod(&weights.scales).unwrap();
    let tensors = Tensors::Awq {
        qweight: DeviceWords::U32(&qweight.as_view()),
        qzeros: DeviceWords::U32(&qzeros.as_view()),
        scales: DeviceScales::F16(&scales.as_view()),
    };
    same(world, &host, &tensors, case);
}

fn compressed(world: &World, rng: &mut ChaCha8Rng, (n, k, group): (usize, usize, usize), act_order: bool, case: &str) {
    let stream = &world.stream;
    for zeros in [None, Some(0)] {
        let mut weights = plain(rng, n, k, group, zeros);
        // Scales that bf16 holds too.
        weights.scales.iter_mut().for_each(|s| *s = f16::from_f32(bf16::from_f32(s.to_f32()).to_f32()));
        let words = weights.to_compressed_tensors().unwrap();
        let groups = k.div_ceil(group);
        let g_idx = random_g_idx(rng, k, groups);
        let g_idx = act_order.then_some(&g_idx[..]);
        let by_output: Vec<bf16> =
            (0..n * groups).map(|at| bf16::from_f32(weights.scales[at % groups * n + at / groups].to_f32())).collect();
        let imported: Imported = CompressedTensors {
            n,
            k,
            group,
            weight_packed: Words::U32(&words.weight_packed),
            scales: ScaleValues::Bf16(&by_output),
            zero_point: words.zero_point.as_deref().map(Words::U32),
            g_idx,
        }
        .import()
        .unwrap();
        let format = zeros.map_or(WeightFormat::Int4(ZeroPoint::Symmetric), bits4);
        let host = Packed::from_plain_with(&imported.weights, layout_of(&imported.weights, format)).unwrap();
        let packed = stream.clone_htod(&words.weight_packed).unwrap();
        let zero_point = words.zero_point.as_ref().map(|words| stream.clone_htod(words).unwrap());
        let zero_point = zero_point.as_ref().map(|words| words.as_view());
        let scales = stream.clone_htod(&by_output).unwrap();
        let sorted = g_idx.and_then(|g_idx| ActOrder::new(g_idx, group, groups).unwrap());
        let device = sorted
            .map(|sorted| (stream.clone_htod(&sorted.order).unwrap(), stream.clone_htod(&sorted.groups).unwrap()));
        let views = device.as_ref().map(|(order, groups)| (order.as_view(), groups.as_view()));
        let order =
            views.as_ref().map(|(order, of)| DeviceOrder { order, groups: of, inputs: k, tensor_groups: groups });
        let tensors = Tensors::CompressedTensors {
            weight_packed: DeviceWords::U32(&packed.as_view()),
            zero_point: zero_point.as_ref().map(DeviceWords::U32),
            scales: DeviceScales::Bf16(&scales.as_view()),
            order,
        };
        same(world, &host, &tensors, &format!("{case} zeros {zeros:?}"));
    }
}

fn plain_codes(world: &World, rng: &mut ChaCha8Rng, (n, k, group): (usize, usize, usize), case: &str) {
    let stream = &world.stream;
    for kind in KINDS_OF_4_BITS {
        let weights = random_weights(rng, kind, n, k, group).to_plain().unwrap();
        let format = match kind {
            Kind::Zeros => bits4(0),
            Kind::ZerosFromOne => bits4(1),
            Kind::Real => WeightFormat::Int4(ZeroPoint::Real),
            Kind::Min => WeightFormat::Int4(ZeroPoint::Min),
            _ => WeightFormat::Int4(ZeroPoint::Symmetric),
        };
        let host = Packed::from_plain_with(&weights, layout_of(&weights, format)).unwrap();
        let codes = stream.clone_htod(&weights.codes).unwrap();
        let scales = stream.clone_htod(&weights.scales).unwrap();
        let (zeros, offsets) = match &weights.zeros {
            Zeros::Codes(zeros) => (Some(stream.clone_htod(zeros).unwrap()), None),
            Zeros::Real(offsets) | Zeros::Min(offsets) => (None, Some(stream.clone_htod(offsets).unwrap())),
            _ => (None, None),
        };
        let (zeros, offsets) = (zeros.as_ref().map(|z| z.as_view()), offsets.as_ref().map(|o| o.as_view()));
        let zeros = match (&zeros, &offsets) {
            (Some(zeros), _) => DeviceZeros::Codes(zeros),
            (_, Some(offsets)) if kind == Kind::Real => DeviceZeros::Real(offsets),
            (_, Some(offsets)) => DeviceZeros::Min(offsets),
            _ => DeviceZeros::Symmetric,
        };
        let tensors = Tensors::Plain { codes: &codes.as_view(), scales: &scales.as_view(), zeros };
        same(world, &host, &tensors, &format!("{case} {kind:?}"));
    }
}

fn blocks(world: &World, rng: &mut ChaCha8Rng, (n, k): (usize, usize), case: &str) {
    for kind in [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q8_0] {
        let bytes: Vec<u8> = (0..n * (k / 32) * kind.block_bytes()).map(|_| rng.random()).collect();
        let host = Packed::from_ggml(kind, n, k, &bytes).unwrap();
        let device = world.stream.clone_htod(&bytes).unwrap();
        let tensors = Tensors::Ggml { kind, blocks: &device.as_view() };
        same(world, &host, &tensors, &format!("{case} {}", kind.name()));
    }
}

#[test]
fn bytes_are_those_of_the_host() {
    let world = world();
    let mut rng = rng(61);
    for (n, k, group) in [(96, 256, 64), (8, 64, 32), (24, 160, 160), (40, 264, 128), (56, 640, 256)] {
        in_every_mode(|mode| {
            let mut rng = rng.clone();
            let case = format!("{n} x {k} group {group} {mode}");
            gptq(&world, &mut rng, (n, k, group), false, &case);
            gptq(&world, &mut rng, (n, k, group), true, &format!("{case} act-order"));
            awq(&world, &mut rng, (n, k, group), &case);
            compressed(&world, &mut rng, (n, k, group), false, &case);
            compressed(&world, &mut rng, (n - 3, k - 5, group.min(k - 5)), true, &format!("{case} act-order"));
            plain_codes(&world, &mut rng, (n - 1, k - 1, group.min(k - 1)), &case);
            blocks(&world, &mut rng, (n - 1, k / 32 * 32), &case);
        });
        rng.random::<u64>();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_gives_the_bytes_of_the_host(n in 1usize..80, k in 1usize..400, g in 0usize..5, seed: u64) {
        let (world, mut rng) = (world(), rng(seed));
        let group = [32, 64, 128, 256, k][g];
        plain_codes(&world, &mut rng, (n, k, group.min(k)), "plain");
        compressed(&world, &mut rng, (n, k, group.min(k)), seed % 2 == 0, "compressed");
    }
}

/// What the host refuses, the device reports: scales that f16 does not hold, zeros and codes out of range, bad orders.
#[test]
fn what_does_not_fit_is_reported() {
    let world = world();
    let stream = &world.stream;
    let mut rng = rng(62);
    let weights = PlainWeights { zeros: Zeros::Codes((0..16).collect()), ..plain(&mut rng, 8, 64, 32, Some(0)) };
    let words = weights.to_awq().unwrap();
    let (qweight, qzeros) = (stream.clone_htod(&words.qweight).unwrap(), stream.clone_htod(&words.qzeros).unwrap());
    let (qweight, qzeros) = (qweight.as_view(), qzeros.as_view());
    let status = |layout: &PackedLayout, tensors: &Tensors<'_>| repack(&world, layout, tensors).1;
    let layout = layout_of(&weights, bits4(0));
    for (value, expected) in [
        (0.1f32, RepackStatus::SCALE),
        (65536.0, RepackStatus::SCALE),
        (f32::NAN, RepackStatus::SCALE),
        (f32::INFINITY, RepackStatus::SCALE),
        (2f32.powi(-24), RepackStatus::OK),
        (-0.0, RepackStatus::OK),
    ] {
        let mut scales = vec![1f32; 16];
        scales[11] = value;
        let scales = stream.clone_htod(&scales).unwrap();
        let tensors = Tensors::Awq {
            qweight: DeviceWords::U32(&qweight),
            qzeros: DeviceWords::U32(&qzeros),
            scales: DeviceScales::F32(&scales.as_view()),
        };
        assert_eq!(status(&layout, &tensors), expected, "scale {value}");
    }
    let scales = stream.clone_htod(&[f16::INFINITY; 16]).unwrap();
    let ones = stream.clone_htod(&[f16::ONE; 16]).unwrap();
    let (scales, ones) = (scales.as_view(), ones.as_view());
    let awq = |scales| Tensors::Awq { qweight: DeviceWords::U32(&qweight), qzeros: DeviceWords::U32(&qzeros), scales };
    assert_eq!(status(&layout, &awq(DeviceScales::F16(&scales))), RepackStatus::SCALE);
    // Zeros 0 to 15 in a layout of 1 to 16, and 16 in one of 0 to 15.
    assert_eq!(status(&layout_of(&weights, bits4(1)), &awq(DeviceScales::F16(&ones))), RepackStatus::ZERO);
    let (codes, zeros) = (stream.clone_htod(&weights.codes).unwrap(), stream.clone_htod(&[16u8; 16]).unwrap());
    let (codes, zeros) = (codes.as_view(), zeros.as_view());
    let of = |codes, zeros| Tensors::Plain { codes, scales: &ones, zeros: DeviceZeros::Codes(zeros) };
    assert_eq!(status(&layout, &of(&codes, &zeros)), RepackStatus::ZERO);
    assert_eq!(status(&layout_of(&weights, bits4(1)), &of(&codes, &zeros)), RepackStatus::OK);
    let mut wrong = weights.codes.clone();
    wrong[77] = 16;
    let wrong = stream.clone_htod(&wrong).unwrap();
    assert_eq!(status(&layout_of(&weights, bits4(1)), &of(&wrong.as_view(), &zeros)), RepackStatus::CODE);
    // A group that the tensors do not have.
    let words = weights.to_gptq(GptqVersion::V2).unwrap();
    let (qweight, qzeros) = (stream.clone_htod(&words.qweight).unwrap(), stream.clone_htod(&words.qzeros).unwrap());
    let order: Vec<u32> = (0..64).collect();
    let (order, groups) = (stream.clone_htod(&order).unwrap(), stream.clone_htod(&[0u32, 2]).unwrap());
    let tensors = Tensors::Gptq {
        version: GptqVersion::V2,
        qweight: DeviceWords::U32(&qweight.as_view()),
        qzeros: DeviceWords::U32(&qzeros.as_view()),
        scales: DeviceScales::F16(&ones),
        order: Some(DeviceOrder { order: &order.as_view(), groups: &groups.as_view(), inputs: 64, tensor_groups: 2 }),
    };
    assert_eq!(status(&layout, &tensors), RepackStatus::ORDER);
    assert_eq!((RepackStatus(5)).to_string(), "a scale that f16 does not hold, a code above 15");
}

#[test]
fn wrong_arguments_are_named() {
    let world = world();
    let World { kernels, stream } = &world;
    let weights = plain(&mut rng(63), 16, 64, 32, Some(0));
    let layout = layout_of(&weights, bits4(0));
    let symmetric = layout_of(&weights, WeightFormat::Int4(ZeroPoint::Symmetric));
    let (words, zeros) = (stream.alloc_zeros::<u32>(128).unwrap(), stream.alloc_zeros::<u32>(4).unwrap());
    let (scales, bytes) = (stream.alloc_zeros::<f16>(32).unwrap(), stream.alloc_zeros::<u8>(2048).unwrap());
    let (words, zeros, scales) = (words.as_view(), zeros.as_view(), scales.as_view());
    let (short_words, short_zeros, short_scales) = (words.slice(..127), zeros.slice(..3), scales.slice(..31));
    let odd = bytes.slice(2..514);
    let blocks = bytes.slice(..575);
    let awq = |qweight, qzeros, scales| Tensors::Awq { qweight, qzeros, scales: DeviceScales::F16(scales) };
    let u32s = DeviceWords::U32;
    let n_of_12 = PackedLayout::new(12, 64, 32, bits4(0)).unwrap();
    let wide = PackedLayout::new(16, 64, 64, WeightFormat::Int4(ZeroPoint::Symmetric)).unwrap();
    let ggml = |kind| Tensors::Ggml { kind, blocks: &blocks };
    for (layout, tensors, message) in [
        (&layout, awq(u32s(&short_words), u32s(&zeros), &scales), "`qweight`: expected at least 128, found 127"),
        (&layout, awq(u32s(&words), u32s(&short_zeros), &scales), "`qzeros`: expected at least 4, found 3"),
        (&layout, awq(u32s(&words), u32s(&zeros), &short_scales), "`scales`: expected at least 32, found 31"),
        (
            &layout,
            awq(DeviceWords::U8(&odd), u32s(&zeros), &scales),
            "`qweight`: expected a start at a multiple of 4 bytes, found 0x",
        ),
        (&n_of_12, awq(u32s(&words), u32s(&zeros), &scales), "`n`: expected a multiple of 8, found 12"),
        (
            &symmetric,
            awq(u32s(&words), u32s(&zeros), &scales),
            "`layout`: expected 4-bit weights with 4-bit zeros, found Int4(Symmetric) in groups of 32",
        ),
        (&symmetric, ggml(GgmlType::Q4_0), "`blocks`: expected at least 576, found 575"),
        (&symmetric, ggml(GgmlType::Q5_0), "q5_0 is not supported; supported: q4_0, q4_1, q8_0"),
        (
            &wide,
            ggml(GgmlType::Q4_0),
            "`layout`: expected the weights of the blocks' type, whole groups of 32, found Int4(Symmetric) in groups of 64",
        ),
    ] {
        let mut out = stream.clone_htod(&vec![0xa5u8; layout.bytes()]).unwrap();
        let mut status = stream.alloc_zeros::<u32>(1).unwrap();
        let error =
            matmul::repack(kernels, stream, layout, &tensors, &mut out.as_view_mut(), &mut status.as_view_mut());
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(&format!("matmul::repack: {message}")), "{error}\nis not\n{message}");
        assert!(stream.clone_dtoh(&out).unwrap().iter().all(|&b| b == 0xa5), "an error writes nothing");
    }
    let tensors = awq(u32s(&words), u32s(&zeros), &scales);
    let mut out = stream.alloc_zeros::<u8>(layout.bytes()).unwrap();
    let mut status = stream.alloc_zeros::<u32>(1).unwrap();
    let needed = layout.bytes();
    let mut short = out.slice_mut(..needed - 1);
    let error = matmul::repack(kernels, stream, &layout, &tensors, &mut short, &mut status.as_view_mut()).unwrap_err();
    let expected = format!("matmul::repack: `out`: expected at least {needed}, found {}", needed - 1);
    assert_eq!(error.to_string(), expected);
    let mut none = status.slice_mut(..0);
    let error = matmul::repack(kernels, stream, &layout, &tensors, &mut out.as_view_mut(), &mut none).unwrap_err();
    assert_eq!(error.to_string(), "matmul::repack: `status`: expected at least 1, found 0");
}
