//! The kernels on planted caches: they read what the window rule, the masks and the lengths say, and nothing else.
#![cfg(kernels_built)]

mod attend_device;
mod kv_world;

use attend_device::Gpu;
use kv_world::{KIVI_FORMATS, NUQ_FORMATS, TOKEN_FORMATS, formats, planted};
use lowbit::cache::{KvFormat, Status};

/// Values are integers up to 128 and weights 1 or next to nothing; int8 scales are rounded f32, and f16 outputs hold
/// 2^-11. The LSE's tolerance is that of the operation.
const TOLERANCE: f64 = 1e-3;

fn check(format: KvFormat) {
    let gpu = Gpu::new();
    let dims = [(64, 32), (128, 64), (80, 32), (96, 64), (112, 32), (192, 64), (256, 32)];
    let dims = dims.map(|(d, page_tokens)| (d, format.tile_tokens().max(page_tokens)));
    for (i, (d, page_tokens)) in dims.into_iter().filter(|(d, _)| format.head_dims().contains(d)).enumerate() {
        let mut cases = planted::cases(format, d, page_tokens);
        assert!(cases.len() > 50);
        if i >= 2 || !formats().contains(&format) {
            // Another head dim has other maps, and the same rules of what is read: a few cases of each.
            let step = cases.len() / if TOKEN_FORMATS.contains(&format) { 3 } else { 7 };
            // Of groups of 64 tokens also windows that begin inside one.
            let windows = d == 64 && format.tile_tokens() == 64;
            let kept = |(i, case): &(usize, planted::Planted)| {
                i.is_multiple_of(step) || windows && case.window.is_some() && i.is_multiple_of(3)
            };
            cases = cases.into_iter().enumerate().filter(kept).map(|(_, case)| case).collect();
        }
        for case in cases {
            let options = case.options();
            let found = gpu.attend(&case.world, &case.step, &case.q, planted::HEADS, &options);
            assert_eq!(found.status, Status::OK, "{}", case.name);
            let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            case.check(&wide(&found.out), &wide(&found.lse), TOLERANCE);
        }
    }
}

#[test]
fn float() {
    check(KvFormat::FLOAT);
}

#[test]
fn int8() {
    check(KvFormat::INT8);
}

#[test]
fn e4m3() {
    check(KvFormat::E4M3);
}

#[test]
fn other_codes_and_mixtures() {
    TOKEN_FORMATS.into_iter().for_each(check);
}

#[test]
fn other_kivi() {
    KIVI_FORMATS.into_iter().for_each(check);
}

#[test]
fn nuq() {
    NUQ_FORMATS.into_iter().for_each(check);
}

#[test]
fn kivi4_with_a_short_window() {
    check(KvFormat::kivi4(32));
}

#[test]
fn kivi4_with_a_long_window() {
    check(KvFormat::kivi4(128));
}
