//! The same launch on a GPU: with `SOFTCUDA_GPU_REPORT` naming a file, what the engine has just run is run again by the driver that the process
//! finds, and how the two memories compare becomes a line of that file:
//!
//! ```text
//! equal|differ <TAB> words <TAB> words that differ <TAB> largest distance <TAB> what <TAB> word: engine's, GPU's; ..
//! refused      <TAB> error <TAB> what
//! ```
//!
//! The distance is that of the bits as integers: for two numbers of a format, how many numbers lie between them. Differences are no failure: what
//! the ISA leaves open is open. They are to be read.
#![allow(dead_code)] // Each test program uses a part.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DeviceRepr, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;

/// An argument of a kernel.
pub enum Argument<'a> {
    /// A pointer to memory: what it held, and what the engine left there.
    Buffer { before: &'a [u8], after: &'a [u8] },
    /// A number.
    Long(u64),
    /// A number.
    Word(u32),
    /// A structure of 32 bytes.
    Bytes(Bytes),
}

/// A structure of 32 bytes.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Bytes(pub [u8; 32]);

// SAFETY: plain bytes, without padding.
unsafe impl DeviceRepr for Bytes {}

/// A launch that the engine has run.
pub struct Launched<'a> {
    /// One line that tells it from others.
    pub what: &'a str,
    /// The module's text.
    pub text: &'a str,
    pub kernel: &'a str,
    pub grid: u32,
    pub block: u32,
    /// Bytes of the words that are compared: 4 or 8.
    pub word: usize,
    pub arguments: &'a [Argument<'a>],
}

struct Gpu {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    functions: HashMap<(String, String), Result<CudaFunction, DriverError>>,
    report: File,
}

static GPU: LazyLock<Option<Mutex<Gpu>>> = LazyLock::new(|| {
    let path = std::env::var_os("SOFTCUDA_GPU_REPORT")?;
    let report = File::options().create(true).append(true).open(path).expect("the report can be written");
    let context = CudaContext::new(0).expect("a driver with a device");
    // SAFETY: everything is on one stream.
    unsafe { context.disable_event_tracking() };
    let stream = context.default_stream();
    Some(Mutex::new(Gpu { context, stream, functions: HashMap::new(), report }))
});

/// Runs it again and notes the comparison; nothing where no report is asked for.
pub fn compare(launched: &Launched<'_>) {
    let Some(gpu) = &*GPU else { return };
    let mut gpu = gpu.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let line = gpu.run(launched).unwrap_or_else(|error| format!("refused\t{error:?}\t{}", launched.what));
    writeln!(gpu.report, "{}", line.replace('\n', " ")).expect("the report can be written");
}

impl Gpu {
    fn run(&mut self, launched: &Launched<'_>) -> Result<String, DriverError> {
        let function = self.function(launched.text, launched.kernel)?;
        let stream = &self.stream;
        let mut buffers: Vec<Option<CudaSlice<u8>>> = Vec::new();
        for argument in launched.arguments {
            buffers.push(match argument {
                Argument::Buffer { before, .. } => Some(stream.clone_htod(*before)?),
                _ => None,
            });
        }
        let mut builder = stream.launch_builder(&function);
        for (argument, buffer) in launched.arguments.iter().zip(&mut buffers) {
            match (argument, buffer) {
                (Argument::Long(value), _) => builder.arg(value),
                (Argument::Word(value), _) => builder.arg(value),
                (Argument::Bytes(value), _) => builder.arg(value),
                (_, Some(buffer)) => builder.arg(buffer),
                _ => unreachable!("a buffer was made for each"),
            };
        }
        let shape =
            LaunchConfig { grid_dim: (launched.grid, 1, 1), block_dim: (launched.block, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the engine ran it with these arguments and found every access inside its buffers.
        unsafe { builder.launch(shape) }?;
        stream.synchronize()?;
        let (mut words, mut differ, mut distance, mut examples) = (0, 0usize, 0, String::new());
        for (argument, buffer) in launched.arguments.iter().zip(&buffers) {
            let (Argument::Buffer { after, .. }, Some(buffer)) = (argument, buffer) else { continue };
            let found = stream.clone_dtoh(buffer)?;
            let pairs = after.chunks(launched.word).zip(found.chunks(launched.word));
            for (at, (ours, theirs)) in pairs.enumerate() {
                words += 1;
                if ours != theirs {
                    let [ours, theirs] = [ours, theirs].map(number);
                    distance = distance.max(ours.abs_diff(theirs));
                    differ += 1;
                    if differ <= 4 {
                        examples += &format!("{at}: {ours:#x}, {theirs:#x}; ");
                    }
                }
            }
        }
        let verdict = if differ == 0 { "equal" } else { "differ" };
        Ok(format!("{verdict}\t{words}\t{differ}\t{distance}\t{}\t{examples}", launched.what))
    }

    fn function(&mut self, text: &str, kernel: &str) -> Result<CudaFunction, DriverError> {
        let context = &self.context;
        let load = || context.load_module(Ptx::from_src(text))?.load_function(kernel);
        let key = (text.to_string(), kernel.to_string());
        self.functions.entry(key).or_insert_with(load).clone()
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// The text with one kernel of its kernels.
pub fn only(text: &str, kernel: &str) -> String {
    const ENTRY: &str = ".visible .entry ";
    let mut parts = text.split(ENTRY);
    let head = parts.next().unwrap_or_default();
    let named = |part: &&str| part.trim_start().strip_prefix(kernel).is_some_and(|rest| rest.starts_with('('));
    parts.find(named).map_or_else(|| text.to_string(), |part| format!("{head}{ENTRY}{part}"))
}
