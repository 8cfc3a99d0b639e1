//! How a device behaves: numerics, schedule, checks, counting, and which GPU it models. The environment is read here and nowhere else.

/// Everything that can be chosen about a software device.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How results that the ISA leaves open are computed.
    pub numerics: Numerics,
    /// Seeds the schedule, the shuffled sums and the perturbed approximations.
    pub seed: u64,
    /// The order in which blocks, warps and diverged lanes run.
    pub schedule: Schedule,
    /// Whether weak stores to global memory become visible to other blocks late, as the memory model allows. A kernel without a needed fence gives
    /// wrong results then. Races between blocks are not looked for in this mode.
    pub late_stores: bool,
    /// Which faults are looked for besides those that are always found.
    pub checks: Checks,
    /// Count instructions, sectors and bank conflicts.
    pub count: bool,
    /// Worker threads that run blocks; at least 1. With one thread float atomics add in a fixed order.
    pub threads: usize,
    /// Warp instructions that one launch may execute before it is stopped as a livelock.
    pub instruction_limit: u64,
    /// The GPU that is modelled.
    pub model: Model,
}

/// How results that the ISA leaves open are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numerics {
    /// The sum inside a matrix product.
    pub mma: MmaMode,
    /// The `.approx` instructions.
    pub approx: Approx,
}

/// Order and rounding of the sum inside one `mma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaMode {
    /// One rounding of the f64 sum.
    Exact,
    /// Single precision, in a seeded order.
    Shuffle,
    /// Aligned to the largest exponent and truncated, as tensor cores do.
    Trunc,
}

/// Result of an `.approx` instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approx {
    /// The correctly rounded value.
    Rounded,
    /// The rounded value moved by a seeded error within the ISA's bound.
    Perturbed,
}

/// The order in which blocks, warps and diverged lanes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Ascending blocks and warps, long turns, diverged lanes joined as early as possible.
    InOrder,
    /// Seeded order of blocks and warps, short turns, diverged lanes in seeded order.
    Adversarial,
}

/// Optional checks. Bounds, alignment and misuse of synchronisation that would hang are always found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Accesses to freed memory and to the wrong state space, with the nearest allocation in the report.
    pub memory: bool,
    /// Use of bytes that nobody wrote.
    pub init: bool,
    /// Unordered accesses of two threads to one byte.
    pub race: bool,
    /// Divergent barriers, lanes outside member masks, values shuffled from lanes that are not there.
    pub sync: bool,
}

impl Checks {
    /// Every check on.
    pub const ALL: Checks = Checks { memory: true, init: true, race: true, sync: true };
    /// Every check off.
    pub const NONE: Checks = Checks { memory: false, init: false, race: false, sync: false };
}

/// The limits of a GPU that software can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// `sm_80`, as [`Model::by_name`] takes it.
    pub name: &'static str,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub sm_count: u32,
    /// Shared bytes a block may have after opting in.
    pub max_shared_per_block: u32,
    /// Shared bytes a block may have without opting in.
    pub default_shared_per_block: u32,
    /// Shared bytes of one multiprocessor.
    pub max_shared_per_sm: u32,
    /// 32-bit registers of one multiprocessor.
    pub regs_per_sm: u32,
    /// Resident threads of one multiprocessor.
    pub max_threads_per_sm: u32,
    /// Resident blocks of one multiprocessor.
    pub max_blocks_per_sm: u32,
    /// Threads of one block.
    pub max_threads_per_block: u32,
    /// Level-2 cache in bytes.
    pub l2_bytes: u32,
    /// Device memory in bytes.
    pub memory_bytes: u64,
}

#[rustfmt::skip] // One model a line. CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability".
const MODELS: [Model; 4] = [
    model("sm_80", (8, 0), 108, 163, 164, 2048, 32, 40),
    model("sm_86", (8, 6),  82,  99, 100, 1536, 16,  6),
    model("sm_89", (8, 9), 128,  99, 100, 1536, 24, 72),
    model("sm_90", (9, 0), 132, 227, 228, 2048, 32, 50),
];

#[allow(clippy::too_many_arguments)] // A table row.
const fn model(
    name: &'static str,
    compute_capability: (u32, u32),
    sm_count: u32,
    block_kib: u32,
    sm_kib: u32,
    max_threads_per_sm: u32,
    max_blocks_per_sm: u32,
    l2_mib: u32,
) -> Model {
    Model {
        name,
        compute_capability,
        sm_count,
        max_shared_per_block: block_kib << 10,
        default_shared_per_block: 48 << 10,
        max_shared_per_sm: sm_kib << 10,
        regs_per_sm: 65536,
        max_threads_per_sm,
        max_blocks_per_sm,
        max_threads_per_block: 1024,
        l2_bytes: l2_mib << 20,
        memory_bytes: 16 << 30,
    }
}

impl Model {
    /// The model of `sm_80`, `sm_86`, `sm_89` or `sm_90`; `None` for any other name.
    pub fn by_name(name: &str) -> Option<Model> {
        MODELS.iter().find(|m| m.name == name).cloned()
    }

    /// Names that [`Model::by_name`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MODELS.iter().map(|m| m.name)
    }
}

impl Default for Config {
    /// Exact numerics, in-order schedule, all checks, counting, every core, an sm_89 device.
    fn default() -> Config {
        Config {
            numerics: Numerics { mma: MmaMode::Exact, approx: Approx::Rounded },
            seed: 0,
            schedule: Schedule::InOrder,
            late_stores: false,
            checks: Checks::ALL,
            count: true,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            instruction_limit: 1 << 36,
            model: MODELS[2].clone(),
        }
    }
}

impl Config {
    /// The default changed by the environment:
    ///
    /// | variable | values |
    /// |---|---|
    /// | `SOFTCUDA_DEVICE` | `sm_80`, `sm_86`, `sm_89`, `sm_90` |
    /// | `SOFTCUDA_SEED` | a number |
    /// | `SOFTCUDA_SCHEDULE` | `in-order`, `adversarial` |
    /// | `SOFTCUDA_STORES` | `at-once`, `late` |
    /// | `SOFTCUDA_MMA` | `exact`, `shuffle`, `trunc` |
    /// | `SOFTCUDA_APPROX` | `rounded`, `perturbed` |
    /// | `SOFTCUDA_CHECKS` | `all`, `none`, or a comma list of `memory`, `init`, `race`, `sync` |
    /// | `SOFTCUDA_COUNT` | `0`, `1` |
    /// | `SOFTCUDA_THREADS` | a number |
    /// | `SOFTCUDA_LIMIT` | warp instructions a launch may take |
    ///
    /// # Errors
    /// A value that is none of these, named with its variable.
    pub fn from_env() -> Result<Config, String> {
        Config::from_lookup(|name| std::env::var(name).ok())
    }

    /// [`Config::from_env`] with the variables given by a function.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_lookup(get: impl Fn(&str) -> Option<String>) -> Result<Config, String> {
        let mut config = Config::default();
        let bad = |name: &str, value: &str, known: &str| format!("{name}={value}: expected {known}");
        let number = |name: &str| match get(name) {
            None => Ok(None),
            Some(v) => v.parse::<u64>().map(Some).map_err(|_| bad(name, &v, "a number")),
        };
        if let Some(v) = get("SOFTCUDA_DEVICE") {
            let known = || bad("SOFTCUDA_DEVICE", &v, &Model::names().collect::<Vec<_>>().join(", "));
            config.model = Model::by_name(&v).ok_or_else(known)?;
        }
        if let Some(n) = number("SOFTCUDA_SEED")? {
            config.seed = n;
        }
        if let Some(n) = number("SOFTCUDA_THREADS")? {
            config.threads = (n as usize).max(1);
        }
        if let Some(n) = number("SOFTCUDA_LIMIT")? {
            config.instruction_limit = n;
        }
        if let Some(n) = number("SOFTCUDA_COUNT")? {
            config.count = n != 0;
        }
        if let Some(v) = get("SOFTCUDA_SCHEDULE") {
            config.schedule = match v.as_str() {
                "in-order" => Schedule::InOrder,
                "adversarial" => Schedule::Adversarial,
                _ => return Err(bad("SOFTCUDA_SCHEDULE", &v, "in-order, adversarial")),
            };
        }
        if let Some(v) = get("SOFTCUDA_STORES") {
            config.late_stores = match v.as_str() {
                "at-once" => false,
                "late" => true,
                _ => return Err(bad("SOFTCUDA_STORES", &v, "at-once, late")),
            };
        }
        if let Some(v) = get("SOFTCUDA_MMA") {
            config.numerics.mma = match v.as_str() {
                "exact" => MmaMode::Exact,
                "shuffle" => MmaMode::Shuffle,
                "trunc" => MmaMode::Trunc,
                _ => return Err(bad("SOFTCUDA_MMA", &v, "exact, shuffle, trunc")),
            };
        }
        if let Some(v) = get("SOFTCUDA_APPROX") {
            config.numerics.approx = match v.as_str() {
                "rounded" => Approx::Rounded,
                "perturbed" => Approx::Perturbed,
                _ => return Err(bad("SOFTCUDA_APPROX", &v, "rounded, perturbed")),
            };
        }
        if let Some(v) = get("SOFTCUDA_CHECKS") {
            config.checks = Checks::NONE;
            for word in v.split(',').filter(|w| !w.is_empty()) {
                match word {
                    "all" => config.checks = Checks::ALL,
                    "none" => config.checks = Checks::NONE,
                    "memory" => config.checks.memory = true,
                    "init" => config.checks.init = true,
                    "race" => config.checks.race = true,
                    "sync" => config.checks.sync = true,
                    _ => return Err(bad("SOFTCUDA_CHECKS", &v, "all, none, memory, init, race, sync")),
                }
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_read_and_refused() {
        let read = |pairs: &'static [(&str, &str)]| {
            Config::from_lookup(|n| pairs.iter().find(|p| p.0 == n).map(|p| p.1.to_string()))
        };
        let c =
            read(&[("SOFTCUDA_DEVICE", "sm_80"), ("SOFTCUDA_CHECKS", "init,race"), ("SOFTCUDA_SEED", "17")]).unwrap();
        assert_eq!((c.model.compute_capability, c.seed), ((8, 0), 17));
        assert_eq!(c.checks, Checks { init: true, race: true, ..Checks::NONE });
        assert!(read(&[("SOFTCUDA_STORES", "late")]).unwrap().late_stores);
        assert!(read(&[("SOFTCUDA_STORES", "never")]).is_err());
        let e = read(&[("SOFTCUDA_DEVICE", "sm_70")]).unwrap_err();
        assert_eq!(e, "SOFTCUDA_DEVICE=sm_70: expected sm_80, sm_86, sm_89, sm_90");
        assert!(read(&[("SOFTCUDA_SEED", "x")]).is_err());
    }
}
