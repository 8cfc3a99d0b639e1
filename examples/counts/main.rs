//! Launches the kernels on the software device and prints what it counted, one JSON object a line.
//!
//! `cargo xtask perf` reads this. Each case names the bytes that its arguments hold, each once: the fewest that any
//! implementation must move. `sector_ratio` is the 32-byte sectors that the kernel's requests touched, after
//! coalescing, over the sectors that these bytes fill; `bank_conflicts` are shared-memory wavefronts beyond the fewest;
//! `ptx_per_unit` is lane instructions of PTX per unit.

mod attention;
mod codecs;
mod elementwise;
mod kv;
mod matmul;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use lowbit::Kernels;
use lowbit::cudarc::driver::CudaStream;
use nvcuda::client;

type Outcome = Result<(), Box<dyn Error>>;

/// What every case needs.
struct Bench {
    kernels: Kernels,
    stream: Arc<CudaStream>,
}

/// A case: which kernel, which way of using it, and its size.
struct Case<'a> {
    kernel: &'a str,
    case: &'a str,
    /// Bytes of the arguments that must be read or written, each counted once.
    bytes: usize,
    /// What `ptx_per_unit` is per: how many units the launch works through.
    units: usize,
}

impl Bench {
    /// Runs the launch and prints its line. Other kernels in it are not counted.
    fn count(&self, case: Case<'_>, launch: impl FnOnce() -> lowbit::Result<()>) -> Outcome {
        client::reset_counters();
        launch()?;
        self.stream.synchronize()?;
        let counters = client::counters_of(case.kernel);
        if counters.launches != 1 {
            return Err(format!("{}: launched {} times by case `{}`", case.kernel, counters.launches, case.case).into());
        }
        let stats = counters.stats;
        let sectors = stats.global_load_sectors + stats.global_store_sectors;
        let ratio = sectors as f64 / (case.bytes as f64 / 32.0);
        let conflicts = stats.shared_wavefronts.saturating_sub(stats.shared_ideal_wavefronts);
        let per_unit = stats.total_lane_instructions() as f64 / case.units as f64;
        println!(
            "{{\"kernel\":\"{}\",\"case\":\"{}\",\"sector_ratio\":{ratio:.4},\"bank_conflicts\":{conflicts},\
             \"ptx_per_unit\":{per_unit:.3}}}",
            case.kernel, case.case
        );
        Ok(())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counts: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let (context, kernels) = lowbit::testing::device();
    if !client::active() {
        return Err("the loaded CUDA driver is not the software device, which alone can count".into());
    }
    let mut modes = client::modes().ok_or("the software device has no modes")?;
    // The checks have their place in the tests.
    modes.checks = client::Checks { memory: false, init: false, race: false, sync: false };
    modes.count = true;
    client::set_modes(modes);
    let bench = Bench { kernels, stream: context.default_stream() };
    elementwise::run(&bench)?;
    codecs::run(&bench)?;
    kv::run(&bench)?;
    matmul::run(&bench)?;
    attention::run(&bench)
}
