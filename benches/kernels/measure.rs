//! How a case is checked and timed.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use lowbit::cudarc::driver::CudaGraph;

use crate::device::{Device, Outcome};

/// An operation on one shape.
pub trait Case {
    /// Operands on the host.
    type Data;
    /// Operands and results on the device.
    type Call;
    /// What the reference makes of the operands.
    type Answer;

    fn name(&self) -> String;
    /// What a call has to read and write at the least.
    fn bytes(&self) -> usize;
    /// Bytes of one copy of what lies there in several copies.
    fn rotated(&self) -> usize;
    fn data(&self) -> Self::Data;
    fn reference(&self, data: &Self::Data) -> Self::Answer;
    fn upload(&self, data: &Self::Data, device: &Device, copies: usize) -> Outcome<Self::Call>;
    fn launch(&self, device: &Device, call: &mut Self::Call, copy: usize) -> lowbit::Result<()>;
    /// Whether the last call made what the reference did.
    fn check(&self, device: &Device, call: &Self::Call, answer: &Self::Answer) -> Outcome<()>;
}

/// What is run: by a device where it is to be timed or checked, else by the reference.
pub struct Bench<'c> {
    criterion: &'c mut Criterion,
    device: Option<Device>,
    sizes: Sizes,
}

/// Which shapes.
#[derive(Clone, Copy)]
enum Sizes {
    /// Those of a large model, for a GPU.
    Full,
    /// A few milliseconds of the reference.
    Reference,
    /// For checks on the software device.
    Small,
}

impl Bench<'_> {
    pub fn new(criterion: &mut Criterion) -> Bench<'_> {
        // As criterion tells the two apart.
        let given = |flag: &str| std::env::args().any(|argument| argument == flag);
        let checks_only = given("--test") || !given("--bench");
        let (device, sizes) = match Device::open(checks_only) {
            Ok(device) => (Some(device), if checks_only { Sizes::Small } else { Sizes::Full }),
            Err(reason) => {
                eprintln!("the groups of the device are absent ({reason}); timed is the reference, on the CPU");
                (None, if checks_only { Sizes::Small } else { Sizes::Reference })
            }
        };
        Bench { criterion, device, sizes }
    }

    /// A size on a GPU, of the reference, for checks.
    pub fn size(&self, full: usize, reference: usize, small: usize) -> usize {
        match self.sizes {
            Sizes::Full => full,
            Sizes::Reference => reference,
            Sizes::Small => small,
        }
    }

    pub fn family<C: Case>(&mut self, name: &str, cases: &[C]) {
        let on_device = self.device.is_some();
        let mut group =
            self.criterion.benchmark_group(if on_device { name.to_string() } else { format!("{name} (reference)") });
        for case in cases {
            group.throughput(Throughput::Bytes(case.bytes() as u64));
            match &self.device {
                Some(device) => {
                    let mut timed = None;
                    let fail = |error| -> ! { panic!("{name}/{}: {error}", case.name()) };
                    group.bench_function(case.name(), |bencher| {
                        let timed = timed.get_or_insert_with(|| Timed::new(device, case).unwrap_or_else(|e| fail(e)));
                        bencher.iter_custom(|calls| timed.time(calls).unwrap_or_else(|e| fail(e)));
                    });
                    if let Some(timed) = timed {
                        timed.finish(name).unwrap_or_else(|e| fail(e));
                    }
                }
                None => {
                    let mut data = None;
                    group.bench_function(case.name(), |bencher| {
                        let data = data.get_or_insert_with(|| case.data());
                        bencher.iter(|| black_box(case.reference(data)));
                    });
                }
            }
        }
        group.finish();
    }
}

/// A case on the device, ready to be replayed. (What the graph points to lives in `call`.)
struct Timed<'d, C: Case> {
    device: &'d Device,
    case: &'d C,
    call: C::Call,
    answer: C::Answer,
    graph: CudaGraph,
    /// Calls of a replay.
    calls: u64,
    /// Least seconds of a call so far, over a sample.
    best: f64,
}

impl<'d, C: Case> Timed<'d, C> {
    /// The fewest calls of a graph, so that its launch is no part of what is measured.
    const CALLS: usize = 16;

    fn new(device: &'d Device, case: &'d C) -> Outcome<Timed<'d, C>> {
        let copies = device.uncached.div_ceil(case.rotated()).max(2);
        let data = case.data();
        let answer = case.reference(&data);
        let mut call = case.upload(&data, device, copies)?;
        for copy in 0..copies {
            case.launch(device, &mut call, copy)?;
            // Every copy at the ends; what lies between is the same bytes.
            if copy == 0 || copy + 1 == copies {
                case.check(device, &call, &answer)?;
            }
        }
        let calls = copies * Self::CALLS.div_ceil(copies);
        let graph =
            device.capture(&mut || (0..calls).try_for_each(|at| case.launch(device, &mut call, at % copies)))?;
        Ok(Timed { device, case, call, answer, graph, calls: calls as u64, best: f64::INFINITY })
    }

    /// The time of so many calls, from that of at least as many.
    fn time(&mut self, calls: u64) -> Outcome<Duration> {
        let replays = calls.div_ceil(self.calls);
        let seconds = self.device.time(&self.graph, replays)?.as_secs_f64() / (replays * self.calls) as f64;
        self.best = self.best.min(seconds);
        Ok(Duration::from_secs_f64(seconds * calls as f64))
    }

    /// Checks what the replays left and, of a GPU, says how near it came to the read probe.
    fn finish(&self, family: &str) -> Outcome<()> {
        self.case.check(self.device, &self.call, &self.answer)?;
        if self.device.uncached > 0 {
            let rate = self.case.bytes() as f64 / self.best;
            let (name, share) = (self.case.name(), 100.0 * rate / self.device.read);
            eprintln!("{family}/{name}: {:.0} GB/s at best, {share:.0} % of the read probe's", rate / 1e9);
        }
        Ok(())
    }
}
