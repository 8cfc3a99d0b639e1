//! Loaded modules and their functions.

use super::table::{Handle, lock};
use super::{CUcontext, Driver, modes};
use crate::api::result::{CUresult, Done};
use softcuda_engine::{Kernel, Model, Module};
use std::collections::HashMap;
use std::ffi::CString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

pub struct LoadedModule {
    pub context: CUcontext,
    pub module: Module,
    /// Hash of the text: the same text is the same module to those who count.
    pub id: u64,
    /// Functions given so far, by name: asking twice gives the same handle.
    functions: Mutex<HashMap<String, Handle<Function>>>,
}

impl LoadedModule {
    pub fn new(context: CUcontext, module: Module) -> LoadedModule {
        let mut hash = DefaultHasher::new();
        module.text().hash(&mut hash);
        LoadedModule { context, module, id: hash.finish(), functions: Mutex::new(HashMap::new()) }
    }

    /// Handles given so far.
    pub fn handles(&self) -> Vec<Handle<Function>> {
        lock(&self.functions).values().copied().collect()
    }
}

/// `CUfunction`.
pub struct Function {
    pub context: CUcontext,
    pub module: Arc<LoadedModule>,
    index: usize,
    /// The kernel's name for C.
    pub name: CString,
    /// Attributes that can be set, by number; the default is 0 but for the dynamic shared bytes.
    pub max_dynamic_shared: AtomicI32,
    pub carveout: AtomicI32,
    pub settings: Mutex<HashMap<u32, i32>>,
}

/// Numbers of `CUfunction_attribute` that can be set.
const MAX_DYNAMIC_SHARED: u32 = 8;
const CARVEOUT: u32 = 9;
const CLUSTER_FIRST: u32 = 10;
const CLUSTER_WIDTH: u32 = 11;
const CLUSTER_DEPTH: u32 = 13;
const CLUSTER_LAST: u32 = 15;

impl Function {
    pub fn kernel(&self) -> &Kernel {
        &self.module.module.kernels()[self.index]
    }

    /// Threads of a block that a launch may have.
    pub fn max_threads(&self, model: &Model) -> u32 {
        self.kernel().max_threads.min(model.max_threads_per_block)
    }

    /// An attribute that can be set, by its number in `CUfunction_attribute`.
    pub fn setting(&self, number: u32) -> Done<i32> {
        match number {
            MAX_DYNAMIC_SHARED => Ok(self.max_dynamic_shared.load(Ordering::Relaxed)),
            CARVEOUT => Ok(self.carveout.load(Ordering::Relaxed)),
            CLUSTER_FIRST..=CLUSTER_LAST => Ok(lock(&self.settings).get(&number).copied().unwrap_or(0)),
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    /// Sets an attribute within the model's limits.
    pub fn set(&self, number: u32, value: i32, model: &Model) -> Done {
        match number {
            MAX_DYNAMIC_SHARED => {
                let limit = model.max_shared_per_block.saturating_sub(self.kernel().static_shared);
                if value < 0 || value as u32 > limit {
                    return Err(CUresult::INVALID_VALUE);
                }
                self.max_dynamic_shared.store(value, Ordering::Relaxed);
            }
            CARVEOUT if (-1..=100).contains(&value) => self.carveout.store(value, Ordering::Relaxed),
            CLUSTER_WIDTH..=CLUSTER_DEPTH if value > 1 && model.compute_capability.0 >= 9 => {
                return Err(modes::explain(CUresult::NOT_SUPPORTED, "softcuda runs clusters of one block"));
            }
            CLUSTER_FIRST..=CLUSTER_LAST if model.compute_capability.0 >= 9 => {
                lock(&self.settings).insert(number, value);
            }
            _ => return Err(CUresult::INVALID_VALUE),
        }
        Ok(())
    }

    /// Refuses dynamic shared bytes above what the function was granted.
    pub fn check_shared(&self, dynamic: u32, model: &Model) -> Done {
        let fixed = u64::from(self.kernel().static_shared);
        let granted = u64::from(self.max_dynamic_shared.load(Ordering::Relaxed).max(0) as u32);
        let plain = u64::from(model.default_shared_per_block).saturating_sub(fixed);
        if u64::from(dynamic) > granted.max(plain) { Err(CUresult::INVALID_VALUE) } else { Ok(()) }
    }
}

impl Driver {
    /// A function of a module by name; `NOT_FOUND` if there is none.
    pub fn function(&self, module: &Arc<LoadedModule>, name: &str) -> Done<Handle<Function>> {
        let index = module.module.kernels().iter().position(|k| k.name == name).ok_or(CUresult::NOT_FOUND)?;
        let mut given = lock(&module.functions);
        let handle = given.entry(name.to_string()).or_insert_with(|| {
            let default =
                self.model().default_shared_per_block as i32 - module.module.kernels()[index].static_shared as i32;
            self.functions.insert(Function {
                context: module.context,
                module: module.clone(),
                index,
                name: CString::new(name).unwrap_or_default(),
                max_dynamic_shared: AtomicI32::new(default.max(0)),
                carveout: AtomicI32::new(-1),
                settings: Mutex::new(HashMap::new()),
            })
        });
        Ok(*handle)
    }
}
