//! What came of the mutants: kept in `target/mutants/results.json` between runs, and written to `docs/mutants.md`.

use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::list::Mutant;
use crate::shell::{root, target};

pub enum Outcome {
    Killed { test: String, how: String },
    Survived,
    DoesNotBuild(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Killed { test, how } => write!(f, "killed by {test}: {how}"),
            Outcome::Survived => f.write_str("SURVIVED"),
            Outcome::DoesNotBuild(log) => write!(f, "DOES NOT BUILD\n{log}\n"),
        }
    }
}

/// By title: a hash of the mutant and its file, and the test that killed it, or null.
pub struct Results {
    file: PathBuf,
    by_title: Map<String, Value>,
}

impl Results {
    /// Those of earlier runs; none if there are none.
    pub fn open() -> Results {
        let file = target().join("mutants/results.json");
        let saved = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Results { file, by_title: saved.unwrap_or_default() }
    }

    pub fn record(&mut self, mutant: &Mutant, text: &str, outcome: &Outcome) -> Result<(), String> {
        let test = if let Outcome::Killed { test, .. } = outcome { Some(test) } else { None };
        self.by_title.insert(mutant.title(), json!({ "of": hash(mutant, text), "killed_by": test }));
        let all = Value::Object(self.by_title.clone()).to_string();
        std::fs::write(&self.file, all).map_err(|error| format!("writing {}: {error}", self.file.display()))
    }

    /// The test that killed the mutant as it and its file are now.
    fn killed_by(&self, mutant: &Mutant) -> Option<&str> {
        let result = self.by_title.get(&mutant.title())?;
        let text = std::fs::read_to_string(root().join(&mutant.file)).unwrap_or_default();
        if result["of"] == hash(mutant, &text).as_str() { result["killed_by"].as_str() } else { None }
    }

    /// Writes `docs/mutants.md`.
    pub fn document(&self, all: &[Mutant]) -> Result<(), String> {
        let missing: Vec<String> = all.iter().filter(|m| self.killed_by(m).is_none()).map(Mutant::title).collect();
        if !missing.is_empty() {
            return Err(format!("not killed, or not run since they or their files changed: {}", missing.join(", ")));
        }
        let mut text = format!(
            "# Mutants\n\nWritten by `cargo xtask mutants --document`. Each line is a small wrong edit \
             (`xtask/mutants/<family>.toml`), what it breaks, and the\ntest that failed with it and passes without it. \
             {} mutants, all killed.\n",
            all.len()
        );
        let mut family = "";
        for mutant in all {
            if mutant.family != family {
                family = &mutant.family;
                let _ =
                    write!(text, "\n## {family}\n\n| mutant | file | what is wrong | killed by |\n|---|---|---|---|\n");
            }
            let (reason, test) = (mutant.reason.replace('|', "\\|"), self.killed_by(mutant).unwrap_or_default());
            let _ = writeln!(text, "| {} | {} | {reason} | `{test}` |", mutant.name, mutant.file);
        }
        let file = root().join("docs/mutants.md");
        std::fs::write(&file, text).map_err(|error| format!("writing {}: {error}", file.display()))
    }
}

/// Of the mutant and the text of its file.
fn hash(mutant: &Mutant, text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (&mutant.find, &mutant.replace, &mutant.tests, text).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
