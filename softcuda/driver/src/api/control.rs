//! What the client (`nvcuda::client`) calls: modes, counters, reports. Not part of CUDA. See `state::modes`: all of it is about the calling
//! host thread.

use super::abi::{Out, Text};
use super::entry;
use super::result::CUresult;
use crate::state::{context::current, counting, modes};
use softcuda_engine::{Approx, Checks, MmaMode, Model, Schedule};
use std::ffi::c_char;

/// Changes when a client of another build could no longer talk to this library.
pub const INTERFACE: u32 = 2;

#[unsafe(no_mangle)]
pub extern "C" fn softcudaInterface() -> u32 {
    INTERFACE
}

/// Modes as numbers: `mma` 0 exact, 1 shuffle, 2 trunc; `approx` 0 rounded, 1 perturbed; `schedule` 0 in order, 1 adversarial; `checks` bits
/// 1 memory, 2 init, 4 race, 8 sync.
#[unsafe(no_mangle)]
pub extern "C" fn softcudaSetModes(
    mma: u32,
    approx: u32,
    schedule: u32,
    seed: u64,
    checks: u32,
    count: u32,
    threads: u32,
) -> CUresult {
    entry(|| {
        let mma =
            *[MmaMode::Exact, MmaMode::Shuffle, MmaMode::Trunc].get(mma as usize).ok_or(CUresult::INVALID_VALUE)?;
        let approx = *[Approx::Rounded, Approx::Perturbed].get(approx as usize).ok_or(CUresult::INVALID_VALUE)?;
        let schedule =
            *[Schedule::InOrder, Schedule::Adversarial].get(schedule as usize).ok_or(CUresult::INVALID_VALUE)?;
        modes::change(|config| {
            config.numerics.mma = mma;
            config.numerics.approx = approx;
            config.schedule = schedule;
            config.seed = seed;
            let on = |bit| checks & bit != 0;
            config.checks = Checks { memory: on(1), init: on(2), race: on(4), sync: on(8) };
            config.count = count != 0;
            config.threads = threads.max(1) as usize;
        });
        Ok(())
    })
}

/// The calling thread's modes, as the arguments of [`softcudaSetModes`] in order.
#[unsafe(no_mangle)]
pub extern "C" fn softcudaGetModes(out: Out<u64>) -> CUresult {
    entry(|| {
        let c = modes::config();
        let bits = [c.checks.memory, c.checks.init, c.checks.race, c.checks.sync];
        let checks = bits.iter().enumerate().map(|(i, on)| u64::from(*on) << i).sum();
        let values = [
            c.numerics.mma as u64,
            c.numerics.approx as u64,
            c.schedule as u64,
            c.seed,
            checks,
            c.count.into(),
            c.threads as u64,
        ];
        out.fill(values, values.len());
        Ok(())
    })
}

/// Modes and model of the environment again.
#[unsafe(no_mangle)]
pub extern "C" fn softcudaResetModes() {
    modes::reset();
}

/// `sm_80`, `sm_89`, ...
#[unsafe(no_mangle)]
pub extern "C" fn softcudaSetModel(name: Text) -> CUresult {
    entry(|| {
        let model = Model::by_name(name.str()?).ok_or(CUresult::INVALID_VALUE)?;
        modes::change(|config| config.model = model);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn softcudaResetCounters() {
    counting::reset();
}

/// Makes the current context usable again after a kernel fault.
#[unsafe(no_mangle)]
pub extern "C" fn softcudaClearError() -> CUresult {
    entry(|| {
        current()?.1.clear_error();
        Ok(())
    })
}

/// Texts of [`softcudaText`].
pub mod text {
    /// Counters, a JSON object a line for each kernel.
    pub const COUNTERS: u32 = 0;
    /// The last report; asking takes it.
    pub const REPORT: u32 = 1;
    /// Why the last refused call was refused; asking takes it.
    pub const EXPLANATION: u32 = 2;
    /// Profiles, a JSON object a line for each kernel of each text.
    pub const PROFILES: u32 = 3;
}

/// Calls `take` with a text and its length, if there is one.
#[unsafe(no_mangle)]
pub extern "C" fn softcudaText(
    which: u32,
    take: Option<unsafe extern "C" fn(*mut u8, *const c_char, usize)>,
    state: *mut u8,
) -> CUresult {
    entry(|| {
        let text = match which {
            text::COUNTERS => Some(counting::counters()),
            text::PROFILES => Some(counting::profiles()),
            text::REPORT => modes::take_report(),
            text::EXPLANATION => modes::take_explanation(),
            _ => return Err(CUresult::INVALID_VALUE),
        };
        if let (Some(text), Some(take)) = (text, take) {
            // SAFETY: the client passes a function that takes its own state and a text.
            unsafe { take(state, text.as_ptr().cast(), text.len()) }
        }
        Ok(())
    })
}
