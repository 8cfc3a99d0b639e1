//! What each cache format may cost in model quality: the limits that `cargo xtask test` holds `smollm2 accuracy` to.

use serde_json::Value;

/// Limits of one format: the mean loss increase per token over the f32 run, in nats, and the KL divergence to it.
struct Limit {
    format: &'static str,
    dnll: f64,
    kl: f64,
}

/// Measured over 1024 tokens by an independent numpy implementation, with head room of about a third. int8-e4m3 was not:
/// it has finer keys than e4m3, whose limits it gets.
const LIMITS: &[Limit] = &[
    Limit { format: "f16", dnll: 0.001, kl: 0.001 },
    Limit { format: "int8", dnll: 0.005, kl: 0.002 },
    Limit { format: "e4m3", dnll: 0.02, kl: 0.02 },
    Limit { format: "e5m2", dnll: 0.05, kl: 0.045 },
    Limit { format: "int8-e4m3", dnll: 0.02, kl: 0.02 },
    Limit { format: "int8-int4", dnll: 0.015, kl: 0.02 },
    Limit { format: "int4-g32", dnll: 0.085, kl: 0.08 },
    Limit { format: "nvfp4", dnll: 0.12, kl: 0.12 },
    Limit { format: "kivi4-r128", dnll: 0.01, kl: 0.006 },
    Limit { format: "kivi4-r32", dnll: 0.013, kl: 0.009 },
];

/// Tokens over which the limits were made.
const TOKENS: f64 = 1024.0;

/// Checks the lines of `smollm2 accuracy --json`: every format of the table is there and within its limits. A short
/// run is noisy, so the loss may exceed its limit by twice the standard error printed beside it, no more. KL has no such
/// figure; its limit grows as a standard error does, with the square root of 1024 / tokens. (In E4M3 the chunk's first
/// position alone has a KL of 4 nats: 0.004 of the mean over 1024 tokens, and 0.016 over 256.)
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
        let kl_limit = limit.kl * (TOKENS / number("tokens")?).sqrt().max(1.0);
        let summary = format!(
            "{}: dNLL {dnll:.5} (limit {} + 2 x {error:.5}), KL {kl:.5} (limit {kl_limit})",
            limit.format, limit.dnll
        );
        // Written so that NaN fails.
        let within = dnll.abs() <= limit.dnll + 2.0 * error && kl <= kl_limit;
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

    fn lines_of(tokens: usize, dnll: f64, error: f64, kl: f64) -> String {
        let line = |limit: &Limit| {
            let format = limit.format;
            format!(r#"{{"format":"{format}","tokens":{tokens},"dnll":{dnll},"dnll_se":{error},"kl":{kl}}}"#) + "\n"
        };
        LIMITS.iter().map(line).collect()
    }

    fn lines(dnll: f64, error: f64, kl: f64) -> String {
        lines_of(1024, dnll, error, kl)
    }

    #[test]
    fn the_limit_of_kl_grows_as_its_scatter_in_short_runs_only() {
        assert!(check(&lines_of(256, 0.0, 0.0, 0.002)).is_ok());
        assert!(check(&lines_of(256, 0.0, 0.0, 0.0021)).unwrap_err().starts_with("over the limit: f16"));
        assert!(check(&lines_of(4096, 0.0, 0.0, 0.001)).is_ok());
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
