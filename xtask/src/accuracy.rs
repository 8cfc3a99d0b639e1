//! `cargo xtask accuracy`: what each cache format costs. With `--document`, every format over both evaluation chunks, into
//! the table of docs/accuracy.md.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use crate::shell::{root, show, target};
use crate::{demo, limits, model, toolchain};

/// Name and first token of each evaluation chunk of the bundled text.
const CHUNKS: [(&str, usize); 2] = [("A", 30_000), ("B", 60_000)];

/// Tokens of a chunk.
const TOKENS: usize = 1024;

/// What stands around the table.
const MARKS: [&str; 2] = ["<!-- table: cargo xtask accuracy --document -->\n", "<!-- end of table -->\n"];

const HELP: &str = "\
cargo xtask accuracy [ARGS of `smollm2 accuracy`]
cargo xtask accuracy --document [--fresh] [--formats A,B,..]

  --document   measures each format over both chunks of 1024 tokens, keeps the figures under target/accuracy, and writes
               the table of docs/accuracy.md; what an earlier run has kept is not measured again
  --fresh      measures the formats again
  --formats    measures these only; the others' figures must have been kept";

/// What `--document` was asked for.
#[derive(Default)]
struct Options {
    fresh: bool,
    formats: Vec<String>,
}

/// Runs the command.
pub fn accuracy(arguments: &[String]) -> Result<(), String> {
    if !arguments.iter().any(|argument| argument == "--document") {
        return demo::evaluate("accuracy", arguments);
    }
    let options = options(arguments)?;
    toolchain::compiler_folder()?;
    let model = model::fetch()?;
    let all = names(&model)?;
    if let Some(unknown) = options.formats.iter().find(|format| !all.contains(format)) {
        return Err(format!("--formats: there is no {unknown}; there are {}", all.join(", ")));
    }
    let wanted = if options.formats.is_empty() { &all } else { &options.formats };
    let mut results = Vec::new();
    for (_, offset) in CHUNKS {
        let mut kept = kept(offset);
        let missing = |format: &&String| options.fresh || line_of(&kept, format).is_none();
        let missing: Vec<_> = wanted.iter().filter(missing).map(String::as_str).collect();
        if !missing.is_empty() {
            kept.retain(|line| !missing.iter().any(|format| line["format"] == **format));
            measure(&model, offset, &missing, &mut kept)?;
        }
        results.push(kept);
    }
    let table = table(&all, &results)?;
    let page = root().join("docs/accuracy.md");
    let text = std::fs::read_to_string(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    let text = replaced(&text, &table).ok_or_else(|| format!("{}: no place for the table", page.display()))?;
    std::fs::write(&page, text).map_err(|error| format!("{}: {error}", page.display()))?;
    over_the_limits(&all, &results)
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--document" => {}
            "--fresh" => options.fresh = true,
            "--formats" => {
                let list = rest.next().ok_or("--formats: expected a list")?;
                options.formats = list.split(',').map(str::to_string).collect();
            }
            other => return Err(format!("there is no argument `{other}` beside --document\n\n{HELP}")),
        }
    }
    Ok(options)
}

/// The formats that the example knows.
fn names(model: &PathBuf) -> Result<Vec<String>, String> {
    let mut command = demo::smollm2("accuracy", model)?;
    command.args(["--list", "--json"]);
    let output = command.output().map_err(|error| format!("`{}`: {error}", show(&command)))?;
    if !output.status.success() {
        return Err(format!("`{}`: {}", show(&command), String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .map(|line| match serde_json::from_str::<Value>(line) {
            Ok(value) => value["format"].as_str().map(str::to_string).ok_or_else(|| format!("no format in {line}")),
            Err(error) => Err(format!("{error} in {line}")),
        })
        .collect()
}

fn file(offset: usize) -> PathBuf {
    target().join(format!("accuracy/{offset}.jsonl"))
}

/// Lines of earlier runs.
fn kept(offset: usize) -> Vec<Value> {
    let text = std::fs::read_to_string(file(offset)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn line_of<'a>(lines: &'a [Value], format: &str) -> Option<&'a Value> {
    lines.iter().find(|line| line["format"] == format)
}

/// Measures, and keeps each line as it comes.
fn measure(model: &PathBuf, offset: usize, formats: &[&str], kept: &mut Vec<Value>) -> Result<(), String> {
    let mut command = demo::smollm2("accuracy", model)?;
    command.args(["--json", "--tokens", &TOKENS.to_string(), "--offset", &offset.to_string()]);
    command.args(["--formats", &formats.join(",")]).stdout(Stdio::piped());
    eprintln!("+ {}", show(&command));
    let mut child = command.spawn().map_err(|error| format!("cargo could not be started: {error}"))?;
    let output = child.stdout.take().ok_or("the example has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("reading the example's output: {error}"))?;
        kept.push(serde_json::from_str(&line).map_err(|error| format!("{error} in {line}"))?);
        write(offset, kept).map_err(|error| format!("{}: {error}", file(offset).display()))?;
        println!("{line}");
    }
    let status = child.wait().map_err(|error| format!("waiting for the example: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("the example failed ({status})")) }
}

fn write(offset: usize, lines: &[Value]) -> std::io::Result<()> {
    let path = file(offset);
    std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
    let mut file = std::fs::File::create(path)?;
    lines.iter().try_for_each(|line| writeln!(file, "{line}"))
}

/// A row a format; two figures where there are two, chunk A and chunk B.
fn table(formats: &[String], results: &[Vec<Value>]) -> Result<String, String> {
    let mut text = String::from(
        "| format | bits | bytes per token | perplexity A, B | dNLL A, B (+- standard error) | KL A, B | top-1 A, B | \
         mean dNLL, KL | its limits |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for format in formats {
        let lines: Vec<_> = results.iter().map(|lines| line_of(lines, format)).collect();
        let Some(lines) = lines.into_iter().collect::<Option<Vec<_>>>() else {
            return Err(format!("{format} has not been measured"));
        };
        let number = |line: &Value, name: &str| line[name].as_f64().ok_or_else(|| format!("{format}: no `{name}`"));
        let mean = |name: &str| -> Result<f64, String> {
            Ok(lines.iter().map(|line| number(line, name)).sum::<Result<f64, _>>()? / lines.len() as f64)
        };
        let each = |write: &dyn Fn(&Value) -> Result<String, String>| -> Result<String, String> {
            Ok(lines.iter().map(|line| write(line)).collect::<Result<Vec<_>, _>>()?.join(", "))
        };
        let limits = limits::cache(format).map_or("-".to_string(), |(dnll, kl)| format!("{dnll}, {kl}"));
        text += &format!(
            "| {format} | {:.2} | {} | {} | {} | {} | {} | {:+.4}, {:.5} | {limits} |\n",
            number(lines[0], "bits")?,
            number(lines[0], "bytes_per_token")?,
            each(&|line| Ok(format!("{:.3}", number(line, "ppl")?)))?,
            each(&|line| Ok(format!("{:+.4} (+- {:.4})", number(line, "dnll")?, number(line, "dnll_se")?)))?,
            each(&|line| Ok(format!("{:.5}", number(line, "kl")?)))?,
            each(&|line| Ok(format!("{:.1} %", 100.0 * number(line, "top1")?)))?,
            mean("dnll")?,
            mean("kl")?,
        );
    }
    Ok(text)
}

/// The page with another table.
fn replaced(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some([before, MARKS[0], table, MARKS[1], after].concat())
}

/// Of the mean over the chunks, as the limits are. The page says them too; this makes the command fail.
fn over_the_limits(formats: &[String], results: &[Vec<Value>]) -> Result<(), String> {
    let mut over = Vec::new();
    for format in formats {
        let Some((dnll, kl)) = limits::cache(format) else { continue };
        let figure = |lines: &Vec<Value>, name: &str| {
            line_of(lines, format).and_then(|line| line[name].as_f64()).unwrap_or(f64::NAN)
        };
        let mean = |name: &str| results.iter().map(|lines| figure(lines, name)).sum::<f64>() / results.len() as f64;
        let found = (mean("dnll"), mean("kl"));
        // Written so that NaN fails.
        if !(found.0 <= dnll && found.1 <= kl) {
            over.push(format!("{format}: dNLL {:.4} of {dnll}, KL {:.4} of {kl}", found.0, found.1));
        }
    }
    if over.is_empty() { Ok(()) } else { Err(format!("over their limits:\n{}", over.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(dnll: f64) -> Vec<Value> {
        let line = |format: &str| {
            serde_json::json!({ "format": format, "bits": 8.5, "bytes_per_token": 12240, "tokens": 1024, "ppl": 24.4,
                "dnll": dnll, "dnll_se": 0.001, "kl": 0.001, "top1": 0.98 })
        };
        vec![line("f16"), line("int8")]
    }

    #[test]
    fn a_row_has_both_chunks_and_the_limits() {
        let formats = ["int8".to_string()];
        let table = table(&formats, &[lines(0.001), lines(-0.002)]).unwrap();
        let row = "| int8 | 8.50 | 12240 | 24.400, 24.400 | +0.0010 (+- 0.0010), -0.0020 (+- 0.0010) | 0.00100, 0.00100 \
                   | 98.0 %, 98.0 % | -0.0005, 0.00100 | 0.005, 0.002 |\n";
        assert!(table.ends_with(row), "{table}");
        assert!(super::table(&["nothing".to_string()], &[lines(0.0), lines(0.0)]).unwrap_err().contains("nothing"));
    }

    #[test]
    fn a_mean_over_a_limit_fails() {
        let formats = ["f16".to_string(), "int8".to_string()];
        assert_eq!(over_the_limits(&formats, &[lines(0.001), lines(0.001)]), Ok(()));
        assert_eq!(over_the_limits(&formats[1..], &[lines(0.001), lines(0.008)]), Ok(()), "0.0045 of 0.005");
        let error = over_the_limits(&formats, &[lines(0.001), lines(0.010)]).unwrap_err();
        assert!(error.contains("int8: dNLL 0.0055 of 0.005") && error.contains("f16: "), "{error}");
        assert!(over_the_limits(&formats, &[lines(f64::NAN), lines(0.0)]).is_err());
    }

    #[test]
    fn only_the_table_of_a_page_changes() {
        let page = format!("before\n{}old\n{}after\n", MARKS[0], MARKS[1]);
        assert_eq!(replaced(&page, "new\n"), Some(format!("before\n{}new\n{}after\n", MARKS[0], MARKS[1])));
        assert_eq!(replaced("nothing", "new\n"), None);
    }

    #[test]
    fn arguments_are_read() {
        let words = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
        let options = options(&words("--document --fresh --formats int8,e4m3")).unwrap();
        assert!(options.fresh && options.formats == ["int8", "e4m3"]);
        assert!(super::options(&words("--document --tokens 3")).is_err_and(|error| error.contains("--tokens")));
    }
}
