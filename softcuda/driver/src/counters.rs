//! Counters as text, the way they cross from the library to the client: one line a kernel, `name=value` separated by tabs. One table
//! serves both directions.

use softcuda_engine::{Class, LaunchStats};

/// What one kernel did since the counters were reset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelCounters {
    /// Launches.
    pub launches: u64,
    /// Host nanoseconds that softcuda took for them: the speed of softcuda, not of a GPU.
    pub nanoseconds: u64,
    /// The sum over the launches, without the counts by line.
    pub stats: LaunchStats,
}

type Field = (&'static str, fn(&mut KernelCounters) -> &mut u64);

/// Every counter but the arrays by class. Counts by line do not cross: they belong to one PTX text, which a sum over launches need not have.
#[rustfmt::skip] // One field a line.
const FIELDS: &[Field] = &[
    ("launches", |c| &mut c.launches),
    ("nanoseconds", |c| &mut c.nanoseconds),
    ("blocks", |c| &mut c.stats.blocks),
    ("divergent_branches", |c| &mut c.stats.divergent_branches),
    ("global_load_requests", |c| &mut c.stats.global_load_requests),
    ("global_store_requests", |c| &mut c.stats.global_store_requests),
    ("global_load_sectors", |c| &mut c.stats.global_load_sectors),
    ("global_store_sectors", |c| &mut c.stats.global_store_sectors),
    ("global_load_bytes", |c| &mut c.stats.global_load_bytes),
    ("global_store_bytes", |c| &mut c.stats.global_store_bytes),
    ("global_load_ideal_sectors", |c| &mut c.stats.global_load_ideal_sectors),
    ("global_store_ideal_sectors", |c| &mut c.stats.global_store_ideal_sectors),
    ("distinct_load_sectors", |c| &mut c.stats.distinct_load_sectors),
    ("distinct_store_sectors", |c| &mut c.stats.distinct_store_sectors),
    ("shared_requests", |c| &mut c.stats.shared_requests),
    ("shared_wavefronts", |c| &mut c.stats.shared_wavefronts),
    ("shared_ideal_wavefronts", |c| &mut c.stats.shared_ideal_wavefronts),
    ("atomic_requests", |c| &mut c.stats.atomic_requests),
    ("local_requests", |c| &mut c.stats.local_requests),
    ("cp_async_bytes", |c| &mut c.stats.cp_async_bytes),
    ("barriers", |c| &mut c.stats.barriers),
];

impl KernelCounters {
    /// One line.
    pub(crate) fn to_line(&self) -> String {
        let mut own = self.clone();
        let mut line = format!("kernel={}", self.stats.kernel);
        for (name, field) in FIELDS {
            line += &format!("\t{name}={}", field(&mut own));
        }
        for class in Class::ALL {
            let i = class as usize;
            line += &format!("\twarp.{class:?}={}", self.stats.warp_instructions[i]);
            line += &format!("\tlane.{class:?}={}", self.stats.lane_instructions[i]);
        }
        line
    }

    /// The line's values; `None` if it names a counter that is not known.
    pub(crate) fn from_line(line: &str) -> Option<KernelCounters> {
        let mut counters = KernelCounters::default();
        for part in line.split('\t') {
            let (name, value) = part.split_once('=')?;
            if name == "kernel" {
                counters.stats.kernel = value.to_string();
                continue;
            }
            let value: u64 = value.parse().ok()?;
            if let Some((kind, class)) = name.split_once('.') {
                let i = Class::ALL.iter().position(|c| format!("{c:?}") == class)?;
                match kind {
                    "warp" => counters.stats.warp_instructions[i] = value,
                    "lane" => counters.stats.lane_instructions[i] = value,
                    _ => return None,
                }
            } else {
                *FIELDS.iter().find(|f| f.0 == name)?.1(&mut counters) = value;
            }
        }
        Some(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distinct values in every field come back; a field that the table lacks does not compile here.
    #[test]
    fn every_counter_crosses() {
        let mut next = 0;
        let mut n = || {
            next += 1;
            next
        };
        let stats = LaunchStats {
            kernel: "attend_i8".into(),
            blocks: n(),
            warp_instructions: std::array::from_fn(|_| n()),
            lane_instructions: std::array::from_fn(|_| n()),
            divergent_branches: n(),
            global_load_requests: n(),
            global_store_requests: n(),
            global_load_sectors: n(),
            global_store_sectors: n(),
            global_load_bytes: n(),
            global_store_bytes: n(),
            global_load_ideal_sectors: n(),
            global_store_ideal_sectors: n(),
            distinct_load_sectors: n(),
            distinct_store_sectors: n(),
            shared_requests: n(),
            shared_wavefronts: n(),
            shared_ideal_wavefronts: n(),
            atomic_requests: n(),
            local_requests: n(),
            cp_async_bytes: n(),
            barriers: n(),
            lines: Vec::new(),
        };
        let counters = KernelCounters { launches: n(), nanoseconds: n(), stats };
        assert_eq!(KernelCounters::from_line(&counters.to_line()), Some(counters));
        assert_eq!(KernelCounters::from_line("kernel=x\tunheard=1"), None);
    }
}
