//! The copy of the repository in which mutants are tried: `target/mutants/tree`, built into `target/mutants/target`.
//! Both stay for the next run; a run first makes the tree equal to the repository again.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::list::{Mutant, TestName};
use crate::shell::{cargo, root, seeded, target};
use crate::{compile, nvcc, toolchain};

pub struct Scratch {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
    /// The unmutated PTX, so that going back compiles nothing.
    kept: PathBuf,
    log: PathBuf,
    nvcc: PathBuf,
}

/// How a test went.
pub enum Run {
    Passed,
    /// Why: the panic's message, or the end by a signal or by the time limit.
    Failed(String),
    /// The program has no such test.
    Missing,
}

fn io<T>(what: &str, path: &Path, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what} {}: {error}", path.display()))
}

impl Scratch {
    /// Makes the tree equal to the repository: tracked files and new ones that git does not ignore, as they are now.
    pub fn prepare() -> Result<Scratch, String> {
        let nvcc = toolchain::compiler_folder()?.join("nvcc");
        let folder = target().join("mutants");
        let at = |name: &str| folder.join(name);
        io("making", &folder, fs::create_dir_all(&folder))?;
        let folder = io("finding", &folder, folder.canonicalize())?;
        let root = io("finding", root(), root().canonicalize())?;
        let (tree, target, kept, log) = (folder.join("tree"), folder.join("target"), folder.join("kernels"), at("log"));
        let scratch = Scratch { root, tree, target, kept, log, nvcc };
        scratch.copy_sources()?;
        if !scratch.target.exists() {
            scratch.seed_target()?;
        }
        Ok(scratch)
    }

    fn copy_sources(&self) -> Result<(), String> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let output = git.output().map_err(|error| format!("git could not be started: {error}"))?;
        if !output.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        let names: BTreeSet<&Path> = listed.split('\0').filter(|name| !name.is_empty()).map(Path::new).collect();
        for name in &names {
            let (from, to) = (self.root.join(name), self.tree.join(name));
            if !from.is_file() {
                continue; // Deleted, and not yet committed.
            }
            let bytes = io("reading", &from, fs::read(&from))?;
            // Only what differs is written: cargo goes by the files' times.
            if fs::read(&to).is_ok_and(|old| old == bytes) {
                continue;
            }
            if let Some(parent) = to.parent() {
                io("making", parent, fs::create_dir_all(parent))?;
            }
            io("writing", &to, fs::write(&to, bytes))?;
        }
        remove_others(&self.tree, &self.tree, &|name| names.contains(name) && self.root.join(name).is_file())
    }

    /// Libraries that others have built, and the kernels, so that the first run need not. What does not fit is built.
    fn seed_target(&self) -> Result<(), String> {
        for folder in ["debug/deps", "debug/.fingerprint", "debug/build", "kernels"] {
            let program = |file: &Path| folder == "debug/deps" && file.extension().is_none();
            copy_folder(&target().join(folder), &self.target.join(folder), &|file| !program(file))?;
        }
        Ok(())
    }

    fn kernels(&self) -> PathBuf {
        self.target.join("kernels")
    }

    /// Compiles the kernels that have changed, for every target, and notes which images there are: the table of them is
    /// built into the programs.
    pub fn compile_all(&self) -> Result<(), String> {
        let units = self.compile(None, None)?;
        let list: String = units.iter().map(|unit| format!("{} {}\n", unit.module, unit.target)).collect();
        let file = self.kernels().join("images");
        if fs::read_to_string(&file).is_ok_and(|old| old == list) {
            return Ok(());
        }
        io("writing", &file, fs::write(&file, list))
    }

    /// Compiles the kernels that have changed, for every target or `only` one where a module has it, of all `modules` or
    /// those given; or what nvcc said.
    pub fn compile(
        &self,
        only: Option<&str>,
        modules: Option<&BTreeSet<String>>,
    ) -> Result<Vec<compile::Unit>, String> {
        let nvcc = nvcc::run(&self.nvcc)?;
        let targets = ["80", "89"].map(String::from);
        let parallel = std::thread::available_parallelism().map_or(1, |n| n.get());
        let (kernels, out) = (self.tree.join("kernels"), self.kernels());
        let job = compile::Job { only, modules, parallel, ..compile::Job::everything(&nvcc, &kernels, &out, &targets) };
        compile::compile(&job).map(|(units, _)| units)
    }

    /// Builds the test's program: its path, or what the compilers said.
    pub fn build(&self, test: &TestName) -> Result<Result<PathBuf, String>, String> {
        let mut command = cargo();
        command.current_dir(&self.tree).args(["test", "--no-run", "--message-format=json", "--package", &test.package]);
        match test.target.as_str() {
            "lib" => command.arg("--lib"),
            target => command.args(["--test", target]),
        };
        command.arg("--target-dir").arg(&self.target).env_remove("CARGO_TARGET_DIR");
        // Programs read the kernels when they run, so that a wrong kernel costs no build of them.
        command.env("LOWBIT_PTX_EXTERNAL", self.kernels()).stderr(Stdio::piped());
        let output = command.output().map_err(|error| format!("cargo could not be started: {error}"))?;
        let messages = String::from_utf8_lossy(&output.stdout).into_owned();
        let messages = || messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if !output.status.success() {
            let mut log: String =
                messages().filter_map(|m| m["message"]["rendered"].as_str().map(String::from)).collect();
            log.push_str(&String::from_utf8_lossy(&output.stderr));
            return Ok(Err(log));
        }
        let wanted = |message: &Value| {
            let kind = if test.target == "lib" { "lib" } else { "test" };
            let is_kind = message["target"]["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind));
            let is_named = kind == "lib" || message["target"]["name"] == test.target.as_str();
            (is_kind && is_named).then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
        };
        let program = messages().filter_map(|message| wanted(&message)).next_back();
        program.map(Ok).ok_or_else(|| format!("cargo built no program for {}", test.target))
    }

    /// Runs one test, at most so many seconds.
    pub fn run(&self, program: &Path, test: &TestName, limit: f64) -> Result<Run, String> {
        let log = io("making", &self.log, File::create(&self.log))?;
        let errors = io("making", &self.log, log.try_clone())?;
        let libraries = [self.target.join("debug/deps"), self.target.join("debug")];
        let libraries = std::env::join_paths(libraries).map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.current_dir(&self.tree).args(["--exact", &test.path]).stdout(log).stderr(errors);
        // The simulator's library, as cargo would set it. A mutant needs no smallest failing case, and leaves none.
        command.env("LD_LIBRARY_PATH", libraries).env("RUST_BACKTRACE", "0");
        seeded(&mut command).env("PROPTEST_MAX_SHRINK_ITERS", "0").env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        let mut child = io("starting", program, command.spawn())?;
        let end = Instant::now() + Duration::from_secs_f64(limit);
        let status = loop {
            match io("waiting for", program, child.try_wait())? {
                Some(status) => break status,
                None if Instant::now() > end => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Ok(Run::Failed(format!("still running after {limit:.0} s")));
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let output = String::from_utf8_lossy(&io("reading", &self.log, fs::read(&self.log))?).into_owned();
        if status.success() {
            return Ok(if output.contains("test result: ok. 1 passed") { Run::Passed } else { Run::Missing });
        }
        let mut lines = output.lines().skip_while(|line| !line.contains("panicked at"));
        let message = lines.nth(1).map(|line| line.chars().take(160).collect());
        Ok(Run::Failed(message.unwrap_or_else(|| format!("the test program ended with {status}"))))
    }

    /// The modules that a run reads, by the times at which their files were last read; none where the file system keeps no
    /// such times.
    pub fn modules_read<T>(
        &self,
        run: impl FnOnce() -> Result<T, String>,
    ) -> Result<(T, Option<BTreeSet<String>>), String> {
        let kernels = self.kernels();
        let modules = compile::modules(&self.tree.join("kernels"))?;
        let files = |module: &String| ["80", "89"].map(|target| compile::ptx_path(&kernels, module, target));
        let read = |file: &Path| fs::metadata(file).and_then(|of| of.accessed()).unwrap_or(SystemTime::UNIX_EPOCH);
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        for file in modules.iter().flat_map(files).filter(|file| file.is_file()) {
            let times = FileTimes::new().set_accessed(past);
            io("dating", &file, File::options().write(true).open(&file).and_then(|open| open.set_times(times)))?;
        }
        let result = run()?;
        let read: BTreeSet<String> =
            modules.into_iter().filter(|module| files(module).iter().any(|file| read(file) > past)).collect();
        Ok((result, (!read.is_empty()).then_some(read)))
    }

    /// Applies the edit to the tree; returns the file's text before it. The repository may change during a run: the
    /// tree is what counts.
    pub fn apply(&self, mutant: &Mutant) -> Result<String, String> {
        let file = self.tree.join(&mutant.file);
        let text = io("reading", &file, fs::read_to_string(&file))?;
        io("writing", &file, fs::write(&file, mutant.applied_to(&text)?))?;
        Ok(text)
    }

    pub fn revert(&self, mutant: &Mutant, text: &str) -> Result<(), String> {
        let file = self.tree.join(&mutant.file);
        io("restoring", &file, fs::write(&file, text))?;
        restore(&self.kept, &self.kernels())
    }

    /// Remembers the PTX of the unmutated tree.
    pub fn keep_kernels(&self) -> Result<(), String> {
        let _ = fs::remove_dir_all(&self.kept);
        copy_folder(&self.kernels(), &self.kept, &|_| true)
    }
}

/// Copies a folder with the files' times, by which cargo knows what is fresh. A folder that is not there is empty.
fn copy_folder(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    io("making", to, fs::create_dir_all(to))?;
    for entry in entries.flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let metadata = io("reading", &path, entry.metadata())?;
        if metadata.is_dir() {
            copy_folder(&path, &to, wanted)?;
        } else if metadata.is_file() && wanted(&path) {
            io("copying", &path, fs::copy(&path, &to))?;
            let copy = io("opening", &to, File::options().write(true).open(&to))?;
            if let Ok(time) = metadata.modified() {
                io("dating", &to, copy.set_modified(time))?;
            }
        }
    }
    Ok(())
}

/// Puts back every output whose key is another one than that kept.
fn restore(kept: &Path, kernels: &Path) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(kept) else { return Ok(()) };
    for entry in entries.flatten() {
        let (path, to) = (entry.path(), kernels.join(entry.file_name()));
        if path.is_dir() {
            restore(&path, &to)?;
        } else if path.extension().is_some_and(|suffix| suffix == "key") && fs::read(&path).ok() != fs::read(&to).ok() {
            for suffix in ["ptx", "d", "key"] {
                let to = to.with_extension(suffix);
                io("restoring", &to, fs::copy(path.with_extension(suffix), &to))?;
            }
        }
    }
    Ok(())
}

/// Removes the files below `folder` whose path from `tree` is not wanted.
fn remove_others(tree: &Path, folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<(), String> {
    for entry in io("reading", folder, fs::read_dir(folder))?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_others(tree, &path, wanted)?;
        } else if !path.strip_prefix(tree).is_ok_and(wanted) {
            io("removing", &path, fs::remove_file(&path))?;
        }
    }
    Ok(())
}
