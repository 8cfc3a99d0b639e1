//! Text that no compiler wrote: a module, or an error that names its reason; soon, in little memory, and never a crash.

#[path = "../fuzz/harness.rs"]
mod harness;
mod mutate;

use proptest::prelude::*;
use softcuda_engine::{Config, Device, LoadErrorKind, Module};
use std::path::Path;
use std::time::{Duration, Instant};

/// For one text; a limit against running away on a busy machine, not a measure of speed.
const SOON: Duration = Duration::from_secs(60);

const HEAD: &str = ".version 8.5\n.target sm_80\n.address_size 64\n";

/// Every file under the corpora of the fuzz targets.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for target in ["load", "run"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn the_corpus_of_the_fuzz_targets_neither_crashes_nor_hangs() {
    let files = corpus();
    let (mut loaded, mut refused) = (0, 0);
    for (name, bytes) in &files {
        let start = Instant::now();
        match harness::run(bytes) {
            Ok(_) => loaded += 1,
            Err(_) => refused += 1,
        }
        assert!(start.elapsed() < SOON, "{name} took {:?}", start.elapsed());
    }
    assert!(loaded > 20 && refused > 20, "{loaded} loaded, {refused} refused: the corpus holds both");
}

/// A kernel around statements.
fn kernel(body: &str) -> String {
    format!("{HEAD}.visible .entry k(.param .u64 p)\n{{\n.reg .b32 %r<4>;\n{body}\nret;\n}}\n")
}

/// Refused, with these words in the reason.
fn refused(what: &str, text: &str, kind: LoadErrorKind, reason: &str) {
    let start = Instant::now();
    let error = harness::load(text.as_bytes()).err().unwrap_or_else(|| panic!("{what} was loaded"));
    assert!(start.elapsed() < SOON, "{what} took {:?}", start.elapsed());
    assert_eq!(error.kind, kind, "{what}: {error}");
    assert!(error.reason.contains(reason), "{what}: {error}");
    assert!(error.to_string().chars().count() < 3000, "{what}: a message is read by people");
}

/// Loaded, and its kernels run to some end.
fn runs(what: &str, text: &str) {
    let start = Instant::now();
    harness::run(text.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(start.elapsed() < SOON, "{what} took {:?}", start.elapsed());
}

#[test]
fn sizes_beyond_the_device_are_refused_and_not_allocated() {
    use LoadErrorKind::{Memory, Syntax};
    let variable = |text: &str| format!("{HEAD}{text};\n.visible .entry k() {{ ret; }}\n");
    refused(".global of 100 GB", &variable(".global .b8 x[107374182400]"), Memory, "out of device memory");
    refused(".const of 100 GB", &variable(".const .b8 x[107374182400]"), Syntax, "bytes of .const variables");
    refused("size past 2^64", &variable(".global .b64 x[4294967296][4294967296]"), Syntax, "an array of this size");
    refused(
        "element count past 2^63",
        &variable(".global .b8 x[9223372036854775808]"),
        Syntax,
        "an array of this size",
    );
    refused("negative size", &variable(".global .b8 x[-1]"), Syntax, "an array of this size");
    refused(".align 3", &variable(".global .align 3 .b8 x[8]"), Syntax, "power of two");
    for space in [".shared", ".local"] {
        let text = kernel(&format!("{space} .align 4 .b8 x[107374182400]; mov.u32 %r1, x;"));
        refused(&format!("{space} of 100 GB"), &text, Syntax, &format!("{space} variables"));
    }
    let text = kernel(".shared .b8 x[40000]; .shared .b8 y[40000]; mov.u32 %r1, y;");
    refused("80 KB of static shared memory", &text, Syntax, "more than 49152 bytes of .shared variables");
    let param = |size: &str| format!("{HEAD}.visible .entry k(.param .align 8 .b8 p[{size}]) {{ ret; }}\n");
    refused("a parameter of 4 GB", &param("4294967296"), Syntax, "more than 32764 bytes of .param variables");
    runs("a parameter of 32 KB", &param("32764"));
    refused(
        "four thousand million registers",
        &kernel(".reg .b32 %x<4294967295>;"),
        Syntax,
        "registers in one function",
    );
    refused("vectors of them", &kernel(".reg .v4 .b32 %x<400000>;"), Syntax, "registers in one function");
    runs("a million registers", &kernel(".reg .b32 %x<1000000>; mov.b32 %x999999, 1;"));
    runs("a million elements", &variable(&format!(".global .b32 x[] = {{{}0}}", "0,".repeat(999_999))));
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kilobytes < 4 << 20, "{kilobytes} KB of memory at the peak");
    }
}

#[test]
fn nesting_and_length_have_limits() {
    use LoadErrorKind::{Syntax, Undefined, Unsupported};
    for open in ["{", "(", "[", "!", "-"] {
        refused(open, &kernel(&format!("mov.b32 %r1, {};", open.repeat(1_000_000))), Syntax, "");
    }
    refused("blocks", &kernel(&"{".repeat(1_000_000)), Syntax, "nested too deep");
    let text = format!("{HEAD}.global .b32 x[] = {};", "{".repeat(1_000_000));
    refused("initialisers", &text, Syntax, "nested more than");
    let text = kernel(&format!("mov.b32 {{{}%r1}}, %r1;", "%r1,".repeat(200_000)));
    refused("a vector of 200000", &text, Syntax, "not a vector of 200001");
    refused("a name of a megabyte", &kernel(&format!("mov.b32 %r{}, 1;", "1".repeat(1 << 20))), Syntax, "");
    refused(
        "a megabyte of modifiers",
        &kernel(&format!("add{} %r1, %r1, 1;", ".s32".repeat(1 << 18))),
        Unsupported,
        "",
    );
    refused("a number of a megabyte", &kernel(&format!("mov.b32 %r1, {};", "9".repeat(1 << 20))), Syntax, "constant");
    // Branches backwards through 20000 blocks, each with a register of its own that is live all the way.
    let blocks: String = (0..20_000).map(|n| format!("L{n}: bra L{};\n", (n + 1) % 20_000)).collect();
    runs("20000 blocks", &kernel(&blocks));
    let declared = (0..3_000).map(|n| format!(".reg .b32 %x{n}; .reg .pred %p{n};\n")).collect::<String>();
    let jumps = |n: usize| format!("B{n}: setp.eq.s32 %p{n}, %x{n}, 1; @%p{n} bra B{};\n", (n * 7 + 1) % 3_000);
    runs("3000 live registers", &kernel(&(declared + &(0..3_000).map(jumps).collect::<String>())));

    let call = |from: String, to: &str| format!(".func {from}() {{ {to} ret; }}\n");
    let chain: String = (1..=20_000)
        .map(|n| call(format!("f{n}"), &if n > 1 { format!("call f{};", n - 1) } else { String::new() }))
        .collect();
    runs("a chain of 20000 functions", &format!("{HEAD}{chain}.visible .entry k() {{ call f20000; ret; }}"));
    let doubled: String = (1..=60)
        .map(|n| call(format!("f{n}"), &if n > 1 { format!("call f{0}; call f{0};", n - 1) } else { String::new() }))
        .collect();
    runs(
        "60 functions that each call the next twice",
        &format!("{HEAD}{doubled}.visible .entry k() {{ call f60; ret; }}"),
    );
    let cycle = [call("a".into(), "call b;"), call("b".into(), "call c;"), call("c".into(), "call a;")].concat();
    let text = format!(".func a();\n{cycle}.visible .entry k() {{ call a; ret; }}");
    // Ends when the stack is full.
    runs("a cycle of calls", &format!("{HEAD}{text}"));
    // So does this one, whose frames are the registers that every call puts aside.
    let (set, used): (String, String) =
        (0..2_000).map(|n| (format!("mov.b64 %x{n}, %clock64;\n"), format!("xor.b64 %x0, %x0, %x{n};\n"))).unzip();
    let wide = format!(".func a() {{ .reg .b64 %x<2000>; {set} call a; {used} st.local.b64 [0], %x0; ret; }}");
    runs("a cycle of wide calls", &format!("{HEAD}{wide}.visible .entry k() {{ call a; ret; }}"));
    refused("an unknown function", &kernel("call nobody;"), Undefined, "not defined");
    let twice = call("a".into(), "");
    refused("a function twice", &format!("{HEAD}{twice}{twice}"), Syntax, "defined twice, the first time in line 4");
    // Each kernel has the functions it calls to itself: the text is short, the module would not be.
    let long = call("a".into(), &"bar.sync 0;".repeat(20_000));
    let kernels: String = (0..400).map(|n| format!(".visible .entry k{n}() {{ call a; ret; }}\n")).collect();
    refused("eight million instructions", &format!("{HEAD}{long}{kernels}"), LoadErrorKind::Memory, "instructions");
}

#[test]
fn texts_that_break_off_or_contradict_themselves_are_refused() {
    use LoadErrorKind::{Syntax, Undefined};
    for (what, text, reason) in [
        ("nothing", String::new(), ".version and .target"),
        ("NULs", "\0\0\0\0".into(), ".version and .target"),
        ("a comment", format!("{HEAD}/* {}", "x\n".repeat(9)), "comment without an end"),
        ("a text", format!("{HEAD}.file 1 \"x"), "text without an end"),
        ("a pragma", format!("{HEAD}.pragma \"x\""), "before the end of the text"),
        ("a pragma in a body", format!("{HEAD}.entry k() {{ .pragma \"x\""), "before the end of the text"),
        ("an attribute", format!("{HEAD}.global .attribute(.managed"), "before the end of the text"),
        ("a section", format!("{HEAD}.section .x {{"), "block without an end"),
        ("a body", format!("{HEAD}.entry k() {{"), "starts no statement"),
        ("parameters", format!("{HEAD}.entry k(.param .u64 p"), "expected"),
        ("an instruction", format!("{HEAD}.entry k() {{ add.s32"), "not an operand"),
        ("an initialiser", format!("{HEAD}.global .u32 x = {{1,"), "not a constant"),
        ("no UTF-8", format!("{HEAD}.entry k() {{ \u{fffd}ret; }}"), "character that PTX does not have"),
        ("another script", kernel("mov.b32 %r1, \u{661};"), "character that PTX does not have"),
        ("a control character", kernel("\u{1}"), "character that PTX does not have"),
        ("a label twice", kernel("L: L: bra L;"), "stands twice"),
        ("a register twice", kernel(".reg .b32 %r<9>;"), "declared twice"),
        ("a variable twice", format!("{HEAD}.global .u32 x; .global .u32 x;"), "exists already"),
        ("a number too large", kernel("mov.b32 %r1, 99999999999999999999;"), "not a constant"),
        ("a float of nine digits", kernel("mov.b32 %r1, 0f123456789;"), "not a constant"),
        ("a hex number without digits", kernel("mov.b32 %r1, 0x;"), "not a constant"),
        ("a version beyond measure", ".version 4294967295.9\n.target sm_80\n".into(), "malformed .version"),
        ("too many values", format!("{HEAD}.global .u32 x[2] = {{1,2,3}};"), "more initial values"),
        ("results of a kernel", format!("{HEAD}.entry (.reg .u32 r) k() {{ ret; }}"), "a kernel has no results"),
        ("threads past 2^32", format!("{HEAD}.entry k() .maxntid 4294967296 {{ ret; }}"), "expected a number"),
    ] {
        refused(what, &text, Syntax, reason);
    }
    for target in ["0", "()", "L", "{%r1, %r2}", "[%r1]", "%tid.x", "_", "(), 0, ()", "%r1|%r2", "k+4"] {
        refused(target, &kernel(&format!("L: call {target};")), Syntax, "a call names a function");
    }
    for call in
        ["vprintf", "vprintf, ()", "(r), vprintf, (p)", "vprintf, (p, p)", "(r), vprintf, (p, r)", "__assertfail"]
    {
        let text = kernel(&format!(".param .b64 p; .param .b32 r; call {call};"));
        refused(call, &text, Syntax, "bytes and results of");
    }
    refused("a label that is nowhere", &kernel("bra L;"), Undefined, "not a label");
    refused("a register past the last", &kernel("mov.b32 %r99999999999, 1;"), Syntax, "must be a register");
    refused("a register past the last, read", &kernel("mov.b32 %r1, %r4;"), Undefined, "not declared");
    runs("the largest offset", &kernel("ld.global.u32 %r1, [0+9223372036854775807];"));
    runs("the smallest offset", &kernel("ld.global.u32 %r1, [0+-9223372036854775807];"));
    runs("a block size past 2^32", &format!("{HEAD}.entry k() .maxntid 65536, 65536, 65536 {{ ret; }}"));
    runs("no return", &format!("{HEAD}.func f() {{ trap; }}\n.entry k() {{ }}\n.entry l() {{ bra END; END: }}"));
}

#[test]
fn a_kernel_without_a_return_ends_at_its_brace() {
    // Without an end of its own the kernel would run on into the function behind it, which traps.
    let text = format!(
        "{HEAD}.func f() {{ trap; }}\n.visible .entry k() {{ .reg .pred p; setp.eq.s32 p, 0, 1; @p call f; @p bra END; END: }}"
    );
    assert_eq!(harness::run(text.as_bytes()).unwrap(), [None]);
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest::test_runner::TestRunner::new(config)
}

#[test]
fn random_bytes_and_random_words_are_refused_or_loaded() {
    const WORDS: [&str; 48] = [
        ".version",
        "8.5",
        ".target",
        "sm_80",
        ".entry",
        ".func",
        "k",
        "f",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "<",
        ">",
        ",",
        ";",
        ":",
        "|",
        "!",
        "@",
        "-",
        "+",
        "=",
        "_",
        ".reg",
        ".b32",
        ".u64",
        ".pred",
        ".v4",
        "%r",
        "%r1",
        "%p1",
        "%tid.x",
        "0",
        "7",
        "0x",
        "4294967295",
        ".shared",
        ".param",
        "mov.b32",
        "add.s32",
        "ld.global.v4.f32",
        "bra",
        "call",
        "ret",
        "mma.sync",
    ];
    let mut runner = runner(2000);
    let soup = prop::collection::vec(prop::sample::select(&WORDS[..]), 0..120).prop_map(|w| w.join(" ").into_bytes());
    let body =
        prop::collection::vec(prop::sample::select(&WORDS[..]), 0..60).prop_map(|w| kernel(&w.join(" ")).into_bytes());
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    runner
        .run(&prop_oneof![soup, body, bytes], |input| {
            let _ = harness::run(&input);
            Ok(())
        })
        .unwrap();
}

#[test]
fn mutated_ptx_is_refused_or_loaded_and_runs_to_some_end() {
    // What loads unchanged: PTX of nvcc, hand-written kernels of the other tests, parts of the shipped kernels.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let of = |name: &str| std::fs::read_dir(folder.join(name)).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    let mut texts: Vec<String> = [of("data"), of("planted"), of("correct")]
        .concat()
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "ptx"))
        .map(|p| std::fs::read_to_string(p).unwrap())
        .collect();
    texts.extend(corpus().into_iter().filter_map(|(_, b)| String::from_utf8(b).ok()));
    let device = Device::new(Config::default());
    texts.retain(|t| Module::load(&device, t).is_ok());
    texts.sort();
    assert!(texts.len() > 50, "{}", texts.len());
    let mut runner = runner(1500);
    let changes = prop::collection::vec(mutate::change(), 1..6);
    let input = (prop::sample::select(texts), changes);
    let end = Instant::now() + Duration::from_secs(12);
    let (mut loaded, mut refused) = (0, 0);
    let counts = std::cell::RefCell::new((&mut loaded, &mut refused));
    runner
        .run(&input, |(text, changes)| {
            if Instant::now() > end {
                return Ok(());
            }
            let text = changes.iter().fold(text, |text, change| change.apply(&text));
            let start = Instant::now();
            let mut counts = counts.borrow_mut();
            match harness::run(text.as_bytes()) {
                Ok(_) => *counts.0 += 1,
                Err(_) => *counts.1 += 1,
            }
            prop_assert!(start.elapsed() < SOON, "took {:?}", start.elapsed());
            Ok(())
        })
        .unwrap();
    println!("{loaded} mutants loaded and ran, {refused} were refused");
    assert!(loaded > 20 && refused > 20, "{loaded} loaded, {refused} refused");
}
