//! The state behind the entry points: one device, and the objects that handles name.

pub mod allocation;
pub mod capture;
pub mod context;
pub mod counting;
pub mod graph;
pub mod library;
pub mod link;
pub mod modes;
pub mod module;
pub mod pending;
pub mod pool;
pub mod ptxas;
pub mod stream;
pub mod table;
pub mod user_object;
pub mod work;

use crate::api::result::{CUresult, Done};
use allocation::Allocations;
use context::Context;
use graph::{Exec, Graph, NodeName};
use library::{Library, LibraryKernel};
use link::Link;
use module::{Function, LoadedModule};
use pool::{Pool, Pools};
use softcuda_engine::Device;
use std::sync::{Arc, Mutex, OnceLock};
use stream::{Event, Stream};
use table::{Handle, Table, lock};
use user_object::UserObject;

pub type CUcontext = Handle<Context>;
pub type CUmodule = Handle<LoadedModule>;
pub type CUfunction = Handle<Function>;
pub type CUstream = Handle<Stream>;
pub type CUevent = Handle<Event>;
pub type CUgraph = Handle<Mutex<Graph>>;
pub type CUgraphExec = Handle<Exec>;

/// Everything that `cuInit` makes.
pub struct Driver {
    pub device: Device,
    pub contexts: Table<Context>,
    pub modules: Table<LoadedModule>,
    pub functions: Table<Function>,
    pub libraries: Table<Library>,
    /// Kernels of libraries.
    pub kernels: Table<LibraryKernel>,
    pub links: Table<Link>,
    pub streams: Table<Stream>,
    pub events: Table<Event>,
    pub graphs: Table<Mutex<Graph>>,
    pub nodes: Table<NodeName>,
    pub execs: Table<Exec>,
    pub user_objects: Table<UserObject>,
    pub allocations: Allocations,
    pub pool_table: Table<Pool>,
    pub pools: Pools,
    pub primary: Mutex<Primary>,
}

/// The primary context. Its handle stays the same however often it is released and retained again.
#[derive(Default)]
pub struct Primary {
    pub context: Option<Arc<Context>>,
    pub retained: usize,
    pub flags: u32,
}

static DRIVER: OnceLock<Driver> = OnceLock::new();

/// `cuInit`: the first call makes the device.
pub fn initialise() {
    DRIVER.get_or_init(|| {
        let pool_table = Table::new();
        let default = pool_table.insert_with(|handle| Pool::new(handle, 0)).handle;
        let pools = Pools { default, current: Mutex::new(default) };
        Driver {
            device: Device::new(modes::config()),
            contexts: Table::new(),
            modules: Table::new(),
            functions: Table::new(),
            libraries: Table::new(),
            kernels: Table::new(),
            links: Table::new(),
            streams: Table::new(),
            events: Table::new(),
            graphs: Table::new(),
            nodes: Table::new(),
            execs: Table::new(),
            user_objects: Table::new(),
            allocations: Allocations::default(),
            primary: Mutex::new(Primary::default()),
            pool_table,
            pools,
        }
    });
}

/// The driver; `NOT_INITIALIZED` before `cuInit`.
pub fn driver() -> Done<&'static Driver> {
    DRIVER.get().ok_or(CUresult::NOT_INITIALIZED)
}

impl Driver {
    /// One more user of the primary context.
    pub fn retain_primary(&self) -> Arc<Context> {
        let mut primary = lock(&self.primary);
        let flags = primary.flags;
        let context = primary
            .context
            .get_or_insert_with(|| self.contexts.insert_with(|handle| Context::new(handle, true, flags)))
            .clone();
        if primary.retained == 0 {
            context.flags.store(flags, std::sync::atomic::Ordering::SeqCst);
            context.active.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        primary.retained += 1;
        context
    }

    /// One user less; the last one frees what the context holds.
    pub fn release_primary(&self) -> Done {
        let mut primary = lock(&self.primary);
        let context = primary.context.clone().ok_or(CUresult::INVALID_CONTEXT)?;
        primary.retained = primary.retained.checked_sub(1).ok_or(CUresult::INVALID_CONTEXT)?;
        if primary.retained == 0 {
            context.release(self);
        }
        Ok(())
    }

    /// Frees what the primary context holds, whoever uses it.
    pub fn reset_primary(&self) {
        let primary = lock(&self.primary);
        if let Some(context) = &primary.context {
            context.release(self);
            context.active.store(primary.retained > 0, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Whether the address lies in device memory that no allocation of the program holds: a module's variable.
    pub fn module_holds(&self, address: u64) -> bool {
        self.device.read(address, &mut [0]).is_ok()
    }
}
