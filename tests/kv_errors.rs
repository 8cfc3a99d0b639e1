//! What the append wrapper refuses: the exact error for every bad argument, with all outputs as they were.
#![cfg(kernels_built)]

mod kv_world;

use half::{bf16, f16};
use kv_world::device::{Device, NewRows};
use kv_world::{Step, World};
use lowbit::cache::{KvFormat, KvLayout, KvShape};
use lowbit::format::DType;

/// A good call of three sequences with 2, 1 and 0 new tokens; each case spoils one thing.
struct Call {
    world: World,
    step: Step,
    k: usize,
    v: usize,
    skip: usize,
    stride: usize,
    prefill: bool,
    bf16: bool,
}

impl Call {
    fn new(format: KvFormat) -> Self {
        let shape = KvShape { num_kv_heads: 2, head_dim: 64, page_tokens: 32, max_append: 4, dtype: DType::F16 };
        let world = World::new(KvLayout::new(shape, format).unwrap(), 3, 64, 1);
        let step = world.step(&[2, 1, 0]);
        Self { world, step, k: 3 * 128, v: 3 * 128, skip: 0, stride: 128, prefill: false, bf16: false }
    }

    fn run(&mut self, device: &Device) -> lowbit::Result<()> {
        let (stride, prefill) = (self.stride, self.prefill);
        if self.bf16 {
            let (k, v) = (vec![bf16::ONE; self.k], vec![bf16::ONE; self.v]);
            let rows = |data| NewRows { data, skip: 0, stride };
            return device.append(&mut self.world, &self.step, rows(&k), rows(&v), prefill);
        }
        let (k, v) = (vec![f16::ONE; self.k + self.skip], vec![f16::ONE; self.v]);
        let k = NewRows { data: &k, skip: self.skip, stride };
        device.append(&mut self.world, &self.step, k, NewRows { data: &v, skip: 0, stride: 128 }, prefill)
    }
}

type Case = (KvFormat, fn(&mut Call), &'static str);

const INT8: KvFormat = KvFormat::INT8;
const E4M3: KvFormat = KvFormat::E4M3;
const KIVI: KvFormat = KvFormat::kivi4(32);

const CASES: &[Case] = &[
    (INT8, |c| c.bf16 = true, "kv::append: `k, v`: expected f16 (the layout's dtype), found bf16"),
    (INT8, |c| c.stride = 120, "kv::append: `k.stride`: expected a multiple of 8 from 128 to 2147483647, found 120"),
    (INT8, |c| c.stride = 132, "kv::append: `k.stride`: expected a multiple of 8 from 128 to 2147483647, found 132"),
    (INT8, |c| c.k -= 1, "kv::append: `k.data`: expected at least 384 elements, found 383"),
    (INT8, |c| c.v = 128, "kv::append: `v.data`: expected at least 384 elements, found 128"),
    (
        INT8,
        |c| c.skip = 4,
        "kv::append: `k.data`: expected a 16-byte aligned address, found an address 8 bytes past one",
    ),
    (
        KIVI,
        |c| c.step.max_q_len = 5,
        "kv::append: `batch.max_q_len`: expected at most shape.max_append = 4 (longer chunks: append_prefill), found 5",
    ),
    (
        INT8,
        |c| c.step.total_q = usize::MAX,
        "kv::append: `batch.total_q`: expected at most 2147483647, found 18446744073709551615",
    ),
    (
        INT8,
        |c| c.step.max_q_len = 1 << 31,
        "kv::append: `batch.max_q_len`: expected at most 2147483647, found 2147483648",
    ),
    (INT8, |c| c.step.cu_q_lens.truncate(3), "kv::append: `batch.cu_q_lens`: expected 4 elements, found 3"),
    (INT8, |c| c.world.table.truncate(5), "kv::append: `batch.block_table`: expected 6 elements, found 5"),
    (INT8, |c| c.world.max_blocks = 1 << 26, "kv::append: `batch.max_blocks`: expected 1..=67108863, found 67108864"),
    (KIVI, |c| c.world.slots.truncate(2), "kv::append: `batch.state_slots`: expected 3 elements, found 2"),
    (KIVI, |c| c.world.ring_start = Some(vec![0]), "kv::append: `batch.ring_start`: expected 3 elements, found 1"),
    (
        INT8,
        |c| c.world.pages.truncate(8448),
        "kv::append: `cache.pages`: expected a whole number of pages of 8704 bytes, at most 2147483647, found 8448 bytes",
    ),
    (
        KIVI,
        |c| c.world.state.truncate(100),
        "kv::append: `cache.state`: expected a whole number of slots of 32768 bytes, at most 2147483647, found 100 bytes",
    ),
    (
        INT8,
        |c| c.world.state = vec![0],
        "kv::append: `cache.state`: expected empty (the format (k: int8 per token, v: int8 per token, residual 0) has no \
         window), found 1 bytes",
    ),
    (E4M3, |c| c.world.k_scale = None, "kv::append: `cache.k_scale`: expected 1 or 2 elements, found none"),
    (
        E4M3,
        |c| c.world.v_scale = Some(vec![1.0; 3]),
        "kv::append: `cache.v_scale`: expected 1 or 2 elements, found 3 elements",
    ),
    (
        KvFormat::INT8_STATIC,
        |c| c.world.v_scale = Some(vec![1.0; 2]),
        "kv::append: `cache.v_scale`: expected 128 elements, one per head and channel, found 2 elements",
    ),
    (
        INT8,
        |c| c.world.k_scale = Some(vec![1.0]),
        "kv::append: `cache.k_scale`: expected none (int8 per token takes no scale from the caller), found 1 elements",
    ),
    (
        KIVI,
        |c| (c.prefill, c.stride) = (true, 64),
        "kv::append_prefill: `k.stride`: expected a multiple of 8 from 128 to 2147483647, found 64",
    ),
];

#[test]
fn bad_arguments_are_refused_and_change_nothing() {
    let device = Device::new();
    for (format, spoil, expected) in CASES {
        let mut call = Call::new(*format);
        spoil(&mut call);
        let before = call.world.clone();
        let error = call.run(&device).expect_err(expected);
        assert_eq!(error.to_string(), *expected);
        let same =
            (before.pages == call.world.pages, before.state == call.world.state, before.status == call.world.status);
        assert_eq!(same, (true, true, true), "{expected}");
    }
}

#[test]
fn the_call_that_the_cases_spoil_is_good() {
    let device = Device::new();
    for format in [INT8, E4M3, KIVI] {
        let mut call = Call::new(format);
        let before = call.world.pages.clone();
        call.run(&device).unwrap();
        assert_ne!(before, call.world.pages, "{format}");
    }
}

/// Nothing to do is no error and no launch.
#[test]
fn empty_batches_are_fine() {
    let device = Device::new();
    let mut call = Call::new(KIVI);
    call.step = call.world.step(&[0, 0, 0]);
    (call.k, call.v) = (0, 0);
    let before = call.world.clone();
    call.run(&device).unwrap();
    assert_eq!((before.pages, before.state), (call.world.pages, call.world.state));
}
