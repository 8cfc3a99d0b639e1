//! The corpus: programs of tests/corpus, compiled for every target at test time, and what each kernel must give.
//!
//! The results follow from the semantics of C++ and of the ISA, computed here in another way than in the kernel. They are the same for all
//! targets, schedules and numerics, up to the stated error of functions. Without nvcc the PTX of tests/corpus/ptx runs instead.

mod control;
mod floats;
mod halves;
mod integers;
mod libm;
mod memory;
pub mod programs;
mod sync;
mod tensors;
mod warps;

use super::coverage::Executed;
use super::gpu;
use programs::Program;
use softcuda_engine::{Approx, Checks, Config, Device, Launch, MmaMode, Model, Module, Numerics, Schedule};

/// What a word, or two, must be.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// This word.
    Word(u32),
    /// Two words, the lower one first.
    Long(u64),
    /// An f32 so many units in the last place from a value; every NaN is one.
    F32(f64, f64),
    /// An f64, likewise.
    F64(f64, f64),
    /// An f16, in the lower half of a word whose upper half is free.
    Any,
}

/// One kernel.
pub struct Case {
    /// Its name.
    pub kernel: &'static str,
    /// Words that a thread writes.
    pub words: usize,
    /// Threads, and threads of a block.
    pub threads: (u32, u32),
    /// Four words a thread.
    pub input: fn(usize) -> Vec<u32>,
    /// The words of thread i, given all input.
    pub want: fn(&Input<'_>, usize) -> Vec<Want>,
    /// The kernel must end with a fault whose report has this text.
    pub fault: Option<&'static str>,
}

/// The words that the threads read.
pub struct Input<'a>(pub &'a [u32]);

impl Input<'_> {
    /// a, b, c, d of a thread.
    pub fn of(&self, i: usize) -> [u32; 4] {
        [self.0[4 * i], self.0[4 * i + 1], self.0[4 * i + 2], self.0[4 * i + 3]]
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.0.len() / 4
    }
}

/// A kernel of 256 threads in two blocks.
pub fn case(
    kernel: &'static str,
    words: usize,
    input: fn(usize) -> Vec<u32>,
    want: fn(&Input<'_>, usize) -> Vec<Want>,
) -> Case {
    Case { kernel, words, threads: (256, 128), input, want, fault: None }
}

/// Words of every size, many of them special.
pub fn integers(words: usize) -> Vec<u32> {
    const SPECIAL: [u32; 12] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    let mut random = Random(7);
    let mut word = || {
        let r = random.next();
        match r % 4 {
            0 => SPECIAL[(r >> 32) as usize % SPECIAL.len()],
            1 => (r >> 32) as u32 >> (r >> 8 & 31),
            _ => (r >> 32) as u32,
        }
    };
    (0..words).map(|_| word()).collect()
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Words that must be as they are.
pub fn words<const N: usize>(list: [u32; N]) -> Vec<Want> {
    list.map(Want::Word).to_vec()
}

/// A group of kernels of one source.
pub struct Theme {
    pub module: &'static str,
    pub cases: Vec<Case>,
}

pub fn themes() -> Vec<Theme> {
    let theme = |module, cases| Theme { module, cases };
    vec![
        theme("integers", integers::cases()),
        theme("floats", floats::cases()),
        theme("libm", libm::cases()),
        theme("halves", halves::cases()),
        theme("control", control::cases()),
        theme("memory", memory::cases()),
        theme("warps", warps::cases()),
        theme("tensors", tensors::cases()),
        theme("sync", sync::cases()),
    ]
}

/// Checks one thread's words; the text says what is wrong.
fn compare(got: &[u32], want: &[Want]) -> Result<(), String> {
    let mut at = 0;
    for w in want {
        let long = || u64::from(got[at]) | u64::from(got[at + 1]) << 32;
        let (ok, size) = match *w {
            Want::Word(v) => (got[at] == v, 1),
            Want::Any => (true, 1),
            Want::Long(v) => (long() == v, 2),
            Want::F32(v, ulps) => (near(f64::from(f32::from_bits(got[at])), v, ulps, 24, -126, f64::from(f32::MAX)), 1),
            Want::F64(v, ulps) => (near(f64::from_bits(long()), v, ulps, 53, -1022, f64::MAX), 2),
        };
        if !ok {
            let floats = match w {
                Want::F32(..) => format!(" = {:e}", f32::from_bits(got[at])),
                Want::F64(..) => format!(" = {:e}", f64::from_bits(long())),
                _ => String::new(),
            };
            return Err(format!("word {at} is {:#x}{floats}, want {w:x?}", got[at]));
        }
        at += size;
    }
    if at == got.len() { Ok(()) } else { Err(format!("{at} words are checked, {} written", got.len())) }
}

fn near(got: f64, want: f64, ulps: f64, bits: i32, least: i32, largest: f64) -> bool {
    if want.is_nan() || got.is_nan() {
        return want.is_nan() && got.is_nan();
    }
    if want.abs() > largest {
        return got == f64::INFINITY.copysign(want) || (ulps > 0.0 && got == largest.copysign(want));
    }
    if got.is_infinite() {
        // Within the bound of overflow.
        return ulps > 0.0 && got.signum() == want.signum() && want.abs() >= largest * (1.0 - ulps * 2f64.powi(-bits));
    }
    let ulp = ::libm::ldexp(1.0, (want.abs().log2().floor() as i32).clamp(least, 1023) - bits + 1);
    let near = (got - want).abs() <= ulps * ulp;
    near && (ulps > 0.0 || got.to_bits() == want.to_bits() || got == want)
}

/// How a device runs the corpus.
pub fn config(target: &str) -> Config {
    let model = Model::by_name(&format!("sm_{target}")).expect("a known name");
    Config { model, threads: 1, ..Config::default() }
}

/// Runs every kernel of a theme on one program: its output, or what is wrong.
pub fn run(
    theme: &Theme,
    program: &Program,
    config: &Config,
    executed: &mut Executed,
) -> Result<Vec<Vec<u32>>, String> {
    let device = Device::new(config.clone());
    let text = super::coverage::one_statement_a_line(&program.text);
    let module = Module::load(&device, &text).map_err(|e| format!("{}: {e}", program.name))?;
    let forms = super::coverage::forms(&text);
    let mut outputs = Vec::new();
    let mut wrong = Vec::new();
    for case in &theme.cases {
        let name = format!("{} {}", program.name, case.kernel);
        let (n, block) = case.threads;
        let input = (case.input)(4 * n as usize);
        let bytes = 4 * case.words * n as usize;
        let (out, data) =
            (device.alloc(bytes as u64).expect("memory"), device.alloc(4 * input.len() as u64).expect("memory"));
        let input_bytes: Vec<u8> = input.iter().flat_map(|w| w.to_le_bytes()).collect();
        device.write(data, &input_bytes).expect("in range");
        device.fill(out, &[0xab], bytes as u64).expect("in range");
        let mut params: Vec<u8> = [out, data].iter().flat_map(|p| p.to_le_bytes()).collect();
        params.extend(n.to_le_bytes());
        let grid = [n.div_ceil(block), 1, 1];
        let launch = Launch { grid, block: [block, 1, 1], dynamic_shared: 0, params: &params, cooperative: false };
        let result = device.launch(&module, case.kernel, launch);
        match (result, case.fault) {
            (Ok(stats), None) => executed.add(&forms, &stats, &format!("corpus {}::{}", theme.module, case.kernel)),
            (Err(report), Some(text)) if report.to_string().contains(text) => {
                outputs.push(Vec::new());
                continue;
            }
            (Err(report), _) => {
                wrong.push(format!("{name}: {report}"));
                continue;
            }
            (Ok(_), Some(text)) => {
                wrong.push(format!("{name}: no fault, want one with `{text}`"));
                continue;
            }
        }
        let mut raw = vec![0; bytes];
        device.read(out, &mut raw).expect("in range");
        gpu::compare(&gpu::Launched {
            what: &format!("corpus {name} {:?}", config.numerics),
            text: &text,
            kernel: case.kernel,
            grid: grid[0],
            block,
            word: 4,
            arguments: &[
                gpu::Argument::Buffer { before: &vec![0xab; bytes], after: &raw },
                gpu::Argument::Buffer { before: &input_bytes, after: &input_bytes },
                gpu::Argument::Word(n),
            ],
        });
        let got: Vec<u32> = raw.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        for i in 0..n as usize {
            let want = (case.want)(&Input(&input), i);
            if let Err(what) = compare(&got[case.words * i..][..case.words], &want) {
                wrong.push(format!("{name}, thread {i} of {:x?}: {what}", Input(&input).of(i)));
                if wrong.len() > 20 {
                    return Err(wrong.join("\n"));
                }
            }
        }
        outputs.push(got);
    }
    if wrong.is_empty() { Ok(outputs) } else { Err(wrong.join("\n")) }
}

#[test]
fn all_targets_give_what_the_semantics_say_and_the_same() {
    let mut executed = Executed::default();
    let mut wrong = Vec::new();
    for theme in themes() {
        let mut first: Option<Vec<Vec<u32>>> = None;
        for program in programs::of(theme.module) {
            match run(&theme, &program, &config(&program.target), &mut executed) {
                Ok(outputs) => {
                    let reference = first.get_or_insert_with(|| outputs.clone());
                    for (case, (got, want)) in theme.cases.iter().zip(outputs.iter().zip(reference.iter())) {
                        if let Some(at) = (0..got.len()).find(|&k| got[k] != want[k]) {
                            let (thread, word) = (at / case.words, at % case.words);
                            let what = format!("{:#x}, for the first target {:#x}", got[at], want[at]);
                            wrong
                                .push(format!("{} {}, thread {thread} word {word}: {what}", program.name, case.kernel));
                        }
                    }
                }
                Err(what) => wrong.push(what),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn schedules_numerics_and_tiers_change_nothing() {
    let mut wrong = Vec::new();
    let adversarial = |seed| Config { schedule: Schedule::Adversarial, seed, threads: 2, ..config("90") };
    let numerics = |mma| Numerics { mma, approx: Approx::Rounded };
    let runs = [
        ("warps", adversarial(1)),
        ("warps", adversarial(2)),
        ("sync", adversarial(3)),
        ("control", adversarial(4)),
        ("memory", adversarial(5)),
        ("tensors", Config { numerics: numerics(MmaMode::Trunc), ..adversarial(6) }),
        ("tensors", Config { numerics: numerics(MmaMode::Shuffle), ..config("90") }),
        ("control", Config { checks: Checks::NONE, count: false, ..config("90") }),
    ];
    let themes = themes();
    for (module, config) in runs {
        let theme = themes.iter().find(|t| t.module == module).expect("a theme");
        let program = programs::of(module).pop().expect("a target");
        if let Err(what) = run(theme, &program, &config, &mut Executed::default()) {
            wrong.push(format!("{:?} seed {}: {what}", config.schedule, config.seed));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
