//! A device to time kernels on, and how fast it reads.

use std::sync::Arc;
use std::time::Duration;

use lowbit::cudarc::driver::sys::{
    CUdevice_attribute, CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode as Capture,
};
use lowbit::cudarc::driver::{CudaGraph, CudaStream};
use lowbit::{Kernels, runtime};
use nvcuda::client;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A stream that can be captured, the kernels, and what the device is like.
pub struct Device {
    pub kernels: Kernels,
    pub stream: Arc<CudaStream>,
    /// Bytes that copies of an operand have to exceed together, so that none is still cached when its turn comes.
    pub uncached: usize,
    /// Bytes a second that the read probe reads from memory.
    pub read: f64,
}

impl Device {
    /// A GPU, or for checks any device.
    pub fn open(checks_only: bool) -> Outcome<Device> {
        client::ensure()?;
        if client::active() && !checks_only {
            return Err("no GPU; the software device is not timed as one".into());
        }
        let context = runtime::context(0)?;
        // SAFETY: every buffer of this program is used on one stream only.
        unsafe { context.disable_event_tracking() };
        let l2 = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?;
        let uncached = if client::active() { 0 } else { 4 * l2 as usize };
        let (kernels, stream) = (Kernels::new(&context)?, context.new_stream()?);
        let mut device = Device { kernels, stream, uncached, read: 0.0 };
        device.read = device.probe()?;
        eprintln!("device: {}; the probe reads {:.0} GB/s", context.name()?, device.read / 1e9);
        Ok(device)
    }

    /// Reads a buffer that no cache holds, several times; the fastest counts. What was read is checked.
    fn probe(&self) -> Outcome<f64> {
        let words = (2 * self.uncached).max(1 << 16) / 4;
        let pattern: Vec<u32> = (0..words as u32).map(|at| at.wrapping_mul(0x9E37_79B9)).collect();
        let x = self.stream.clone_htod(&pattern)?;
        let mut out = self.stream.alloc_zeros::<u32>(1)?;
        let mut read = || runtime::probe_read(&self.kernels, &self.stream, &x.as_view(), &mut out.as_view_mut());
        read()?;
        let graph = self.capture(&mut read)?;
        let mut best = Duration::MAX;
        for _ in 0..8 {
            best = best.min(self.time(&graph, 1)?);
        }
        // An odd number of launches: each toggles `out` by the same word.
        let expected = pattern.iter().fold(0, |all, word| all ^ word);
        let found = self.stream.clone_dtoh(&out)?[0];
        if found != expected {
            return Err(format!("the read probe read {found:#x}, and {expected:#x} is there").into());
        }
        Ok(4.0 * words as f64 / best.as_secs_f64())
    }

    /// The work as a graph. Its kernels must have been loaded, by doing it once.
    pub fn capture(&self, work: &mut dyn FnMut() -> lowbit::Result<()>) -> Outcome<CudaGraph> {
        self.stream.begin_capture(Capture::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let queued = work();
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0))?;
        queued?;
        graph.ok_or_else(|| "nothing was captured".into())
    }

    /// The time of so many replays, by events on the stream.
    pub fn time(&self, graph: &CudaGraph, replays: u64) -> Outcome<Duration> {
        let event = || self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        let start = event()?;
        for _ in 0..replays {
            graph.launch()?;
        }
        let end = event()?;
        Ok(Duration::from_secs_f64(f64::from(start.elapsed_ms(&end)?) / 1e3))
    }
}
