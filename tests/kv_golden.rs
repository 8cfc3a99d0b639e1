//! The reference's append and attend against golden attention: every format, case and option, however the cache was
//! filled.

mod kv_world;

use half::f16;
use kv_world::World;
use lowbit::cache::{KvFormat, KvLayout, KvScale, KvShape, KvSide, Status};
use lowbit::format::DType;
use lowbit::reference::attend::{Options, attend};
use lowbit::reference::kv::Rows;
use safetensors::SafeTensors;

struct Golden {
    bytes: Vec<u8>,
    heads: usize,
    kv_heads: usize,
    d: usize,
}

impl Golden {
    fn read(name: &str) -> Self {
        let path = format!("{}/tests/data/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let (q, k) = (tensors.tensor("q").unwrap(), tensors.tensor("k").unwrap());
        let (heads, kv_heads, d) = (q.shape()[1], k.shape()[1], q.shape()[2]);
        Self { bytes, heads, kv_heads, d }
    }

    fn get<T: bytemuck::AnyBitPattern>(&self, name: &str) -> Option<Vec<T>> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).ok()?;
        Some(tensor.data().chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
    }

    fn f16(&self, name: &str) -> Vec<f16> {
        self.get(name).unwrap()
    }

    /// (n, m, case, option) of a cache.
    fn cases(&self, cache: &str) -> Vec<(usize, usize, String, String)> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tokens = tensors.tensor("k").unwrap().shape()[0];
        let number = |text: &str, letter: char| text.strip_prefix(letter).unwrap().parse::<usize>().unwrap();
        let mut cases = Vec::new();
        for name in tensors.names() {
            let Some(case) = name.strip_prefix(cache).and_then(|n| n.strip_prefix('.')?.strip_suffix(".out")) else {
                continue;
            };
            let (case_n, rest) = match case.split_once('.') {
                Some((n, rest)) => (number(n, 'n'), rest),
                None => (tokens, case),
            };
            let (m, option) = rest.split_once('_').unwrap_or((rest, ""));
            cases.push((case_n, number(m, 'm'), case.to_string(), option.to_string()));
        }
        assert!(cases.len() >= 2, "no golden cases of {cache}");
        cases
    }
}

/// How the first n - m tokens come into the cache.
#[derive(Debug, Clone, Copy)]
enum Fill {
    OneByOne,
    Chunks(usize),
    Prefill,
}

/// Results are f64 sums of the same numbers in another order: 1e-10 of the largest value is ten thousand roundings of the
/// 700 terms, and far below any wrong code (f16 rounding alone is 5e-4).
fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3f64, |a, x| a.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-10 * largest, "{what}: element {i}: {a} instead of {b}");
    }
}

fn check(file: &str, cache: &str, format: KvFormat, page_tokens: usize, fill: Fill) {
    let golden = Golden::read(file);
    let (k, v, q) = (golden.f16("k"), golden.f16("v"), golden.f16("q"));
    let row = golden.kv_heads * golden.d;
    // E4M3 values beside other keys have the scales of the cache that is all E4M3.
    let scales_of = if cache == "int8_k_e4m3_v" { "e4m3_head" } else { cache };
    let scales = |side: &str, of: KvSide| -> Option<Vec<f32>> {
        let given = |name: &str| golden.get(&format!("{scales_of}.{side}_{name}"));
        let scale = || given("scale").or_else(|| given("tensor_scale"));
        (of.scale.is_per_head() || of.scale == KvScale::Channel).then(|| scale().unwrap_or_else(|| vec![1.0]))
    };
    for (n, m, case, option) in golden.cases(cache) {
        let max_append = match fill {
            Fill::Chunks(chunk) => chunk.max(4),
            _ => 4,
        };
        let shape =
            KvShape { num_kv_heads: golden.kv_heads, head_dim: golden.d, page_tokens, max_append, dtype: DType::F16 };
        let layout = KvLayout::new(shape, format).unwrap();
        let mut world = World::new(layout, 1, n, 5);
        (world.k_scale, world.v_scale) = (scales("k", format.k), scales("v", format.v));
        let p0 = n - m;
        match fill {
            Fill::OneByOne => world.append_range(&k, &v, 0..p0, 1),
            Fill::Chunks(chunk) => world.append_range(&k, &v, 0..p0, chunk),
            Fill::Prefill if p0 > 0 => {
                let step = world.step(&[p0]);
                world.append(&step, &k[..p0 * row], &v[..p0 * row], true);
            }
            Fill::Prefill => {}
        }
        let step = world.step(&[m]);
        world.append(&step, &k[p0 * row..n * row], &v[p0 * row..n * row], false);
        assert_eq!(world.status, Status::OK);

        let on = |name: &str| option == name || option == "all";
        let (alibi, sinks): (Vec<f32>, Vec<f32>) =
            (golden.get("alibi_slopes").unwrap(), golden.get("sink_logits").unwrap());
        let options = Options {
            softmax_scale: golden.get::<f32>("softmax_scale").unwrap()[0],
            soft_cap: on("softcap").then(|| golden.get::<f32>("softcap").unwrap()[0]),
            alibi_slopes: on("alibi").then_some(&alibi),
            window: on("window").then(|| golden.get::<i32>("window").unwrap()[0] as usize),
            sink_logits: on("sinks").then_some(&sinks),
            tree_mask: None,
            rope: world.angles.as_deref(),
        };
        assert!(["", "softcap", "alibi", "window", "sinks", "all"].contains(&option.as_str()), "{option}");
        let q_row = golden.heads * golden.d;
        let rows = Rows { data: &q[(4 - m) * q_row..], stride: q_row };
        let result = attend(&world.cache_ref(), &world.batch(&step), rows, golden.heads, &options).unwrap();
        let what = format!("{file} {cache} {case} pages of {page_tokens}, {fill:?}");
        assert_eq!(result.status, Status::OK);
        assert_close(&result.out, &golden.get(&format!("{cache}.{case}.out")).unwrap(), &format!("{what} out"));
        assert_close(&result.lse, &golden.get(&format!("{cache}.{case}.lse")).unwrap(), &format!("{what} lse"));
    }
}

const FILES: [&str; 3] = ["attention_d128_h8_kv2_t333", "attention_d128_h8_kv1_t700", "attention_real_d64_h9_kv3_t512"];

const OTHER_DIMS: [&str; 3] = ["attention_d80_h4_kv2_t161", "attention_d96_h6_kv2_t200", "attention_d256_h4_kv1_t130"];

#[test]
fn other_head_dims() {
    for file in OTHER_DIMS {
        for (cache, format) in [
            ("int8_token", KvFormat::INT8),
            ("e4m3_unit", KvFormat::E4M3),
            ("e4m3_head", KvFormat::E4M3),
            ("int4_group", KvFormat::INT4),
            ("nvfp4", KvFormat::NVFP4),
            ("kivi_k4_v4_g32_r32", KvFormat::kivi4(32)),
        ] {
            check(file, cache, format, 32, Fill::Prefill);
        }
    }
}

#[test]
fn other_codes_and_mixtures() {
    for file in FILES {
        for (cache, format) in [
            ("e5m2_unit", KvFormat::E5M2),
            ("int8_k_e4m3_v", KvFormat::INT8_E4M3),
            ("int8_k_int4_v", KvFormat::INT8_INT4),
            ("int4_group", KvFormat::INT4),
            ("nvfp4", KvFormat::NVFP4),
        ] {
            check(file, cache, format, 32, Fill::Prefill);
        }
    }
    for file in FILES.into_iter().chain(["attention_d96_h6_kv2_t200", "attention_d256_h4_kv1_t130"]) {
        check(file, "q8_0", KvFormat::Q8_0, 16, Fill::Prefill);
        check(file, "q4_0", KvFormat::Q4_0, 32, Fill::Prefill);
    }

    for file in FILES.into_iter().chain(OTHER_DIMS) {
        check(file, "int8_channel_static", KvFormat::INT8_STATIC, 16, Fill::Prefill);
    }
    check(FILES[0], "q8_0_k_q4_0_v", KvFormat::Q8_0_Q4_0, 32, Fill::Chunks(7));
    check(FILES[0], "int4_group", KvFormat::INT4, 64, Fill::OneByOne);
    check(FILES[0], "int8_k_int4_v", KvFormat::INT8_INT4, 32, Fill::Chunks(7));
    check(FILES[2], "nvfp4", KvFormat::NVFP4, 64, Fill::Chunks(5));
}

#[test]
fn float_and_8_bit_caches() {
    for file in FILES {
        for (cache, format) in [
            ("f16", KvFormat::FLOAT),
            ("int8_token", KvFormat::INT8),
            ("e4m3_unit", KvFormat::E4M3),
            ("e4m3_head", KvFormat::E4M3),
        ] {
            check(file, cache, format, 16, Fill::Prefill);
        }
    }
    check(FILES[0], "int8_token", KvFormat::INT8, 64, Fill::OneByOne);
    check(FILES[2], "e4m3_head", KvFormat::E4M3, 32, Fill::Chunks(5));
}

#[test]
fn kivi_caches() {
    for file in FILES {
        check(file, "kivi_k4_v4_g32_r32", KvFormat::kivi4(32), 32, Fill::Prefill);
        check(file, "kivi_k4_v4_g32_r128", KvFormat::kivi4(128), 64, Fill::Prefill);
    }
    for file in FILES.into_iter().chain(["attention_d96_h6_kv2_t200"]) {
        check(file, "kivi_k2_v2_g32_r128", KvFormat::kivi2(128), 64, Fill::Prefill);
        check(file, "kivi_k8_v2_g32_r32", KvFormat::kivi8_2(32), 32, Fill::Prefill);
    }
    check(FILES[0], "kivi_k2_v2_g32_r128", KvFormat::kivi2(128), 32, Fill::Chunks(7));
    check(FILES[2], "kivi_k8_v2_g32_r32", KvFormat::kivi8_2(32), 64, Fill::OneByOne);
    check(FILES[0], "kivi_k4_v4_g32_r32", KvFormat::kivi4(32), 64, Fill::OneByOne);
    check(FILES[0], "kivi_k4_v4_g32_r128", KvFormat::kivi4(128), 128, Fill::OneByOne);
    check(FILES[0], "kivi_k4_v4_g32_r32", KvFormat::kivi4(32), 32, Fill::Chunks(7));
    check(FILES[0], "kivi_k4_v4_g32_r128", KvFormat::kivi4(128), 32, Fill::Chunks(40));
}
