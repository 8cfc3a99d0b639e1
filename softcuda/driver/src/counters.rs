//! Counters of a kernel, as they cross from the library to the client: a JSON object.

use serde::{Deserialize, Serialize};
use softcuda_engine::LaunchStats;

/// What one kernel did since the counters were reset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelCounters {
    /// Launches.
    pub launches: u64,
    /// Host nanoseconds that softcuda took for them: the speed of softcuda, not of a GPU.
    pub nanoseconds: u64,
    /// The sum over the launches. Counts by line are in [`KernelProfile`](crate::client::KernelProfile): they belong to one PTX text, which
    /// this sum need not have.
    pub stats: LaunchStats,
}

impl KernelCounters {
    /// Adds another sum of the same kernel.
    pub fn add(&mut self, other: &KernelCounters) {
        self.launches += other.launches;
        self.nanoseconds += other.nanoseconds;
        self.stats.add(&other.stats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use softcuda_engine::Class;

    #[test]
    fn counters_cross_by_their_names() {
        let mut counters = KernelCounters { launches: 3, ..KernelCounters::default() };
        counters.stats.kernel = "attend_i8".into();
        counters.stats.warp_instructions[Class::Mma as usize] = 17;
        counters.stats.local_requests = u64::MAX;
        let text = serde_json::to_string(&counters).unwrap();
        assert!(text.contains(r#""mma":17"#) && text.contains(r#""local_requests":18446744073709551615"#), "{text}");
        assert_eq!(serde_json::from_str::<KernelCounters>(&text).unwrap(), counters);
        let newer = text.replace("local_requests", "requests_of_tomorrow");
        assert!(serde_json::from_str::<KernelCounters>(&newer).is_err(), "a client of another build");
    }
}
