//! How fast softcuda interprets kernels of this crate: lane instructions a second.
//!
//! The INT4 matrix-vector product of a 4096 x 4096 matrix, and decode attention of one sequence of 4096 tokens with 8 query heads for each of
//! 2 KV heads of 128 channels. Counting, without and with every check, on one worker thread and on all.
//! Times of the simulator, which say nothing of a GPU: the least of a few launches. `cargo run --example simulator_speed [-- WORDS]`,
//! where only cases are run that contain every word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lowbit::cache::{Batch, Capacity, KvCacheRef, KvFormat, KvLayout, KvShape, Plan, Rows};
use lowbit::cudarc::driver::CudaStream;
use lowbit::format::DType;
use lowbit::half::f16;
use lowbit::ops::attend::{Options, attend};
use lowbit::ops::matmul::{self, Operands, Residual, SkinnyConfig};
use lowbit::weights::{PackedLayout, WeightFormat, ZeroPoint};
use lowbit::{Kernels, runtime};
use nvcuda::client::{self, Checks};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Outputs and inputs of the matrix: a projection of an 8B model.
const SIZE: usize = 4096;
const KV_HEADS: usize = 2;
const HEADS: usize = 8 * KV_HEADS;
const DIM: usize = 128;
const TOKENS: usize = 4096;
const PAGE: usize = 64;
/// Launches go on for so long; the fastest counts.
const MEASURED: Duration = Duration::from_millis(500);

struct Bench {
    kernels: Kernels,
    stream: Arc<CudaStream>,
    /// Only cases whose name contains each of these.
    words: Vec<String>,
}

fn main() -> Outcome {
    client::ensure()?;
    let context = runtime::context(0)?;
    println!("device: {}", context.name()?);
    let kernels = Kernels::new(&context)?;
    let bench = Bench { kernels, stream: context.default_stream(), words: std::env::args().skip(1).collect() };
    bench.product()?;
    bench.attention("int8", KvFormat::INT8)?;
    bench.attention("e4m3", KvFormat::E4M3)?;
    bench.attention("KIVI-4", KvFormat::kivi4(32))
}

impl Bench {
    fn product(&self) -> Outcome {
        let Bench { kernels, stream, .. } = self;
        let layout = PackedLayout::new(SIZE, SIZE, 128, WeightFormat::Int4(ZeroPoint::Bits4 { plus: 0 }))?;
        let weights = stream.clone_htod(&vec![0x35u8; layout.bytes()])?;
        let x = stream.clone_htod(&vec![f16::ONE; SIZE])?;
        let mut out = stream.alloc_zeros::<f16>(SIZE)?;
        let mut workspace = stream.alloc_zeros::<u8>(1 + matmul::workspace_bytes(kernels, &layout, 1))?;
        let config = SkinnyConfig::contiguous(&layout, 1);
        self.measure("INT4 product, group 128", || {
            let (weights, x) = (weights.as_view(), x.as_view());
            let operands = Operands { layout: &layout, weights: &weights, x: &x, bias: None, residual: Residual::None };
            let (mut out, mut workspace) = (out.as_view_mut(), workspace.as_view_mut());
            matmul::skinny(kernels, stream, &config, &operands, &mut out, Some(&mut workspace))
        })
    }

    fn attention(&self, name: &str, format: KvFormat) -> Outcome {
        let Bench { kernels, stream, .. } = self;
        let layout = KvLayout::new(
            KvShape { num_kv_heads: KV_HEADS, head_dim: DIM, page_tokens: PAGE, max_append: 1, dtype: DType::F16 },
            format,
        )?;
        let capacity = Capacity { num_seqs: 1, max_q_len: 1, max_len: TOKENS };
        let plan = Plan::new(kernels, &layout, HEADS, capacity)?;
        let blocks = TOKENS / PAGE;
        let pages = stream.alloc_zeros::<u8>(blocks * layout.page_bytes())?;
        let state = stream.alloc_zeros::<u8>(16 + layout.state_bytes())?;
        let mut status = stream.alloc_zeros::<u32>(1)?;
        let scale = stream.clone_htod(&[1.0f32])?;
        let scales = || (format == KvFormat::E4M3).then(|| scale.as_view());
        let seq_lens = stream.clone_htod(&[TOKENS as i32])?;
        let cu_q_lens = stream.clone_htod(&[0, 1])?;
        let table: Vec<i32> = (0..blocks as i32).rev().collect();
        let block_table = stream.clone_htod(&table)?;
        let state_slots = stream.clone_htod(&[0i32])?;
        let batch = Batch {
            seq_lens: seq_lens.as_view(),
            cu_q_lens: cu_q_lens.as_view(),
            block_table: block_table.as_view(),
            max_blocks: blocks,
            state_slots: Some(state_slots.as_view()),
            ring_start: None,
            max_q_len: 1,
            total_q: 1,
        };
        let q = stream.clone_htod(&vec![f16::from_f32(0.25); HEADS * DIM])?;
        let mut out = stream.alloc_zeros::<f16>(HEADS * DIM)?;
        let mut workspace = stream.alloc_zeros::<u8>(16 + plan.workspace_bytes())?;
        self.measure(&format!("{name} attention"), || {
            let mut cache = KvCacheRef {
                layout,
                pages: pages.as_view(),
                state: state.slice(16..),
                status: status.as_view_mut(),
                k_scale: scales(),
                v_scale: scales(),
            };
            let rows = Rows { data: q.as_view(), stride: HEADS * DIM };
            let options = Options::new(0.088);
            let (out, workspace) = (&mut out.as_view_mut(), &mut workspace.as_view_mut());
            attend(kernels, stream, &plan, &batch, &rows, &mut cache, &options, out, None, workspace)
        })
    }

    /// Prints the speed of a launch in the modes of interest.
    fn measure(&self, name: &str, mut launch: impl FnMut() -> lowbit::Result<()>) -> Outcome {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        for (what, on, threads) in [("no checks", false, 1), ("all checks", true, 1), ("no checks", false, all)] {
            let case = format!("{name}, {what}, threads: {threads}");
            if !self.words.iter().all(|word| case.contains(word)) {
                continue;
            }
            let checks = Checks { memory: on, init: on, race: on, sync: on };
            let speed = client::with_modes(
                |modes| (modes.checks, modes.count, modes.threads) = (checks, true, threads),
                || -> lowbit::Result<f64> {
                    launch()?; // the first loads the module
                    self.stream.synchronize()?;
                    let (start, mut best) = (Instant::now(), 0.0f64);
                    while start.elapsed() < MEASURED {
                        client::reset_counters();
                        launch()?;
                        self.stream.synchronize()?;
                        best = best.max(client::lane_instructions_per_second());
                    }
                    Ok(best)
                },
            )?;
            println!("{case}: {:.2} G lane instructions/s", speed / 1e9);
        }
        Ok(())
    }
}
