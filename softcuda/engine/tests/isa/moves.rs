//! Every form of `ld` and `st` that compilers were seen to emit, in a kernel of its own: bytes of a known pattern go through the form, and come
//! out as its type and its vector say.

use super::coverage::{Executed, forms, one_statement_a_line};
use super::gpu;
use softcuda_engine::ptx::Ty;
use softcuda_engine::{Config, Device, Launch, Model, Module};
use std::fmt::Write;

/// The forms of the list, and those with the orderings and hints that inline assembly adds.
fn all() -> Vec<String> {
    let listed = include_str!("../data/forms.txt").lines().filter_map(|l| l.split_once(' ')).map(|l| l.1.to_string());
    let mut all: Vec<String> = listed.filter(|f| f.starts_with("ld.") || f.starts_with("st.")).collect();
    all.retain(|f| !f.starts_with("st.param"));
    for ty in ["b8", "b16", "b32", "b64", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64"] {
        for (space, vector) in [("shared::cta", ""), ("shared::cluster", ""), ("local", ".v2"), ("global", ".v2")] {
            all.push(format!("ld.{space}{vector}.{ty}"));
            all.push(format!("st.{space}{vector}.{ty}"));
        }
    }
    all
}

/// Byte k of lane l.
fn pattern(lane: usize, k: usize) -> u8 {
    (0x9d + 37 * k + 101 * lane) as u8
}

/// State space, elements of the vector, their type.
fn parts(form: &str) -> (&str, usize, Ty) {
    let words: Vec<&str> = form.split('.').collect();
    let known = |w: &&&str| matches!(**w, "global" | "shared" | "shared::cta" | "shared::cluster" | "local" | "param");
    let space = words.iter().find(known).unwrap_or_else(|| panic!("{form} names no space"));
    let count = if words.contains(&"v2") {
        2
    } else if words.contains(&"v4") {
        4
    } else {
        1
    };
    (space, count, Ty::by_name(words[words.len() - 1]).unwrap_or_else(|| panic!("{form} ends with no type")))
}

/// The text of a kernel `k(bytes, out, data)`: lane l moves bytes 16 l .. of `data` (of its parameter `bytes` for `ld.param`) and writes four
/// u64: the elements read, or the 16 bytes behind what was written.
fn kernel(form: &str) -> String {
    let (space, count, ty) = parts(form);
    // Narrow elements live in wider registers.
    let (file, width) = match ty {
        Ty::F32 => ("%f", 32),
        Ty::F64 => ("%g", 64),
        t if t.bits() == 64 => ("%d", 64),
        _ => ("%r", 32),
    };
    let registers: Vec<String> = (0..count).map(|k| format!("{file}{k}")).collect();
    let operand = if count == 1 { registers[0].clone() } else { format!("{{{}}}", registers.join(", ")) };
    let address = match space {
        "global" => "[%out+32]",
        "local" => "[mine]",
        "param" => "[bytes+16]",
        _ => "[%s]",
    };
    let plain = if space.starts_with("shared") { "shared" } else { space };
    let mut text = String::from(
        ".version 8.5\n.target sm_90\n.address_size 64\n.visible .entry k(.param .align 16 .b8 bytes[32], .param .u64 out, .param .u64 data) {\n\
         .reg .b32 %r<8>, %w<8>, %lane, %s; .reg .f32 %f<8>; .reg .f64 %g<8>; .reg .b64 %d<8>, %out, %in, %t;\n\
         .shared .align 16 .b8 room[512]; .local .align 16 .b8 mine[16];\n\
         mov.u32 %lane, %tid.x; ld.param.u64 %out, [out]; ld.param.u64 %in, [data];\n\
         mad.wide.u32 %out, %lane, 64, %out; mad.wide.u32 %in, %lane, 16, %in; mov.u32 %s, room; mad.lo.u32 %s, %lane, 16, %s;\n\
         ld.global.v4.b32 {%w0, %w1, %w2, %w3}, [%in];\n",
    );
    if form.starts_with("ld") {
        if space != "param" {
            let _ = writeln!(text, "st.{plain}.v4.b32 {address}, {{%w0, %w1, %w2, %w3}};");
        }
        let _ = writeln!(text, "{form} {operand}, {address};");
        for (k, r) in registers.iter().enumerate() {
            let _ = match (width, file) {
                (32, "%f") => {
                    writeln!(text, "mov.b32 %w0, {r}; cvt.u64.u32 %t, %w0; st.global.u64 [%out+{}], %t;", 8 * k)
                }
                (32, _) => writeln!(text, "cvt.u64.u32 %t, {r}; st.global.u64 [%out+{}], %t;", 8 * k),
                _ => writeln!(text, "mov.b64 %t, {r}; st.global.u64 [%out+{}], %t;", 8 * k),
            };
        }
    } else {
        let _ = writeln!(text, "st.{plain}.v4.b32 {address}, {{0, 0, 0, 0}};");
        for (k, r) in registers.iter().enumerate() {
            let at = k * ty.bytes() as usize;
            let _ = match ty.bytes() {
                8 => writeln!(text, "ld.global.b64 %t, [%in+{at}]; mov.b64 {r}, %t;"),
                4 => writeln!(text, "ld.global.b32 %w4, [%in+{at}]; mov.b32 {r}, %w4;"),
                bytes => writeln!(text, "ld.global.u{} {r}, [%in+{at}];", 8 * bytes),
            };
        }
        let _ = writeln!(text, "{form} {address}, {operand};");
        let _ = writeln!(text, "ld.{plain}.v2.b64 {{%d6, %d7}}, {address}; st.global.v2.b64 [%out], {{%d6, %d7}};");
    }
    text + "ret;\n}\n"
}

/// The four u64 of a lane; `None` for what the form does not write.
fn want(form: &str, lane: usize) -> [Option<u64>; 4] {
    let (space, count, ty) = parts(form);
    let size = ty.bytes() as usize;
    if form.starts_with("st") {
        let byte = |k: usize| if k < count * size { pattern(lane, k) } else { 0 };
        let word = |n: usize| (0..8).fold(0, |w, k| w | u64::from(byte(8 * n + k)) << (8 * k));
        return [Some(word(0)), Some(word(1)), None, None];
    }
    // The parameter is the same for all lanes.
    let lane = if space == "param" { 1 } else { lane };
    std::array::from_fn(|n| {
        (n < count).then(|| {
            let value = (0..size).fold(0, |w, k| w | u64::from(pattern(lane, n * size + k)) << (8 * k));
            let spare = 64 - 8 * size;
            let extended = if ty.signed() { ((value << spare) as i64 >> spare) as u64 } else { value };
            if size == 8 { extended } else { extended & 0xffff_ffff }
        })
    })
}

/// Runs all forms; what is wrong.
pub fn execute(executed: &mut Executed) -> Vec<String> {
    let model = Model::by_name("sm_90").expect("a known name");
    let device = Device::new(Config { threads: 1, model, ..Config::default() });
    let (out, data) = (device.alloc(64 * 32).expect("memory"), device.alloc(16 * 32).expect("memory"));
    let bytes: Vec<u8> = (0..512).map(|k| pattern(k / 16, k % 16)).collect();
    device.write(data, &bytes).expect("in range");
    let mut params = bytes[..32].to_vec();
    params.extend([out, data].iter().flat_map(|p| p.to_le_bytes()));
    let mut wrong = Vec::new();
    for form in all() {
        let text = one_statement_a_line(&kernel(&form));
        let module = match Module::load(&device, &text) {
            Ok(module) => module,
            Err(e) => {
                wrong.push(format!("{form}: {e}"));
                continue;
            }
        };
        let mut before = vec![0; 64 * 32];
        device.read(out, &mut before).expect("in range");
        let launch = Launch { grid: [1; 3], block: [32, 1, 1], dynamic_shared: 0, params: &params, cooperative: false };
        match device.launch(&module, "k", launch) {
            Ok(stats) => executed.add(&forms(&text), &stats, "moves"),
            Err(report) => {
                wrong.push(format!("{form}: {report}"));
                continue;
            }
        }
        let mut got = vec![0; 64 * 32];
        device.read(out, &mut got).expect("in range");
        gpu::compare(&gpu::Launched {
            what: &form,
            text: &text,
            kernel: "k",
            grid: 1,
            block: 32,
            word: 8,
            arguments: &[
                gpu::Argument::Bytes(gpu::Bytes(std::array::from_fn(|k| bytes[k]))),
                gpu::Argument::Buffer { before: &before, after: &got },
                gpu::Argument::Buffer { before: &bytes, after: &bytes },
            ],
        });
        for lane in 0..32 {
            for (n, want) in want(&form, lane).into_iter().enumerate() {
                let at = 64 * lane + 8 * n;
                let got = u64::from_le_bytes(got[at..at + 8].try_into().expect("eight bytes"));
                if want.is_some_and(|w| w != got) {
                    wrong.push(format!("{form}: lane {lane}, element {n} is {got:#x}, want {want:x?}"));
                }
            }
        }
    }
    wrong
}

#[test]
fn bytes_come_out_as_the_type_says() {
    let wrong = execute(&mut Executed::default());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
