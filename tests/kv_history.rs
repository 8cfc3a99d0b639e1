//! What a call reads depends on (n, m) and the tokens alone, not on how they came into the cache: one by one, in chunks,
//! by prefill, after rejected drafts, or onto shared pages.

mod kv_world;

use half::f16;
use kv_world::{Step, World, noise};
use lowbit::cache::{KvFormat, KvLayout, KvShape, Status};
use lowbit::format::DType;
use lowbit::reference::attend::{Dequantized, dequantize};
use proptest::prelude::*;

/// One call of a history: up to `max_append` drafts of which some are kept, or a prefill.
#[derive(Debug, Clone, Copy)]
enum Call {
    Append { drafts: usize, kept: usize },
    Prefill(usize),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        8 => (1usize..=8, 0usize..=8).prop_map(|(drafts, kept)| Call::Append { drafts, kept }),
        1 => (1usize..=150).prop_map(Call::Prefill),
    ]
}

fn layouts() -> impl Strategy<Value = KvLayout> {
    let formats = prop_oneof![
        Just(KvFormat::FLOAT),
        Just(KvFormat::INT8),
        Just(KvFormat::E4M3),
        (1u32..=4).prop_map(|r| KvFormat::kivi4(32 * r)),
    ];
    let shape = (1usize..=3, any::<prop::sample::Selector>(), prop::sample::select(vec![32, 64, 128]), 8usize..=20);
    (formats, shape).prop_map(|(format, (num_kv_heads, head_dim, page_tokens, max_append))| {
        let head_dim = *head_dim.select(format.head_dims());
        KvLayout::new(KvShape { num_kv_heads, head_dim, page_tokens, max_append, dtype: DType::F16 }, format).unwrap()
    })
}

fn read(world: &World, step: &Step) -> Dequantized {
    let (read, status) = dequantize(&world.cache_ref(), &world.batch(step), 0).unwrap();
    assert_eq!(status, Status::OK);
    read.unwrap()
}

fn same(a: &Dequantized, b: &Dequantized) -> bool {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    a.present == b.present && bits(&a.k) == bits(&b.k) && bits(&a.v) == bits(&b.v)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_history_reads_the_same(layout in layouts(), calls in prop::collection::vec(call(), 1..40), last in 1usize..=8, seed in 0u64..1000) {
        let row = layout.shape().num_kv_heads * layout.shape().head_dim;
        let most: usize = calls.iter().map(|call| match call { Call::Append { drafts, .. } => *drafts, Call::Prefill(m) => *m }).sum();
        let capacity = most + 16;
        let (k, v) = (noise(capacity * row, seed), noise(capacity * row, seed + 1));
        let wrong = vec![f16::from_f32(999.0); 8 * row];
        let mut world = World::new(layout, 1, capacity, seed);
        for call in calls {
            let len = world.lens[0];
            match call {
                // The rejected drafts hold other tokens than those that come in their place.
                Call::Append { drafts, kept } => {
                    let kept = kept.min(drafts);
                    let with_drafts = |x: &[f16]| [&x[len * row..(len + kept) * row], &wrong[..(drafts - kept) * row]].concat();
                    let step = world.step(&[drafts]);
                    world.append(&step, &with_drafts(&k), &with_drafts(&v), false);
                    world.lens[0] = len + kept;
                }
                Call::Prefill(m) => {
                    let step = world.step(&[m]);
                    world.append(&step, &k[len * row..(len + m) * row], &v[len * row..(len + m) * row], true);
                }
            }
        }
        let (p0, n) = (world.lens[0], world.lens[0] + last);
        let step = world.step(&[last]);
        world.append(&step, &k[p0 * row..n * row], &v[p0 * row..n * row], false);
        let found = read(&world, &step);

        let mut plain = World::new(layout, 1, capacity, seed + 7);
        plain.append_range(&k, &v, 0..p0, 1);
        let step = plain.step(&[last]);
        plain.append(&step, &k[p0 * row..n * row], &v[p0 * row..n * row], false);
        prop_assert!(same(&found, &read(&plain, &step)), "{layout:?} p0 {p0} n {n}");
        prop_assert_eq!(world.status, Status::OK);
    }
}

/// A sequence that starts on pages of another one: its window is empty below `ring_start`, where codes are read, and
/// the shared pages are not written.
#[test]
fn shared_pages_stay_as_they_are() {
    for residual in [32, 64] {
        let shape = KvShape { num_kv_heads: 2, head_dim: 64, page_tokens: 32, max_append: 6, dtype: DType::F16 };
        let layout = KvLayout::new(shape, KvFormat::kivi4(residual)).unwrap();
        let row = 128;
        let (shared, capacity) = (128, 128 + 150);
        let (k, v) = (noise(capacity * row, 3), noise(capacity * row, 4));
        let mut world = World::new(layout, 2, capacity, 9);
        let first = world.step(&[shared, 0]);
        world.append(&first, &k[..shared * row], &v[..shared * row], true);
        let blocks = world.max_blocks;
        for block in 0..shared / 32 {
            world.table[blocks + block] = world.table[block];
        }
        world.lens[1] = shared;
        world.ring_start = Some(vec![0, shared as i32]);
        let page = layout.page_bytes();
        let shared_pages = |world: &World| -> Vec<Vec<u8>> {
            (0..shared / 32).map(|b| world.pages[world.table[b] as usize * page..][..page].to_vec()).collect()
        };
        let before = shared_pages(&world);
        for m in [1, 6, 3, 1, 5, 6].into_iter().cycle().take(30) {
            let start = world.lens[1];
            let step = world.step(&[0, m]);
            world.append(&step, &k[start * row..(start + m) * row], &v[start * row..(start + m) * row], false);
            assert!(shared_pages(&world) == before, "a shared page was written at {start}");
            let (read, status) = dequantize(&world.cache_ref(), &world.batch(&step), 1).unwrap();
            let read = read.unwrap();
            assert_eq!((status, world.status), (Status::OK, Status::OK));
            assert!(read.present.iter().all(|&p| p));
            // 999 and NaN come from a window that was never written; the data stay below 33.
            assert!(read.k.iter().chain(&read.v).all(|x| x.abs() < 40.0), "R {residual} at {start}");
        }
    }
}
