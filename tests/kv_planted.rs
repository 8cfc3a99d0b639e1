//! The reference attention on planted caches: it reads what the window rule says, and nothing else.

mod kv_world;

use kv_world::{KIVI_FORMATS, NUQ_FORMATS, TOKEN_FORMATS, formats, planted};
use lowbit::cache::KvFormat;
use lowbit::reference::attend::attend;
use lowbit::reference::kv::Rows;

/// int8's 127 * f32(1/127) is 1 within two roundings of f32; everything else is exact.
const TOLERANCE: f64 = 3e-7;

#[test]
fn the_reference_reads_the_read_set_alone() {
    check(formats());
}

#[test]
fn the_reference_reads_the_read_set_of_other_codes_alone() {
    check(TOKEN_FORMATS.into_iter().chain(KIVI_FORMATS).chain(NUQ_FORMATS));
}

fn check(formats_of_test: impl IntoIterator<Item = KvFormat>) {
    for format in formats_of_test {
        let dims = [(64, 32), (128, 64), (80, 32), (96, 64), (112, 32), (192, 32), (256, 64)];
        let dims = dims.map(|(d, page_tokens)| (d, format.tile_tokens().max(page_tokens)));
        for (i, (d, page_tokens)) in dims.into_iter().filter(|(d, _)| format.head_dims().contains(d)).enumerate() {
            let mut cases = planted::cases(format, d, page_tokens);
            assert!(cases.len() > 50);
            if i >= 2 || !formats().contains(&format) {
                // Another head dim has other maps, and the same rules of what is read: a few cases of each.
                let step = cases.len() / if TOKEN_FORMATS.contains(&format) { 3 } else { 7 };
                cases = cases.into_iter().step_by(step).collect();
            }
            for case in cases {
                let rows = Rows { data: &case.q, stride: planted::HEADS * d };
                let batch = case.world.batch(&case.step);
                let found = attend(&case.world.cache_ref(), &batch, rows, planted::HEADS, &case.options()).unwrap();
                assert_eq!(found.status, lowbit::cache::Status::OK);
                case.check(&found.out, &found.lse, TOLERANCE);
            }
        }
    }
}
