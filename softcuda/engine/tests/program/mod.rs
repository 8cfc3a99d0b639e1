//! A PTX file that says in its head how it is launched; see `check_planted.rs`.
#![allow(dead_code)] // Each test binary uses a part of it.

use softcuda_engine::report::Report;
use softcuda_engine::{Config, Device, Launch, LaunchStats, Module};
use std::path::{Path, PathBuf};

/// A program and its text.
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    text: String,
}

/// What a run left.
pub struct Ran {
    pub outcome: Result<LaunchStats, Box<Report>>,
    /// The bytes of every buffer that is not freed.
    pub buffers: Vec<Vec<u8>>,
}

/// The folder of this name beside the tests.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

impl Program {
    /// The programs of a folder, by name.
    pub fn all(name: &str) -> Vec<Program> {
        let mut found: Vec<PathBuf> = std::fs::read_dir(folder(name)).unwrap().map(|e| e.unwrap().path()).collect();
        found.retain(|p| p.extension().is_some_and(|e| e == "ptx"));
        found.sort();
        found.into_iter().map(Program::read).collect()
    }

    /// One program of a folder.
    pub fn one(in_folder: &str, name: &str) -> Program {
        Program::read(folder(in_folder).join(name).with_extension("ptx"))
    }

    fn read(path: PathBuf) -> Program {
        let text = std::fs::read_to_string(&path).unwrap();
        Program { name: path.file_stem().unwrap().to_str().unwrap().to_string(), path, text }
    }

    /// The first line of its head.
    pub fn what(&self) -> &str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("// ")
    }

    /// What the head says under this name.
    pub fn head(&self, name: &'static str) -> Option<&str> {
        self.heads(name).next()
    }

    fn heads(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let head = self.text.lines().take_while(|l| l.starts_with("// "));
        head.filter_map(move |l| l[3..].strip_prefix(name)?.strip_prefix(": "))
    }

    /// Numbers of the lines with this mark.
    pub fn marked(&self, mark: &str) -> Vec<u32> {
        let marked = |l: &str| l.split_once("; //").is_some_and(|(_, marks)| marks.contains(mark));
        self.text.lines().zip(1..).filter(|(l, _)| marked(l)).map(|(_, n)| n).collect()
    }

    /// Runs it as its head says.
    pub fn run(&self, config: Config) -> Ran {
        self.run_on(config, false)
    }

    /// [`Program::run`], with `base_tier` on the functions for any processor.
    pub fn run_on(&self, config: Config, base_tier: bool) -> Ran {
        let device = Device::new(config);
        let load = Module::load_for(&device, &self.text, base_tier);
        let module = load.unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let (mut params, mut buffers) = (Vec::new(), Vec::new());
        for arg in self.heads("arg") {
            let mut push = |bytes: &[u8]| {
                params.resize(params.len().next_multiple_of(bytes.len()), 0);
                params.extend(bytes);
            };
            match arg.split_whitespace().collect::<Vec<_>>()[..] {
                ["null"] => push(&0u64.to_le_bytes()),
                ["word", n] => push(&n.parse::<u32>().unwrap().to_le_bytes()),
                ["buffer", size, state] => {
                    let size: u64 = size.parse().unwrap();
                    let address = device.alloc(size).unwrap();
                    match state {
                        "zero" => device.fill(address, &[0], size).unwrap(),
                        "half" => device.fill(address, &[0], size / 2).unwrap(),
                        "freed" => device.free(address).unwrap(),
                        "fresh" => {}
                        _ => panic!("{}: buffer state {state}", self.name),
                    }
                    if state != "freed" {
                        buffers.push((address, size));
                    }
                    push(&address.to_le_bytes());
                }
                _ => panic!("{}: arg {arg}", self.name),
            }
        }
        let kernel = module.kernels()[0].name.clone();
        let outcome = device.launch(&module, &kernel, self.shape(&params));
        let read = |&(address, size): &(u64, u64)| {
            let mut bytes = vec![0; size as usize];
            device.read(address, &mut bytes).unwrap();
            bytes
        };
        Ran { outcome, buffers: buffers.iter().map(read).collect() }
    }

    fn shape<'p>(&self, params: &'p [u8]) -> Launch<'p> {
        let mut launch = Launch { grid: [1; 3], block: [1; 3], dynamic_shared: 0, params, cooperative: false };
        let mut words = self.head("launch").expect("a program says how it is launched").split_whitespace();
        while let Some(word) = words.next() {
            if word == "cooperative" {
                launch.cooperative = true;
                continue;
            }
            let value = words.next().and_then(|n| n.parse().ok()).expect("a number");
            match word {
                "grid" => launch.grid[0] = value,
                "block" => launch.block[0] = value,
                "shared" => launch.dynamic_shared = value,
                _ => panic!("{}: launch {word}", self.name),
            }
        }
        launch
    }
}
