//! The list of mutants, kept as data: `xtask/mutants/<family>.toml`, one table a mutant.
//!
//! ```toml
//! [[mutant]]
//! name = "no-magnitude"                      # <family>/<name> is its title
//! file = "kernels/quantize/passes.cu"        # from the repository's root
//! find = "fabsf(sanitize(v[i]))"             # occurs exactly once in the file
//! replace = "sanitize(v[i])"
//! reason = "amax without abs"                # what is wrong now
//! tests = ["quantize_kernels::every_scheme"] # [package/]target::path, in the order to try; target `lib`: unit tests
//! target = "80"                              # optional: the image of a kernel that gets the edit; 89 if not said,
//!                                            # which is what the software device takes unless a test says otherwise
//! ```

use std::path::PathBuf;

use crate::shell::root;

/// One wrong edit.
pub struct Mutant {
    pub family: String,
    pub name: String,
    pub file: String,
    pub find: String,
    pub replace: String,
    pub reason: String,
    pub tests: Vec<String>,
    pub target: String,
}

impl Mutant {
    pub fn title(&self) -> String {
        format!("{}/{}", self.family, self.name)
    }

    /// Whether the edit is of a kernel, and not of a program that has to be built again.
    pub fn is_kernel(&self) -> bool {
        self.file.starts_with("kernels/")
    }

    /// By family, or by a part of the title.
    pub fn matches(&self, filter: &str) -> bool {
        self.family == filter || self.title().contains(filter)
    }

    /// The file with the edit; an error when the place is not there, or not the only one.
    pub fn applied_to(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.find).count() {
            1 => Ok(text.replacen(&self.find, &self.replace, 1)),
            n => Err(format!("{}: the text to find occurs {n} times in {}, not once", self.title(), self.file)),
        }
    }
}

/// A test of a program of a package.
pub struct TestName {
    pub package: String,
    /// Name of the integration test, or `lib`.
    pub target: String,
    pub path: String,
}

impl TestName {
    pub fn parse(name: &str) -> Result<TestName, String> {
        let (program, path) = name.split_once("::").ok_or_else(|| format!("`{name}` is not `target::test`"))?;
        let (package, target) = program.split_once('/').unwrap_or(("lowbit", program));
        Ok(TestName { package: package.to_string(), target: target.to_string(), path: path.to_string() })
    }
}

/// Every mutant, families in the order of their names.
pub fn load() -> Result<Vec<Mutant>, String> {
    let folder = root().join("xtask/mutants");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("reading {}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|suffix| suffix == "toml"));
    files.sort();
    let mut mutants = Vec::new();
    for file in files {
        let family = file.file_stem().map(|stem| stem.display().to_string()).unwrap_or_default();
        let text = std::fs::read_to_string(&file).map_err(|error| format!("reading {}: {error}", file.display()))?;
        parse(&family, &text, &mut mutants).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(mutants)
}

fn parse(family: &str, text: &str, mutants: &mut Vec<Mutant>) -> Result<(), String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let list = table.get("mutant").and_then(toml::Value::as_array).ok_or("no [[mutant]]")?;
    for (at, entry) in list.iter().enumerate() {
        let field = |name: &str| {
            let value = entry.get(name).and_then(toml::Value::as_str).map(String::from);
            value.ok_or_else(|| format!("mutant {}: `{name}` is not a string", at + 1))
        };
        let tests = entry.get("tests").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let tests: Vec<String> = tests.iter().filter_map(|test| test.as_str().map(String::from)).collect();
        if tests.is_empty() {
            return Err(format!("mutant {}: `tests` names none", at + 1));
        }
        mutants.push(Mutant {
            family: family.to_string(),
            name: field("name")?,
            file: field("file")?,
            find: field("find")?,
            replace: field("replace")?,
            reason: field("reason")?,
            tests,
            target: entry.get("target").and_then(toml::Value::as_str).unwrap_or("89").to_string(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Text of an integration test: `tests/<target>.rs`, or all files below `tests/<target>/`.
    fn sources(test: &TestName) -> String {
        let package = if test.package == "softcuda-engine" { "softcuda/engine" } else { "" };
        let tests = root().join(package).join("tests");
        below(&tests.join(&test.target)) + &below(&tests.join(format!("{}.rs", test.target)))
    }

    fn below(path: &Path) -> String {
        match std::fs::read_dir(path) {
            Ok(folder) => folder.flatten().map(|entry| below(&entry.path())).collect(),
            Err(_) => std::fs::read_to_string(path).unwrap_or_default(),
        }
    }

    /// What a run would find out late: that each mutant applies and its tests are there.
    #[test]
    fn every_mutant_applies_and_names_tests_that_exist() {
        let mutants = load().unwrap();
        let mut titles = Vec::new();
        for mutant in &mutants {
            let text = std::fs::read_to_string(root().join(&mutant.file)).unwrap_or_default();
            let applied = mutant.applied_to(&text).unwrap();
            assert_ne!(applied, text, "{} changes nothing", mutant.title());
            for name in &mutant.tests {
                let test = TestName::parse(name).unwrap();
                let function = test.path.rsplit("::").next().unwrap_or_default();
                if test.target != "lib" {
                    let found = sources(&test).contains(&format!("fn {function}("));
                    assert!(found, "{}: there is no test {name}", mutant.title());
                }
            }
            titles.push(mutant.title());
        }
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), mutants.len(), "two mutants have one title");
    }

    #[test]
    fn a_place_that_is_not_the_only_one_is_refused() {
        let mut mutants = Vec::new();
        let text = "[[mutant]]\nname = 'a'\nfile = 'f'\nfind = 'x'\nreplace = 'y'\nreason = 'r'\ntests = ['t::u']";
        parse("family", text, &mut mutants).unwrap();
        assert_eq!(mutants[0].applied_to("axb"), Ok("ayb".to_string()));
        for text in ["ab", "xx"] {
            assert!(mutants[0].applied_to(text).unwrap_err().contains("times in f, not once"));
        }
        assert!(mutants[0].matches("family") && mutants[0].matches("ly/a") && !mutants[0].matches("fam/b"));
        let missing = parse("family", &text.replace("find", "seek"), &mut mutants).unwrap_err();
        assert_eq!(missing, "mutant 1: `find` is not a string");
    }

    #[test]
    fn test_names_are_read() {
        let test = TestName::parse("matmul::products::ggml").unwrap();
        assert_eq!((&*test.package, &*test.target, &*test.path), ("lowbit", "matmul", "products::ggml"));
        let test = TestName::parse("softcuda-engine/lib::memory").unwrap();
        assert_eq!((&*test.package, &*test.target, &*test.path), ("softcuda-engine", "lib", "memory"));
        assert!(TestName::parse("kv_append").is_err());
    }
}
