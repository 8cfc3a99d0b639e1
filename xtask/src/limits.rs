//! What each cache format may cost in model quality: the limits that `cargo xtask test` holds `smollm2 accuracy` to.

use serde_json::Value;

/// Limits of one format: the mean loss increase per token over the f32 run, in nats, and the KL divergence to it.
struct Limit {
    format: &'static str,
    dnll: f64,
    kl: f64,
}

/// Measured over 1024 tokens by an independent numpy implementation, with head room of about a third.
const LIMITS: &[Limit] = &[
    Limit { format: "f16", dnll: 0.001, kl: 0.001 },
    Limit { format: "int8", dnll: 0.005, kl: 0.002 },
    Limit { format: "e4m3", dnll: 0.02, kl: 0.02 },
    Limit { format: "kivi4-r128", dnll: 0.01, kl: 0.006 },
    Limit { format: "kivi4-r32", dnll: 0.013, kl: 0.009 },
];

/// Checks the lines of `smollm2 accuracy --json`: every format of the table is there and within its limits. A short
/// run is noisy, so the loss may exceed its limit by twice the standard error printed beside it, no more.
pub fn check(output: &str) -> Result<Vec<String>, String> {
    let lines: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("not a JSON object ({error}): {line}")))
        .collect::<Result<_, _>>()?;
    let mut report = Vec::new();
    for limit in LIMITS {
        let line = lines.iter().find(|line| line["format"] == limit.format);
        let line = line.ok_or_else(|| format!("no line for format {}", limit.format))?;
        let number = |name: &str| line[name].as_f64().ok_or_else(|| format!("{}: no number `{name}`", limit.format));
        let (dnll, error, kl) = (number("dnll")?, number("dnll_se")?, number("kl")?);
        let summary = format!(
            "{}: dNLL {dnll:.5} (limit {} + 2 x {error:.5}), KL {kl:.5} (limit {})",
            limit.format, limit.dnll, limit.kl
        );
        // Written so that NaN fails.
        let within = dnll.abs() <= limit.dnll + 2.0 * error && kl <= limit.kl;
        if !within {
            return Err(format!("over the limit: {summary}"));
        }
        report.push(summary);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(dnll: f64, error: f64, kl: f64) -> String {
        let line =
            |format: &str| format!(r#"{{"format":"{format}","dnll":{dnll},"dnll_se":{error},"kl":{kl}}}"#) + "\n";
        LIMITS.iter().map(|limit| line(limit.format)).collect()
    }

    #[test]
    fn within_over_and_missing_are_told_apart() {
        assert_eq!(check(&lines(0.001, 0.0, 0.001)).unwrap().len(), LIMITS.len());
        assert_eq!(check(&lines(0.003, 0.001, 0.001)).unwrap().len(), LIMITS.len());
        assert!(check(&lines(0.0031, 0.001, 0.001)).unwrap_err().starts_with("over the limit: f16"));
        assert!(check(&lines(0.0, 0.0, 0.0019)).unwrap_err().starts_with("over the limit: f16"));
        assert!(check("").unwrap_err().contains("no line for format f16"));
        assert!(check("ppl 3").unwrap_err().starts_with("not a JSON object"));
        assert!(check(&lines(0.0, 0.0, 0.0).replace("\"kl\":0", "\"kl\":null")).is_err());
    }
}
