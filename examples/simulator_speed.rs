//! How fast softcuda interprets the INT4 matrix-vector product: lane instructions a second on one core.
//!
//! A time of the simulator, which says nothing of a GPU. `cargo run --example simulator_speed`

use lowbit::half::f16;
use lowbit::ops::matmul::{self, Operands, Residual, SkinnyConfig};
use lowbit::weights::{PackedLayout, WeightFormat, ZeroPoint};
use lowbit::{Kernels, runtime};
use nvcuda::client::{self, Checks};

/// Outputs and inputs of the matrix: a projection of an 8B model.
const SIZE: usize = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    client::ensure()?;
    let context = runtime::context(0)?;
    println!("device: {}", context.name()?);
    let (kernels, stream) = (Kernels::new(&context)?, context.default_stream());
    let layout = PackedLayout::new(SIZE, SIZE, 128, WeightFormat::Int4(ZeroPoint::Bits4 { plus: 0 }))?;
    let weights = stream.clone_htod(&vec![0x35u8; layout.bytes()])?;
    let x = stream.clone_htod(&vec![f16::ONE; SIZE])?;
    let mut out = stream.alloc_zeros::<f16>(SIZE)?;
    let mut workspace = stream.alloc_zeros::<u8>(1 + matmul::workspace_bytes(&kernels, &layout, 1))?;
    let config = SkinnyConfig::contiguous(&layout, 1);
    let mut run = || -> lowbit::Result<()> {
        let (weights, x) = (weights.as_view(), x.as_view());
        let operands = Operands { layout: &layout, weights: &weights, x: &x, bias: None, residual: Residual::None };
        let (mut out, mut workspace) = (out.as_view_mut(), workspace.as_view_mut());
        matmul::skinny(&kernels, &stream, &config, &operands, &mut out, Some(&mut workspace))?;
        Ok(stream.synchronize()?)
    };
    for (what, on) in [("counting, no checks", false), ("counting, all checks", true)] {
        let checks = Checks { memory: on, init: on, race: on, sync: on };
        let speed = client::with_modes(
            |modes| (modes.checks, modes.count, modes.threads) = (checks, true, 1),
            || -> lowbit::Result<f64> {
                run()?; // the first loads the module
                client::reset_counters();
                run()?;
                Ok(client::lane_instructions_per_second())
            },
        )?;
        println!("{SIZE} x {SIZE} INT4, group 128, 1 row, one core; {what}: {:.2} G lane instructions/s", speed / 1e9);
    }
    Ok(())
}
