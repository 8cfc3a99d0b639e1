//! Memory counts of the kernels on the software device: the example `counts` of the crate launches the cases.

use serde_json::Value;

use crate::shell::{program, show};

/// Counts of one launch.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    kernel: String,
    case: String,
    /// Sectors requested over the fewest that hold the bytes.
    pub sector_ratio: Option<f64>,
    /// Shared-memory wavefronts beyond the fewest.
    pub bank_conflicts: u64,
    /// Lane instructions of PTX per unit.
    pub ptx_per_unit: Option<f64>,
}

impl Counts {
    /// Whether these are the counts of a kernel's case; a kernel without cases takes the first.
    pub fn is_of(&self, kernel: &str, case: Option<&str>) -> bool {
        self.kernel == kernel && case.is_none_or(|case| case == self.case)
    }
}

/// Runs every case on the software device.
pub fn run() -> Result<Vec<Counts>, String> {
    let mut command = program("--example", "counts")?;
    let shown = show(&command);
    eprintln!("+ {shown}");
    command.stderr(std::process::Stdio::inherit());
    let output = command.output().map_err(|error| format!("`{shown}` could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{shown}` failed ({})", output.status));
    }
    String::from_utf8_lossy(&output.stdout).lines().map(parse).collect()
}

fn parse(line: &str) -> Result<Counts, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("not a JSON object ({error}): {line}"))?;
    let text = |name: &str| value[name].as_str().map(String::from).ok_or_else(|| format!("no `{name}`: {line}"));
    Ok(Counts {
        kernel: text("kernel")?,
        case: text("case")?,
        sector_ratio: value["sector_ratio"].as_f64(),
        ptx_per_unit: value["ptx_per_unit"].as_f64(),
        bank_conflicts: value["bank_conflicts"].as_u64().ok_or_else(|| format!("no `bank_conflicts`: {line}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = r#"{"kernel":"k","case":"c","sector_ratio":1.02,"bank_conflicts":0}"#;
        let counts = parse(line).unwrap();
        assert!(counts.is_of("k", Some("c")) && counts.is_of("k", None) && !counts.is_of("k", Some("d")));
        assert_eq!((counts.sector_ratio, counts.bank_conflicts), (Some(1.02), 0));
        assert!(parse("{}").is_err());
    }
}
