//! The kernels against golden attention, computed outside of this crate, on golden keys and values: every format, with one
//! query token and with four.
#![cfg(kernels_built)]

mod attend_device;
#[path = "common/golden.rs"]
mod golden;
mod kv_world;

use attend_device::{Gpu, compare};
use golden::Golden;
use kv_world::World;
use lowbit::cache::tile::MetaPlace;
use lowbit::cache::{
    KeyRope, KvFormat, KvLayout, KvScale, KvShape, KvSide, Status, nuq_key_table, nuq_value_table, tile,
};
use lowbit::format::{Codebook, DType, RopeStyle, rope_table};
use lowbit::reference::attend::{Attention, Options};

const FILES: [&str; 3] = ["attention_d128_h8_kv2_t333", "attention_d128_h8_kv1_t700", "attention_real_d64_h9_kv3_t512"];

const OTHER_DIMS: [&str; 3] = ["attention_d80_h4_kv2_t161", "attention_d96_h6_kv2_t200", "attention_d256_h4_kv1_t130"];

/// The cases of a cache: (name, n, m, option).
fn cases(golden: &Golden, cache: &str) -> Vec<(String, usize, usize, String)> {
    let tokens = golden.shape("k")[0];
    let number = |text: &str, letter: char| text.strip_prefix(letter).unwrap().parse::<usize>().unwrap();
    let mut cases = Vec::new();
    for name in golden.names() {
        let Some(case) = name.strip_prefix(cache).and_then(|n| n.strip_prefix('.')?.strip_suffix(".out")) else {
            continue;
        };
        let (n, rest) = case.split_once('.').map_or((tokens, case), |(n, rest)| (number(n, 'n'), rest));
        let (m, option) = rest.split_once('_').unwrap_or((rest, ""));
        cases.push((case.to_string(), n, number(m, 'm'), option.to_string()));
    }
    assert!(cases.len() >= 2, "no golden cases of {cache}");
    cases
}

/// Golden keys of up to 100 channels have one outlier a token, where a cache has two: the second is taken out again, and what its
/// code says counts.
fn leave_one_outlier(world: &mut World) {
    let (layout, d) = (world.layout, world.layout.shape().head_dim);
    let tile_layout = layout.tile();
    let mut taken = 0;
    for head in world.pages.chunks_exact_mut(layout.head_bytes()) {
        for record in head.chunks_exact_mut(tile_layout.bytes) {
            for token in 0..tile_layout.tokens {
                let MetaPlace::Outliers { value, channel, .. } = tile::k_meta(layout.format(), d, token, 0) else {
                    unreachable!("tables have outliers")
                };
                let meta = &mut record[tile_layout.k_meta.offset..];
                taken += usize::from(meta[channel] != 255 && usize::from(meta[channel + 1]) < d);
                meta[channel + 1] = 255;
                meta[value + 2..][..2].copy_from_slice(&0x7E00u16.to_le_bytes());
            }
        }
    }
    assert!(taken > 0, "no key has two outliers");
}

fn check(file: &str, cache: &str, format: KvFormat, page_tokens: usize) {
    let gpu = Gpu::new();
    let golden = Golden::open(file);
    let style = cache.split_once('_').and_then(|(name, style)| name.starts_with("nuq").then_some(style));
    let (mut k, v, q) = (golden.f16("k"), golden.f16("v"), golden.f16("q"));
    let (heads, kv_heads, d) = (golden.shape("q")[1], golden.shape("k")[1], golden.shape("q")[2]);
    let (row, q_row) = (kv_heads * d, heads * d);
    if style.is_some() && golden.names().iter().any(|name| name == "k_pre") {
        k = golden.f16("k_pre");
    }
    for (case, n, m, option) in cases(&golden, cache) {
        let shape = KvShape { num_kv_heads: kv_heads, head_dim: d, page_tokens, max_append: 4, dtype: DType::F16 };
        let mut layout = KvLayout::new(shape, format).unwrap();
        if let Some(style) = style {
            let style = if style == "half" { RopeStyle::HalfSplit } else { RopeStyle::Interleaved };
            layout = layout.pre_rope(KeyRope { style, rotary_dim: d }).unwrap();
        }
        let mut world = World::new(layout, 1, n, 5);
        // E4M3 values beside other keys have the scales of the cache that is all E4M3.
        let scales_of = if cache == "int8_k_e4m3_v" { "e4m3_head" } else { cache };
        let scale = |side: &str, of: KvSide| {
            (of.scale.is_per_head() || of.scale == KvScale::Channel).then(|| match scales_of {
                "int8_channel_static" => golden.f32(&format!("int8_channel_static.{side}_scale")),
                "e4m3_head" => golden.f32(&format!("e4m3_head.{side}_scale")),
                "nvfp4" => golden.f32(&format!("nvfp4.{side}_tensor_scale")),
                _ => vec![1.0],
            })
        };
        (world.k_scale, world.v_scale) = (scale("k", format.k), scale("v", format.v));
        if style.is_some() {
            let of = |part: &str| golden.f16(&format!("{}.{part}", &cache[..4]));
            let book = |side: &str| Codebook::new(&of(&format!("{side}_codebook"))).unwrap();
            world.k_scale = Some(nuq_key_table(&book("k"), &of("k_range"), &of("k_zero")).unwrap());
            world.v_scale = Some(nuq_value_table(&book("v")).unwrap());
            let positions = world.max_blocks * page_tokens;
            world.angles = Some(rope_table(golden.f64("rope_base")[0], d, positions));
        }
        let p0 = n - m;
        if p0 > 0 {
            let step = world.step(&[p0]);
            world.append(&step, &k[..p0 * row], &v[..p0 * row], true);
        }
        let step = world.step(&[m]);
        world.append(&step, &k[p0 * row..n * row], &v[p0 * row..n * row], false);
        if style.is_some() && d <= 100 {
            leave_one_outlier(&mut world);
        }
        assert!(["", "window", "softcap", "alibi", "sinks", "all"].contains(&&*option), "{option} is no known option");
        let has = |name: &str| option == name || option == "all";
        let (slopes, sinks) = (golden.f32("alibi_slopes"), golden.f32("sink_logits"));
        let options = Options {
            softmax_scale: golden.f32("softmax_scale")[0],
            soft_cap: has("softcap").then(|| golden.f32("softcap")[0]),
            alibi_slopes: has("alibi").then_some(&slopes[..]),
            window: has("window").then(|| golden.i32("window")[0] as usize),
            sink_logits: has("sinks").then_some(&sinks[..]),
            tree_mask: None,
            rope: world.angles.as_deref(),
        };
        let found = gpu.attend(&world, &step, &q[(4 - m) * q_row..], heads, &options);
        let expected = Attention {
            out: golden.f64(&format!("{cache}.{case}.out")),
            lse: golden.f64(&format!("{cache}.{case}.lse")),
            status: Status::OK,
        };
        let what = format!("{file} {cache} {case} pages of {page_tokens}");
        let (row, lse) = compare(&what, &found, &expected, d, DType::F16);
        println!("{what}: rows within {row:.2e}, LSE within {lse:.2e}");
    }
}

#[test]
fn float() {
    FILES.iter().for_each(|file| check(file, "f16", KvFormat::FLOAT, 16));
}

#[test]
fn int8() {
    FILES.iter().chain(&OTHER_DIMS).for_each(|file| check(file, "int8_token", KvFormat::INT8, 32));
}

#[test]
fn e4m3() {
    for file in FILES.into_iter().chain(OTHER_DIMS) {
        check(file, "e4m3_unit", KvFormat::E4M3, 16);
        check(file, "e4m3_head", KvFormat::E4M3, 64);
    }
}

#[test]
fn int4() {
    FILES.iter().chain(&OTHER_DIMS).for_each(|file| check(file, "int4_group", KvFormat::INT4, 64));
}

#[test]
fn nvfp4() {
    FILES.iter().chain(&OTHER_DIMS).for_each(|file| check(file, "nvfp4", KvFormat::NVFP4, 32));
}

#[test]
fn nuq() {
    for file in FILES.into_iter().chain(["attention_d96_h6_kv2_t200", "attention_d256_h4_kv1_t130"]) {
        for style in ["half", "interleaved"] {
            check(file, &format!("nuq4_{style}"), KvFormat::nuq4(1), 32);
            check(file, &format!("nuq3_{style}"), KvFormat::nuq3(1), 64);
        }
    }
}

#[test]
fn other_codes_and_mixtures() {
    for file in FILES {
        check(file, "e5m2_unit", KvFormat::E5M2, 32);
        check(file, "int8_k_e4m3_v", KvFormat::INT8_E4M3, 32);
        check(file, "int8_k_int4_v", KvFormat::INT8_INT4, 32);
    }
}

#[test]
fn given_scales_per_channel() {
    FILES.iter().chain(&OTHER_DIMS).for_each(|file| check(file, "int8_channel_static", KvFormat::INT8_STATIC, 16));
}

#[test]
fn ggml() {
    for file in FILES.into_iter().chain(["attention_d96_h6_kv2_t200", "attention_d256_h4_kv1_t130"]) {
        check(file, "q8_0", KvFormat::Q8_0, 16);
        check(file, "q4_0", KvFormat::Q4_0, 64);
        if !file.contains("_d256_") {
            check(file, "q8_0_k_q4_0_v", KvFormat::Q8_0_Q4_0, 32);
        }
    }
}

#[test]
fn kivi_with_2_bits() {
    for file in FILES.into_iter().chain(["attention_d96_h6_kv2_t200", "attention_d256_h4_kv1_t130"]) {
        check(file, "kivi_k2_v2_g32_r128", KvFormat::kivi2(128), 64);
        if !file.contains("_d256_") {
            check(file, "kivi_k8_v2_g32_r32", KvFormat::kivi8_2(32), 32);
        }
    }
}

#[test]
fn kivi4() {
    for file in OTHER_DIMS {
        check(file, "kivi_k4_v4_g32_r32", KvFormat::kivi4(32), 64);
    }
    for file in FILES {
        check(file, "kivi_k4_v4_g32_r32", KvFormat::kivi4(32), 32);
        check(file, "kivi_k4_v4_g32_r128", KvFormat::kivi4(128), 128);
    }
}
