//! NVIDIA's headers as a second opinion on softcuda. `cuda_fp16.h`, `cuda_bf16.h` and `cuda_fp8.h` hold every function several times: as code for
//! the host, as integer code for devices without the instruction, and as the instruction. softcuda runs the latter two, and all must agree:
//! every 16-bit input of each function in `headers/functions.h`, with several second operands or lower halves.

use crate::compiler::{self, output};
use softcuda_engine::{Checks, Config, Device, Launch, Model, Module};
use std::path::Path;
use std::process::Command;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/simulator/headers");

/// One function: values for 65536 numbers in each round.
struct Function {
    name: String,
    rounds: usize,
    /// What NaN looks like in its result.
    result: String,
}

/// The functions' values by the host compiler.
fn host(nvcc: &Path, folder: &Path) -> (Vec<Function>, Vec<u32>) {
    let (program, values) = (folder.join("host"), folder.join("host.values"));
    let cxx = std::env::var("CXX").unwrap_or_else(|_| "g++".into());
    // Without contraction: the headers mean each operation to round.
    let flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-I"];
    let source = Path::new(SOURCES).join("host.cpp");
    output(Command::new(cxx).args(flags).arg(compiler::include(nvcc)).arg(source).arg("-o").arg(&program));
    let list = String::from_utf8(output(Command::new(&program).arg(&values))).unwrap();
    let functions = list.lines().map(|line| {
        let [name, rounds, result] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        Function { name: name.into(), rounds: rounds.parse().unwrap(), result: result.into() }
    });
    let bytes = std::fs::read(&values).unwrap();
    std::fs::remove_file(&values).unwrap();
    (functions.collect(), bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect())
}

/// The functions' values by softcuda, from PTX for a target, on a device of that target.
fn device(nvcc: &Path, folder: &Path, target: &str, functions: &[Function]) -> Vec<u32> {
    let ptx = folder.join(format!("{target}.ptx"));
    let arch = format!("-arch=compute_{target}");
    output(
        Command::new(nvcc)
            .args(["-std=c++17", "--ptx", &arch, "-I", SOURCES, "-o"])
            .arg(&ptx)
            .arg(format!("{SOURCES}/device.cu")),
    );
    let model = Model::by_name(&format!("sm_{target}")).unwrap();
    let device = Device::new(Config { model, checks: Checks::NONE, count: false, ..Config::default() });
    let module = Module::load(&device, &std::fs::read_to_string(&ptx).unwrap()).unwrap();
    let mut all = Vec::new();
    for Function { name, rounds, .. } in functions {
        let bytes = 4 * 65536 * rounds;
        let out = device.alloc(bytes as u64).unwrap();
        let (grid, params) = ([256, *rounds as u32, 1], out.to_le_bytes());
        let launch = Launch { grid, block: [256, 1, 1], dynamic_shared: 0, params: &params, cooperative: false };
        device.launch(&module, name, launch).unwrap_or_else(|report| panic!("{report}"));
        let mut values = vec![0; bytes];
        device.read(out, &mut values).unwrap();
        device.free(out).unwrap();
        all.extend(values.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())));
    }
    all
}

/// The value with every NaN the same.
fn without_payload(bits: u32, result: &str) -> u32 {
    let half = |bits: u32, infinity: u32| if bits & 0x7fff > infinity { 0x7fff } else { bits };
    let pair = |infinity| half(bits & 0xffff, infinity) | half(bits >> 16, infinity) << 16;
    match result {
        "EXACT" => bits,
        "F32" if bits & 0x7fff_ffff > 0x7f80_0000 => 0x7fff_ffff,
        "F32" => bits,
        "E4M3" if bits & 0x7f == 0x7f => 0x7f,
        "E5M2" if bits & 0x7f > 0x7c => 0x7f,
        "E4M3" | "E5M2" => bits,
        "F16" | "F16X2" => pair(0x7c00),
        "BF16" | "BF16X2" => pair(0x7f80),
        other => panic!("{other}"),
    }
}

/// Compares two lists of values; gives the functions whose NaN differ in their payloads, and fails on any other difference.
fn payloads_that_differ(functions: &[Function], [one, other]: [&[u32]; 2], what: &str) -> Vec<String> {
    assert_eq!(one.len(), other.len());
    let (mut at, mut differing, mut wrong) = (0, Vec::new(), Vec::new());
    for Function { name, rounds, result } in functions {
        let range = at..at + 65536 * rounds;
        at = range.end;
        if one[range.clone()] == other[range.clone()] {
            continue;
        }
        let same = |&k: &usize| without_payload(one[k], result) == without_payload(other[k], result);
        let bad: Vec<usize> = range.clone().filter(|k| !same(k)).collect();
        match bad.first() {
            None => differing.push(name.clone()),
            Some(&k) => {
                let (round, a) = ((k - range.start) / 65536, (k - range.start) % 65536);
                let count = bad.len();
                wrong.push(format!(
                    "{name}: {count}, first of {a:#06x} in round {round}: {:#x}, {:#x}",
                    one[k], other[k]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    differing
}

#[test]
fn host_code_integer_code_and_instructions_agree() {
    let Some(nvcc) = compiler::nvcc() else { return };
    let folder = compiler::folder("simulator_headers");
    let (functions, host) = host(&nvcc, &folder);
    let [ampere, ada, hopper] = ["80", "89", "90"].map(|target| device(&nvcc, &folder, target, &functions));

    // The targets differ where it matters: conversions of 8-bit floats are instructions since compute_89, those of integers and bf16 since 90.
    let instructions = |target: &str| {
        let ptx = std::fs::read_to_string(folder.join(format!("{target}.ptx"))).unwrap();
        ["e4m3x2.f32", "f16x2.e5m2x2", "cvt.rn.bf16.s32", "cvt.f32.bf16"].map(|part| ptx.contains(part))
    };
    assert_eq!(instructions("80"), [false; 4]);
    assert_eq!(instructions("89"), [true, true, false, false]);
    assert_eq!(instructions("90"), [true; 4]);

    // Of NaN only the payload may differ. It does where one side moves bits and the other computes: `cvt.f32.bf16` gives the canonical NaN and the
    // shift of compute_80 does not; `neg` and `abs` likewise, where the host flips or clears the sign; and the f64 NaN of devices is negative,
    // that of the host keeps its operand's sign, which the 8-bit NaN takes over.
    let differing = [
        (payloads_that_differ(&functions, [&ampere, &ada], "compute_80 and compute_89"), vec![]),
        (payloads_that_differ(&functions, [&ampere, &hopper], "compute_80 and compute_90"), vec!["bf16_to_float"]),
        (
            payloads_that_differ(&functions, [&host, &ampere], "the host and compute_80"),
            vec!["double_to_e4m3", "double_to_e5m2", "half_neg_abs", "bf16_neg_abs"],
        ),
    ];
    for (found, known) in differing {
        assert_eq!(found, known);
    }
    println!("{} functions, {} values each way", functions.len(), host.len());
}
