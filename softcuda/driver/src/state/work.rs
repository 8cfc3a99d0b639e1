//! What a stream or a graph node does, and how it is done: at once, on the calling thread.

use super::allocation::Place;
use super::context::Context;
use super::graph::Graph;
use super::module::Function;
use super::stream::{Event, Recorded};
use super::table::lock;
use super::{Driver, counting, modes};
use crate::api::abi::{Callback, Host, In};
use crate::api::launch::Shape;
use crate::api::result::{CUresult, Done};
use softcuda_engine::{Blame, Fault, FaultKind, Launch, Param, Report};
use std::sync::Arc;
use std::time::Instant;

/// One operation.
pub enum Work {
    Kernel(KernelWork),
    Copy(Copy),
    Fill(Fill),
    Host(Callback),
    /// Memory that a captured allocation gave; it exists from the capture on.
    Allocate(u64),
    Free(u64),
    /// Another graph, launched inside a capture.
    Child(Graph),
    /// A node that only orders others.
    Empty,
    /// An event recorded, or waited for, whenever the graph runs.
    RecordEvent(Arc<Event>),
    WaitEvent(Arc<Event>),
}

/// A launch with its parameters copied.
pub struct KernelWork {
    pub function: Arc<Function>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub cooperative: bool,
    pub params: Vec<u8>,
    /// Address of each parameter in `params`, for the program to read.
    places: Vec<Host>,
}

impl KernelWork {
    pub fn new(function: Arc<Function>, shape: Shape, params: Vec<u8>) -> KernelWork {
        let Shape { grid, block, dynamic_shared, cooperative } = shape;
        let place = |p: &Param| Host(params.as_ptr().wrapping_add(p.offset as usize).cast_mut().cast());
        let places = function.kernel().params.iter().map(place).collect();
        KernelWork { function, grid, block, dynamic_shared, cooperative, params, places }
    }

    pub fn shape(&self) -> Shape {
        let KernelWork { grid, block, dynamic_shared, cooperative, .. } = *self;
        Shape { grid, block, dynamic_shared, cooperative }
    }

    /// The same launch with other attributes.
    pub fn with_shape(&self, shape: Shape) -> KernelWork {
        KernelWork::new(self.function.clone(), shape, self.params.clone())
    }

    /// The parameters as a list of pointers, valid while this work exists.
    pub fn places(&self) -> In<Host> {
        In::from_address(self.places.as_ptr() as usize)
    }
}

/// `slices` slices of `rows` rows of `width` bytes.
#[derive(Clone, Copy)]
pub struct Copy {
    pub to: Place,
    pub from: Place,
    pub width: usize,
    pub rows: usize,
    pub slices: usize,
    /// Bytes from row to row.
    pub to_pitch: usize,
    pub from_pitch: usize,
    /// Bytes from slice to slice.
    pub to_slice: usize,
    pub from_slice: usize,
}

impl Copy {
    pub fn linear(to: Place, from: Place, bytes: usize) -> Copy {
        Copy {
            to,
            from,
            width: bytes,
            rows: 1,
            slices: 1,
            to_pitch: bytes,
            from_pitch: bytes,
            to_slice: bytes,
            from_slice: bytes,
        }
    }
}

/// `rows` rows of `count` elements of `size` bytes (1, 2 or 4) with the bits of `value`.
#[derive(Clone, Copy)]
pub struct Fill {
    pub address: u64,
    pub value: u32,
    pub size: usize,
    pub count: usize,
    pub rows: usize,
    pub pitch: usize,
}

impl Work {
    /// `CUgraphNodeType`.
    pub fn kind(&self) -> u32 {
        match self {
            Work::Kernel(_) => 0,
            Work::Copy(_) => 1,
            Work::Fill(_) => 2,
            Work::Host(_) => 3,
            Work::Child(_) => 4,
            Work::Empty => 5,
            Work::WaitEvent(_) => 6,
            Work::RecordEvent(_) => 7,
            Work::Allocate(_) => 10,
            Work::Free(_) => 11,
        }
    }
}

impl Work {
    /// A label for people.
    pub fn describe(&self) -> String {
        match self {
            Work::Kernel(k) => format!("{} {:?} x {:?}", k.function.kernel().name, k.grid, k.block),
            Work::Copy(c) => format!("copy {} bytes", c.width * c.rows * c.slices),
            Work::Fill(f) => format!("fill {} bytes", f.count * f.size * f.rows),
            Work::Host(_) => "host function".into(),
            Work::Allocate(address) => format!("allocate {address:#x}"),
            Work::Free(address) => format!("free {address:#x}"),
            Work::Child(graph) => format!("graph of {} nodes", graph.nodes.len()),
            Work::Empty => "empty".into(),
            Work::RecordEvent(_) => "record an event".into(),
            Work::WaitEvent(_) => "wait for an event".into(),
        }
    }
}

impl Driver {
    /// Does the work now; nothing but freeing in a broken context. A faulting kernel breaks the context and is otherwise silent here, as on
    /// the real driver, unless `CUDA_LAUNCH_BLOCKING=1`.
    pub fn run(&self, context: &Context, work: &Work) -> Done {
        if context.broken() && !matches!(work, Work::Free(_)) {
            return Ok(());
        }
        match work {
            Work::Kernel(kernel) => self.run_kernel(context, kernel),
            Work::Copy(copy) => self.run_copy(copy),
            Work::Fill(fill) => self.run_fill(fill),
            Work::Host(callback) => {
                callback.call();
                Ok(())
            }
            Work::Free(address) => self.free(*address),
            Work::Child(graph) => self.run_graph(context, graph),
            Work::RecordEvent(event) => {
                *lock(&event.last) = Recorded::Done(Instant::now());
                Ok(())
            }
            Work::WaitEvent(event) => {
                let last = lock(&event.last).clone();
                if let Recorded::After(pending) = last {
                    pending.iter().for_each(|p| p.wait());
                }
                Ok(())
            }
            Work::Allocate(_) | Work::Empty => Ok(()),
        }
    }

    /// Every node once, in an order that respects the dependencies. Memory that the graph allocates and frees stays for the next run.
    pub fn run_graph(&self, context: &Context, graph: &Graph) -> Done {
        for node in graph.nodes.iter().filter(|n| n.enabled) {
            match &*node.work {
                Work::Free(address) if graph.allocates(*address) => {}
                work => self.run(context, work)?,
            }
        }
        Ok(())
    }

    fn run_kernel(&self, context: &Context, kernel: &KernelWork) -> Done {
        let module = &kernel.function.module;
        let name = &kernel.function.kernel().name;
        let launch = Launch {
            grid: kernel.grid,
            block: kernel.block,
            dynamic_shared: kernel.dynamic_shared,
            params: &kernel.params,
            cooperative: kernel.cooperative,
        };
        let (result, time) = modes::with(self, || {
            let start = Instant::now();
            (self.device.launch(&module.module, name, launch), start.elapsed())
        });
        match result {
            Ok(stats) => {
                counting::count(module, stats, time);
                Ok(())
            }
            Err(report) => {
                let code = fault_code(report.kind());
                let text = report.to_string();
                eprintln!("{}", text.trim_end());
                modes::keep_report(text);
                context.fail(code);
                if modes::launch_blocking() { context.settle() } else { Ok(()) }
            }
        }
    }

    fn run_copy(&self, copy: &Copy) -> Done {
        let rows = (0..copy.slices).flat_map(|slice| (0..copy.rows).map(move |row| (slice, row)));
        for (slice, row) in rows {
            let to = copy.to.offset(slice * copy.to_slice + row * copy.to_pitch);
            let from = copy.from.offset(slice * copy.from_slice + row * copy.from_pitch);
            let done = match (to, from) {
                (Place::Device(to), Place::Device(from)) => self.device.copy(to, from, copy.width as u64),
                (Place::Device(to), Place::Host(from)) => self.device.write(to, from.bytes(copy.width)),
                (Place::Host(to), Place::Device(from)) => self.device.read(from, to.bytes_mut(copy.width)),
                (Place::Host(to), Place::Host(from)) => {
                    // SAFETY: both ranges are valid by the promise of `Host`; they may overlap.
                    unsafe { std::ptr::copy(from.0.cast::<u8>(), to.0.cast::<u8>(), copy.width) }
                    Ok(())
                }
            };
            done.map_err(refused)?;
        }
        Ok(())
    }

    fn run_fill(&self, fill: &Fill) -> Done {
        for row in 0..fill.rows {
            let address = fill.address + (row * fill.pitch) as u64;
            self.device.fill(address, &fill.value.to_le_bytes()[..fill.size], fill.count as u64).map_err(refused)?;
        }
        Ok(())
    }
}

/// A copy or fill outside what is allocated.
#[allow(clippy::boxed_local)] // the type that the device gives
fn refused(fault: Box<Fault>) -> CUresult {
    let report = Report {
        fault: *fault,
        kernel: String::new(),
        block: [0; 3],
        block_dim: [0; 3],
        text: String::new(),
        other_text: None,
        source: None,
        other_source: None,
        seed: 0,
    };
    modes::explain(CUresult::INVALID_VALUE, report)
}

/// The code that a real device reports for a fault. Faults that only softcuda sees (races, uninitialised bytes, wrong masks) count as
/// illegal accesses; what is not the kernel's fault is an unspecified failure.
fn fault_code(kind: FaultKind) -> CUresult {
    match kind {
        FaultKind::Misaligned => CUresult::MISALIGNED_ADDRESS,
        FaultKind::StackOverflow => CUresult::HARDWARE_STACK_ERROR,
        FaultKind::Assert => CUresult::ASSERT,
        FaultKind::Deadlock | FaultKind::Livelock => CUresult::LAUNCH_TIMEOUT,
        FaultKind::Trap | FaultKind::Launch => CUresult::LAUNCH_FAILED,
        _ if kind.blame() == Blame::Kernel => CUresult::ILLEGAL_ADDRESS,
        _ => CUresult::LAUNCH_FAILED,
    }
}
