//! Importers of checkpoints: golden words give the golden codes and weights, words come back bit by bit, act-order gives
//! the golden products, and what does not fit is refused by name.

#[path = "common/golden.rs"]
mod golden;

use golden::Golden;
use half::{bf16, f16};
use lowbit::reference::matmul;
use lowbit::weights::{
    Awq, Clip, CompressedTensors, Gptq, GptqVersion, Imported, PADDING, Packed, PlainWeights, RtnZeros, ScaleValues,
    Words, Zeros, quantize_rtn,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SHAPES: [(usize, usize, usize); 3] = [(256, 96, 64), (64, 8, 32), (160, 24, 160)];

fn unsigned(words: &[i32]) -> Vec<u32> {
    words.iter().map(|&word| word as u32).collect()
}

fn le_bytes(words: &[i32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// `w [n, k]` against the golden `[k, n]`, exactly.
fn same_weights(imported: &Imported, expected: &[f32], case: &str) {
    let found = Packed::from_plain(&imported.weights).unwrap().dequantize();
    let (n, k) = (imported.weights.n, imported.weights.k);
    assert_eq!(expected.len(), n * imported.inputs(), "{case}");
    for (at, weight) in found.iter().enumerate() {
        let (output, position) = (at / k, at % k);
        let input = imported.order.as_ref().map_or(position, |order| order[position] as usize);
        if input != PADDING as usize {
            assert_eq!(*weight, expected[input * n + output], "{case}: output {output}, input {input}");
        }
    }
}

#[test]
fn gptq_words_are_the_golden_weights() {
    let golden = Golden::open("weights");
    for (k, n, group) in SHAPES {
        let case = format!("k{k}_n{n}_g{group}");
        let (words, scales) = (golden.i32(&format!("{case}.gptq.qweight")), golden.f16(&format!("{case}.scales")));
        for (version, name, w, codes) in
            [(GptqVersion::V1, "gptq_v1", "gptq_v1.w", "zeros_v1"), (GptqVersion::V2, "gptq_v2", "w", "zeros")]
        {
            let zeros = golden.i32(&format!("{case}.{name}.qzeros"));
            let (bytes, zero_bytes) = (le_bytes(&words), le_bytes(&zeros));
            let (bits, zero_bits) = (unsigned(&words), unsigned(&zeros));
            for (qweight, qzeros) in [
                (Words::I32(&words), Words::I32(&zeros)),
                (Words::U32(&bits), Words::U32(&zero_bits)),
                (Words::U8(&bytes), Words::U8(&zero_bytes)),
            ] {
                let scales = ScaleValues::F16(&scales);
                let imported = Gptq { n, k, group, version, qweight, qzeros, scales, g_idx: None }.import().unwrap();
                assert_eq!(imported.order, None);
                assert_eq!(imported.weights.codes, golden.bytes(&format!("{case}.codes")));
                assert_eq!(imported.weights.zeros, Zeros::Codes(golden.bytes(&format!("{case}.{codes}"))));
                same_weights(&imported, &golden.f32(&format!("{case}.{w}")), &format!("{case} {version:?}"));
                let again = imported.weights.to_gptq(version).unwrap();
                assert!(again.qweight == bits && again.qzeros == zero_bits, "{case} {version:?}: other words");
            }
        }
    }
}

/// The golden `g_idx` of these files is a permutation of equal groups: no padding, and the weights come back in order.
#[test]
fn act_order_of_equal_groups_is_sorted_without_padding() {
    let golden = Golden::open("weights");
    for (k, n, group) in SHAPES {
        let case = format!("k{k}_n{n}_g{group}");
        let g_idx = golden.i32(&format!("{case}.g_idx"));
        let (words, zeros) =
            (golden.i32(&format!("{case}.gptq.qweight")), golden.i32(&format!("{case}.gptq_v1.qzeros")));
        let scales = golden.f16(&format!("{case}.scales"));
        let gptq = Gptq {
            n,
            k,
            group,
            version: GptqVersion::V1,
            qweight: Words::I32(&words),
            qzeros: Words::I32(&zeros),
            scales: ScaleValues::F16(&scales),
            g_idx: Some(&g_idx),
        };
        let imported = gptq.import().unwrap();
        assert_eq!(imported.inputs(), k);
        let runs = g_idx.iter().enumerate().all(|(at, &g)| g as usize == at / group);
        assert_eq!(imported.order.is_none(), runs, "{case}");
        let codes = golden.bytes(&format!("{case}.codes"));
        let (zeros, scales) = (golden.bytes(&format!("{case}.zeros_v1")), golden.f16(&format!("{case}.scales")));
        let expected: Vec<f32> = (0..k * n)
            .map(|at| {
                let in_group = g_idx[at / n] as usize * n + at % n;
                (f32::from(codes[at]) - f32::from(zeros[in_group])) * scales[in_group].to_f32()
            })
            .collect();
        same_weights(&imported, &expected, &case);
    }
}

#[test]
fn awq_words_are_the_golden_weights() {
    let golden = Golden::open("weights");
    for (k, n, group) in SHAPES {
        let case = format!("k{k}_n{n}_g{group}");
        let words = golden.i32(&format!("{case}.awq.qweight"));
        let zeros = golden.i32(&format!("{case}.awq.qzeros"));
        let scales = golden.f16(&format!("{case}.scales"));
        let (qweight, qzeros) = (Words::I32(&words), Words::I32(&zeros));
        let imported = Awq { n, k, group, qweight, qzeros, scales: ScaleValues::F16(&scales) }.import().unwrap();
        assert_eq!(imported.weights.codes, golden.bytes(&format!("{case}.codes")));
        same_weights(&imported, &golden.f32(&format!("{case}.w")), &case);
        let again = imported.weights.to_awq().unwrap();
        assert!(again.qweight == unsigned(&words) && again.qzeros == unsigned(&zeros), "{case}: other words");
    }
    // The published order: columns 0..8 in one word.
    let plain = PlainWeights {
        n: 8,
        k: 1,
        group: 1,
        codes: (0..8).collect(),
        scales: vec![f16::ONE; 8],
        zeros: Zeros::Symmetric,
    };
    assert_eq!(plain.to_awq().unwrap().qweight, [0x7531_6420]);
}

/// Unequal groups (tensor-parallel shards): the products of the padded, sorted weights are the golden ones.
#[test]
fn act_order_products_are_the_golden_ones() {
    let golden = Golden::open("matmul_act_order");
    for case in ["equal", "shard0", "shard1", "unequal"] {
        let shape = golden.shape(&format!("{case}.codes"));
        let (k, n) = (shape[0], shape[1]);
        let g_idx = golden.i32(&format!("{case}.g_idx"));
        let words = golden.i32(&format!("{case}.gptq.qweight"));
        let scales = golden.f16(&format!("{case}.scales"));
        let zeros = golden.bytes(&format!("{case}.zeros_v1"));
        let stored: Vec<u32> = zeros
            .chunks_exact(8)
            .map(|zeros| zeros.iter().rev().fold(0, |word, zero| word << 4 | u32::from(zero - 1)))
            .collect();
        let imported = Gptq {
            n,
            k,
            group: 64,
            version: GptqVersion::V1,
            qweight: Words::I32(&words),
            qzeros: Words::U32(&stored),
            scales: ScaleValues::F16(&scales),
            g_idx: Some(&g_idx),
        }
        .import()
        .unwrap();
        assert!(imported.order.is_some() && imported.inputs() == k, "{case}");
        if case == "equal" {
            assert_eq!((imported.weights.k, imported.weights.group), (k, 64), "no padding");
        }
        let weights = Packed::from_plain(&imported.weights).unwrap();
        for kind in ["gauss", "abs", "plus3"] {
            let x = imported.arrange(&golden.f16(&format!("{case}.x.{kind}")), k).unwrap();
            let found = matmul::skinny::<f16, f32>(&weights, &x, None, None);
            for (at, expected) in golden.f64(&format!("{case}.y.{kind}")).iter().enumerate() {
                // Another order of an f64 sum.
                let error = (found.y[at] - expected).abs();
                assert!(
                    error <= 1e-12 * found.magnitude[at],
                    "{case} {kind} [{at}]: {} is not {expected}",
                    found.y[at]
                );
            }
        }
    }
}

fn random_plain(
    rng: &mut ChaCha8Rng,
    n: usize,
    k: usize,
    group: usize,
    zeros: Option<std::ops::Range<u8>>,
) -> PlainWeights {
    let per_group = k.div_ceil(group) * n;
    PlainWeights {
        n,
        k,
        group,
        codes: (0..n * k).map(|_| rng.random_range(0..16)).collect(),
        scales: (0..per_group).map(|_| f16::from_f32(rng.random_range(0.001..0.1))).collect(),
        zeros: zeros.map_or(Zeros::Symmetric, |range| {
            Zeros::Codes((0..per_group).map(|_| rng.random_range(range.clone())).collect())
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn words_of_every_kind_come_back(n8 in 1usize..8, k8 in 1usize..20, group in 1usize..80, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (n, k) = (8 * n8, 8 * k8);
        let group = group.min(k);
        for (version, range) in [(GptqVersion::V1, 1..17), (GptqVersion::V2, 0..16)] {
            let plain = random_plain(&mut rng, n, k, group, Some(range));
            let words = plain.to_gptq(version).unwrap();
            let (qweight, qzeros) = (Words::U32(&words.qweight), Words::U32(&words.qzeros));
            let scales = ScaleValues::F16(&plain.scales);
            let again = Gptq { n, k, group, version, qweight, qzeros, scales, g_idx: None }.import().unwrap();
            prop_assert_eq!(again, Imported { weights: plain, order: None });
        }
        let plain = random_plain(&mut rng, n, k, group, Some(0..16));
        let words = plain.to_awq().unwrap();
        let (qweight, qzeros) = (Words::U32(&words.qweight), Words::U32(&words.qzeros));
        let again = Awq { n, k, group, qweight, qzeros, scales: ScaleValues::F16(&plain.scales) }.import().unwrap();
        prop_assert_eq!(again, Imported { weights: plain, order: None });
    }

    #[test]
    fn compressed_tensors_words_come_back(n in 1usize..40, k in 1usize..100, group in 1usize..80, symmetric: bool, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let group = group.min(k);
        let plain = random_plain(&mut rng, n, k, group, (!symmetric).then_some(0..16));
        let words = plain.to_compressed_tensors().unwrap();
        let groups = k.div_ceil(group);
        // The checkpoint has its scales by output.
        let scales: Vec<f16> = (0..n * groups).map(|at| plain.scales[at % groups * n + at / groups]).collect();
        let imported = CompressedTensors {
            n,
            k,
            group,
            weight_packed: Words::U32(&words.weight_packed),
            scales: ScaleValues::F16(&scales),
            zero_point: words.zero_point.as_deref().map(Words::U32),
            g_idx: None,
        }
        .import()
        .unwrap();
        prop_assert_eq!(imported, Imported { weights: plain, order: None });
    }

    /// Any assignment of k to groups, empty groups too.
    #[test]
    fn any_act_order_holds_every_weight(n8 in 1usize..4, k8 in 1usize..30, groups in 1usize..7, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (n, k) = (8 * n8, 8 * k8);
        let g_idx: Vec<i32> = (0..k).map(|_| rng.random_range(0..groups as i32)).collect();
        // In plain order nothing is padded, and groups of 4 are none that can be packed.
        let group = k.div_ceil(groups);
        prop_assume!(groups == 1 || (0..k).any(|at| g_idx[at] as usize != at / group));
        let by_group = random_plain(&mut rng, n, groups, 1, Some(1..17));
        let runs = PlainWeights { k, group, ..random_plain(&mut rng, n, k, 1, None) };
        let mut qweight = vec![0u32; k / 8 * n];
        for (at, &code) in runs.codes.iter().enumerate() {
            qweight[at / n / 8 * n + at % n] |= u32::from(code) << (4 * (at / n % 8));
        }
        let Zeros::Codes(zeros) = &by_group.zeros else { unreachable!() };
        let qzeros: Vec<u32> = zeros
            .chunks_exact(8)
            .map(|zeros| zeros.iter().rev().fold(0, |word, zero| word << 4 | u32::from(zero - 1)))
            .collect();
        let imported = Gptq {
            n,
            k,
            group: runs.group,
            version: GptqVersion::V1,
            qweight: Words::U32(&qweight),
            qzeros: Words::U32(&qzeros),
            scales: ScaleValues::F16(&by_group.scales),
            g_idx: Some(&g_idx),
        }
        .import()
        .unwrap();
        prop_assert_eq!(imported.inputs(), k);
        let expected: Vec<f32> = (0..k * n)
            .map(|at| {
                let in_group = g_idx[at / n] as usize * n + at % n;
                (f32::from(runs.codes[at]) - f32::from(zeros[in_group])) * by_group.scales[in_group].to_f32()
            })
            .collect();
        same_weights(&imported, &expected, "random");
        if let Some(order) = &imported.order {
            let mut inputs: Vec<u32> = order.iter().copied().filter(|&at| at != PADDING).collect();
            inputs.sort_unstable();
            prop_assert!(inputs.iter().copied().eq(0..k as u32), "every input once");
        }
    }
}

/// The words of compressed-tensors: signed code + 8, LSB first along k, zeros along n.
#[test]
fn compressed_tensors_words_are_as_published() {
    let plain = PlainWeights {
        n: 2,
        k: 8,
        group: 8,
        codes: (0..16).map(|at| [at / 2, 15 - at / 2][at as usize % 2]).collect(),
        scales: vec![f16::ONE; 2],
        zeros: Zeros::Codes(vec![8, 9]),
    };
    let words = plain.to_compressed_tensors().unwrap();
    assert_eq!(words.weight_packed, [0x7654_3210, 0x89ab_cdef]);
    assert_eq!(words.zero_point.unwrap(), [0x98]);
}

#[test]
fn scales_that_f16_does_not_hold_are_refused() {
    let import = |scales: ScaleValues| {
        Awq { n: 8, k: 2, group: 2, qweight: Words::U32(&[0; 2]), qzeros: Words::U32(&[0]), scales }.import()
    };
    let mut values = [bf16::from_f32(0.25); 8];
    assert_eq!(import(ScaleValues::Bf16(&values)).unwrap().weights.scales, [f16::from_f32(0.25); 8]);
    values[3] = bf16::from_f32(1e-30);
    assert_eq!(
        import(ScaleValues::Bf16(&values)).unwrap_err().to_string(),
        "weights::Awq::import: `scales`: expected finite values that f16 holds exactly, found 9.984021e-31 at 3"
    );
    let mut values = [1.0f32; 8];
    assert_eq!(import(ScaleValues::F32(&values)).unwrap().weights.scales, [f16::ONE; 8]);
    values[7] = 0.1;
    assert!(import(ScaleValues::F32(&values)).is_err());
    values[7] = f32::NAN;
    assert!(import(ScaleValues::F32(&values)).is_err());
    values[7] = f32::INFINITY;
    assert!(import(ScaleValues::F32(&values)).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let (words, zeros, scales) = ([0i32; 2 * 16], [0i32; 2 * 2], [f16::ONE; 2 * 16]);
    let gptq = Gptq {
        n: 16,
        k: 16,
        group: 8,
        version: GptqVersion::V1,
        qweight: Words::I32(&words),
        qzeros: Words::I32(&zeros),
        scales: ScaleValues::F16(&scales),
        g_idx: None,
    };
    assert!(gptq.import().is_ok());
    let bytes = [0u8; 127];
    let table: [(Gptq, &str); 9] = [
        (Gptq { n: 12, ..gptq }, "`n`: expected a multiple of 8 above 0, found 12"),
        (Gptq { k: 0, ..gptq }, "`k`: expected a multiple of 8 above 0, found 0"),
        (Gptq { group: 0, ..gptq }, "`group`: expected a multiple of 1 above 0, found 0"),
        (Gptq { group: 4, ..gptq }, "`scales`: expected 64 elements [groups, n], found 32 elements"),
        (Gptq { qweight: Words::I32(&words[1..]), ..gptq }, "`qweight`: expected 32 words [k / 8, n], found 31 words"),
        (Gptq { qweight: Words::U8(&bytes), ..gptq }, "`qweight`: expected 32 words [k / 8, n], found 127 bytes"),
        (Gptq { qzeros: Words::I32(&words), ..gptq }, "`qzeros`: expected 4 words [groups, n / 8], found 32 words"),
        (Gptq { g_idx: Some(&[0; 15]), ..gptq }, "`g_idx`: expected 16 elements, found 15"),
        (Gptq { g_idx: Some(&[2; 16]), ..gptq }, "`g_idx`: expected 0 to 1, found 2 at 0"),
    ];
    for (bad, message) in table {
        assert_eq!(bad.import().unwrap_err().to_string(), format!("weights::Gptq::import: {message}"));
    }
    let plain = |zeros| PlainWeights { n: 8, k: 8, group: 8, codes: vec![1; 64], scales: vec![f16::ONE; 8], zeros };
    let error = |zeros: Zeros, version| plain(zeros).to_gptq(version).unwrap_err().to_string();
    let found = error(Zeros::Codes(vec![0; 8]), GptqVersion::V1);
    assert_eq!(found, "weights::PlainWeights::to_gptq: `zeros`: expected 1 to 16, found 0");
    let found = error(Zeros::Codes(vec![16; 8]), GptqVersion::V2);
    assert_eq!(found, "weights::PlainWeights::to_gptq: `zeros`: expected 0 to 15, found 16");
    assert!(plain(Zeros::Min(vec![f16::ONE; 8])).to_awq().is_err());
    assert!(PlainWeights { n: 9, ..plain(Zeros::Symmetric) }.to_awq().is_err());
    assert!(PlainWeights { group: 0, ..plain(Zeros::Symmetric) }.to_compressed_tensors().is_err());
    let imported = gptq.import().unwrap();
    assert!(imported.arrange(&[0f32; 16], 8).is_err() && imported.arrange(&[0f32; 17], 16).is_err());
}

/// By the definition, written once more in f64; and what the clipping is for.
#[test]
fn round_to_nearest_is_its_definition() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (n, k, group) = (5, 100, 32);
    let mut w: Vec<f32> = (0..n * k).map(|_| rng.random_range(-1.0f32..1.0).powi(3)).collect();
    w[7] = 1.5; // Beyond the rest, which is within 1: clipping it pays.
    w[k..2 * k].fill(0.0);
    for zeros in [RtnZeros::Symmetric, RtnZeros::Asymmetric] {
        let plain = quantize_rtn(&w, n, k, group, zeros, Clip::None).unwrap();
        let packed = Packed::from_plain(&plain).unwrap();
        for (output, at) in (0..n).flat_map(|output| (0..k).map(move |at| (output, at))) {
            let (exact, scale) = (f64::from(w[output * k + at]), packed.scale(output, at / group).to_f64());
            let error = (packed.weight(output, at) - exact).abs();
            // Half a step, or for the value at the end of the symmetric range the whole of one, and the scale's rounding.
            let step = if zeros == RtnZeros::Symmetric { 0.51 } else { 1.01 };
            assert!(error <= step * scale + exact.abs() * 1e-3, "{zeros:?} ({output}, {at}): off by {error}");
        }
        assert!(w[k..2 * k].iter().all(|&w| w == 0.0) && (0..k).all(|at| packed.weight(1, at) == 0.0));
        let squared = |plain: &PlainWeights| -> Vec<f64> {
            let packed = Packed::from_plain(plain).unwrap();
            let error = |at: usize| (packed.weight(at / k, at % k) - f64::from(w[at])).powi(2);
            let groups = k.div_ceil(group);
            (0..n * groups)
                .map(|at| {
                    (at / groups * k + at % groups * group, (at % groups * group + group).min(k) - at % groups * group)
                })
                .map(|(first, len)| (first..first + len).map(error).sum())
                .collect()
        };
        let clipped = squared(&quantize_rtn(&w, n, k, group, zeros, Clip::Mse).unwrap());
        let whole = squared(&plain);
        assert!(
            clipped.iter().zip(&whole).all(|(clipped, whole)| clipped <= whole),
            "{zeros:?}: clipping made it worse"
        );
        assert!(clipped.iter().sum::<f64>() < 0.95 * whole.iter().sum::<f64>(), "{zeros:?}: {clipped:?} {whole:?}");
    }
    assert!(quantize_rtn(&[1.0, f32::NAN], 1, 2, 2, RtnZeros::Symmetric, Clip::None).is_err());
    assert!(quantize_rtn(&[1.0, 1e30], 1, 2, 2, RtnZeros::Symmetric, Clip::None).is_err());
    assert!(quantize_rtn(&[1.0], 1, 2, 2, RtnZeros::Symmetric, Clip::None).is_err());
    assert!(quantize_rtn(&[], 0, 2, 2, RtnZeros::Symmetric, Clip::None).is_err());
}
