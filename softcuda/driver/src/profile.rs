//! Where a kernel's work is: counts by PTX line with the line's text, as JSON and as tables of the hottest lines. Counts, never times.

use serde::{Deserialize, Serialize};
use softcuda_engine::count::{SiteCounts, grouped};
use softcuda_engine::{Class, LaunchStats};
use std::collections::HashMap;
use std::fmt::Write;

/// What the launches of one kernel of one PTX text did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelProfile {
    /// Names the text: kernels of one name in different texts are apart.
    pub module: String,
    /// Launches.
    pub launches: u64,
    /// Host nanoseconds that softcuda took for them: the speed of softcuda, not of a GPU.
    pub nanoseconds: u64,
    /// The sum over the launches.
    pub stats: LaunchStats,
    /// Every executed line, ascending.
    pub lines: Vec<LineProfile>,
}

/// What one PTX line did. A line that holds instructions of two classes is there twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineProfile {
    /// Number of the line in the PTX text, from 1.
    pub line: u32,
    /// Class of its instruction.
    pub class: Class,
    /// The line.
    pub text: String,
    /// `file:line` of the source, if the PTX was made with `-lineinfo`.
    pub source: Option<String>,
    /// Its counts.
    pub counts: SiteCounts,
}

/// What lines are ordered by: a title, its figure, and what the same requests would ideally take.
type Order = (&'static str, fn(&SiteCounts) -> u64, Option<fn(&SiteCounts) -> u64>);

const ORDERS: [Order; 3] = [
    ("lane instructions", |c| c.lanes, None),
    ("sectors", |c| c.loads.sectors + c.stores.sectors, Some(|c| c.loads.ideal_sectors + c.stores.ideal_sectors)),
    ("wavefronts", |c| c.wavefronts, Some(|c| c.ideal_wavefronts)),
];

impl KernelProfile {
    /// Adds what the same kernel did elsewhere.
    pub fn add(&mut self, other: &KernelProfile) {
        self.launches += other.launches;
        self.nanoseconds += other.nanoseconds;
        self.stats.add(&other.stats);
        for line in &other.lines {
            match self.lines.binary_search_by_key(&(line.line, line.class), |l| (l.line, l.class)) {
                Ok(i) => self.lines[i].counts += line.counts,
                Err(i) => self.lines.insert(i, line.clone()),
            }
        }
    }

    /// The counters, then the `top` hottest lines by lane instructions, by sectors, and by wavefronts of shared memory:
    ///
    /// ```text
    ///   lane instructions   share        warps   line
    ///           1,234,567   12.3%       38,580    415  fma.rn.f32 %f7, %f5, %f6, %f4;
    ///                                                  // dot.cu:41: sum = fmaf(a, b, sum);
    /// ```
    pub fn table(&self, top: usize) -> String {
        let mut out = format!("{} launches of {}", grouped(self.launches), self.stats);
        let mut sources = Sources::default();
        for (title, figure, ideal) in ORDERS {
            let total: u64 = self.lines.iter().map(|l| figure(&l.counts)).sum();
            if total == 0 {
                continue;
            }
            let mut lines: Vec<&LineProfile> = self.lines.iter().filter(|l| figure(&l.counts) > 0).collect();
            lines.sort_by_key(|l| (std::cmp::Reverse(figure(&l.counts)), l.line));
            let column = if ideal.is_some() { "ideal" } else { "" };
            let _ = writeln!(out, "  {title:<18}{:>8}{column:>14}{:>14}{:>7}", "share", "warps", "line");
            for line in lines.into_iter().take(top) {
                let (n, share) = (figure(&line.counts), figure(&line.counts) as f64 / total as f64 * 100.0);
                let ideal = ideal.map_or(String::new(), |ideal| grouped(ideal(&line.counts)));
                let (count, warps, text) = (grouped(n), grouped(line.counts.warps), line.text.trim());
                let _ = writeln!(out, "  {count:>18}{share:>7.1}%{ideal:>14}{warps:>14}{:>7}  {text}", line.line);
                if let Some(source) = &line.source {
                    let _ = writeln!(out, "{:>65}// {}", "", sources.describe(source));
                }
            }
        }
        out
    }
}

/// Source files, read once.
#[derive(Default)]
struct Sources(HashMap<String, Vec<String>>);

impl Sources {
    /// `dot.cu:41: sum = fmaf(a, b, sum);` for `/path/dot.cu:41`; without the text when the file is not there.
    fn describe(&mut self, source: &str) -> String {
        let Some((path, number)) = source.rsplit_once(':') else { return source.into() };
        let read =
            |path: &String| std::fs::read_to_string(path).unwrap_or_default().lines().map(String::from).collect();
        let lines = self.0.entry(path.to_string()).or_insert_with_key(read);
        let name = path.rsplit('/').next().unwrap_or(path);
        match number.parse::<usize>().ok().and_then(|n| lines.get(n.checked_sub(1)?)) {
            Some(text) => format!("{name}:{number}: {}", text.trim()),
            None => format!("{name}:{number}"),
        }
    }
}

/// Reads profiles, one JSON object a line, and adds up those of the same kernel and text, in the order of first launch.
///
/// # Errors
/// A line that is no profile of this build.
pub fn merged(text: &str) -> Result<Vec<KernelProfile>, serde_json::Error> {
    let mut all: Vec<KernelProfile> = Vec::new();
    for line in text.lines() {
        let new: KernelProfile = serde_json::from_str(line)?;
        match all.iter_mut().find(|p| p.module == new.module && p.stats.kernel == new.stats.kernel) {
            Some(sum) => sum.add(&new),
            None => all.push(new),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u32, text: &str, lanes: u64, sectors: u64) -> LineProfile {
        let mut counts = SiteCounts { warps: lanes / 32, lanes, ..SiteCounts::default() };
        counts.loads.sectors = sectors;
        counts.loads.ideal_sectors = sectors / 2;
        let class = if sectors > 0 { Class::Memory } else { Class::F32 };
        LineProfile { line: number, class, text: text.into(), source: None, counts }
    }

    fn profile(module: &str, lines: Vec<LineProfile>) -> KernelProfile {
        let stats = LaunchStats { kernel: "dot".into(), blocks: 1, ..LaunchStats::default() };
        KernelProfile { module: module.into(), launches: 1, nanoseconds: 5, stats, lines }
    }

    #[test]
    fn profiles_of_one_text_are_added() {
        let a = profile("a", vec![line(3, "x;", 64, 0), line(9, "ld;", 32, 8)]);
        let b = profile("a", vec![line(3, "x;", 32, 0), line(5, "y;", 320, 0)]);
        let c = profile("c", vec![line(3, "z;", 1, 0)]);
        let text: String = [&a, &b, &c].iter().map(|p| serde_json::to_string(p).unwrap() + "\n").collect();
        let all = merged(&text).unwrap();
        assert_eq!(all.iter().map(|p| (p.module.as_str(), p.launches)).collect::<Vec<_>>(), [("a", 2), ("c", 1)]);
        assert_eq!(all[0].stats.blocks, 2);
        assert_eq!(
            all[0].lines.iter().map(|l| (l.line, l.counts.lanes)).collect::<Vec<_>>(),
            [(3, 96), (5, 320), (9, 32)]
        );
        assert!(merged("{}").is_err());
    }

    #[test]
    fn the_hottest_lines_come_first() {
        let mut own = line(7, "\tld.global.u32 %r1, [%rd1];", 320, 80);
        own.source = Some("/nowhere/dot.cu:12".into());
        let table = profile("a", vec![line(3, "x;", 64, 0), own, line(8, "y;", 640, 0)]).table(2);
        let (lanes, sectors) = table.rsplit_once("  sectors ").unwrap();
        let expected = "  lane instructions    share                       warps   line\n\
            \x20                640   62.5%                          20      8  y;\n\
            \x20                320   31.2%                          10      7  ld.global.u32 %r1, [%rd1];\n";
        assert!(lanes.contains(expected), "{table}");
        assert!(!lanes.contains("x;"), "only two: {table}");
        assert!(
            sectors.contains("                  80  100.0%            40            10      7  ld.global"),
            "{table}"
        );
        assert!(sectors.contains("// dot.cu:12\n"), "{table}");
        assert!(!table.contains("\n  wavefronts"), "{table}");
    }
}
