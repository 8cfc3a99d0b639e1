//! Counters as text.

use super::{Class, LaunchStats};
use std::fmt::{self, Write};

/// ```text
/// attend_i8: 24 blocks
///   instructions       warps          lanes  lanes/warp
///   int               12,345        395,040       32.00
///   ..
///   global         requests         sectors       ideal    distinct   bytes
///   load              1,024          16,384      16,384      16,384   524,288
/// ```
impl fmt::Display for LaunchStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} blocks", self.kernel, grouped(self.blocks))?;
        writeln!(f, "  {:<12}{:>16}{:>18}{:>12}", "instructions", "warps", "lanes", "lanes/warp")?;
        let mut row = |name: &str, warps: u64, lanes: u64| {
            let ratio = lanes as f64 / warps.max(1) as f64;
            writeln!(f, "  {name:<12}{:>16}{:>18}{ratio:>12.2}", grouped(warps), grouped(lanes))
        };
        for class in Class::ALL {
            let i = class as usize;
            if self.warp_instructions[i] != 0 {
                row(&format!("{class:?}").to_lowercase(), self.warp_instructions[i], self.lane_instructions[i])?;
            }
        }
        row("all", self.total_warp_instructions(), self.total_lane_instructions())?;
        writeln!(
            f,
            "  {:<12}{:>16}{:>14}{:>14}{:>14}{:>18}",
            "global", "requests", "sectors", "ideal", "distinct", "bytes"
        )?;
        for (name, requests, sectors, ideal, distinct, bytes) in [
            (
                "load",
                self.global_load_requests,
                self.global_load_sectors,
                self.global_load_ideal_sectors,
                self.distinct_load_sectors,
                self.global_load_bytes,
            ),
            (
                "store",
                self.global_store_requests,
                self.global_store_sectors,
                self.global_store_ideal_sectors,
                self.distinct_store_sectors,
                self.global_store_bytes,
            ),
        ] {
            let [requests, sectors, ideal, distinct, bytes] = [requests, sectors, ideal, distinct, bytes].map(grouped);
            writeln!(f, "  {name:<12}{requests:>16}{sectors:>14}{ideal:>14}{distinct:>14}{bytes:>18}")?;
        }
        for (name, value) in [
            ("shared requests", self.shared_requests),
            ("shared wavefronts", self.shared_wavefronts),
            ("bank conflicts", self.shared_wavefronts - self.shared_ideal_wavefronts),
            ("cp.async bytes", self.cp_async_bytes),
            ("atomic requests", self.atomic_requests),
            ("local requests", self.local_requests),
            ("local sectors", self.local_sectors),
            ("divergent branches", self.divergent_branches),
            ("barriers", self.barriers),
        ] {
            writeln!(f, "  {name:<20}{:>14}", grouped(value))?;
        }
        Ok(())
    }
}

impl LaunchStats {
    /// One row for each executed PTX line, with its text. `text` gives the text of a line.
    pub fn line_table(&self, text: impl Fn(u32) -> String) -> String {
        let mut out = format!(
            "{:>7}{:>12}{:>14}{:>10}{:>10}{:>10}{:>11}  {}\n",
            "line", "warps", "lanes", "sectors", "ideal", "conflicts", "divergent", "instruction"
        );
        for l in &self.lines {
            let c = &l.counts;
            let _ = writeln!(
                out,
                "{:>7}{:>12}{:>14}{:>10}{:>10}{:>10}{:>11}  {}",
                l.line,
                grouped(c.warps),
                grouped(c.lanes),
                grouped(c.loads.sectors + c.stores.sectors),
                grouped(c.loads.ideal_sectors + c.stores.ideal_sectors),
                grouped(c.wavefronts - c.ideal_wavefronts),
                grouped(c.divergent),
                text(l.line).trim()
            );
        }
        out
    }
}

/// A number with a comma every three digits.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::Counts;

    #[test]
    fn tables_name_what_was_counted() {
        let mut counts = Counts::new(3);
        (0..1234).for_each(|_| counts.executed(0, !0));
        counts.executed(2, 0xff);
        counts.sites[2].loads.sectors = 5;
        counts.sites[2].loads.ideal_sectors = 4;
        let other = counts.clone();
        counts.merge(&other);
        let class = |pc| if pc == 0 { (Class::F32, 11) } else { (Class::Memory, 12) };
        let stats = LaunchStats::from_counts("k", 7, &counts, class, (3, 0), true);
        let text = stats.to_string();
        assert!(text.starts_with("k: 7 blocks\n"));
        assert!(text.contains("  f32                    2,468            78,976       32.00\n"), "{text}");
        assert!(text.contains("  memory                     2                16        8.00\n"), "{text}");
        assert!(
            text.contains(
                "  load                       0            10             8             3                 0\n"
            ),
            "{text}"
        );
        let lines = stats.line_table(|n| format!("\tline{n};"));
        assert!(
            lines.contains("     12           2            16        10         8         0          0  line12;\n"),
            "{lines}"
        );
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
