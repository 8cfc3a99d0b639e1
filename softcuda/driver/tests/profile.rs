//! Counts by PTX line: as a call, and through `SOFTCUDA_PROFILE` and the program that uses it.

use cudarc::driver::{CudaContext, DevicePtr, LaunchConfig, PushKernelArg};
use nvcuda::client::{self, Class, KernelProfile};
use std::path::PathBuf;
use std::process::Command;

/// Every lane reads a word and stores it in a column: 32 sectors. Lane 0 adds one to the first word. Line 8 is `mov.u32`.
const PTX: &str = ".version 8.0
.target sm_80
.address_size 64
.visible .entry scatter(.param .u64 scatter_param_0)
{
    .reg .pred %p; .reg .b32 %r<5>; .reg .b64 %rd<6>;
    .loc 1 3 0
    mov.u32 %r1, %tid.x;
    ld.param.u64 %rd1, [scatter_param_0];
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    .loc 1 4 0
    ld.global.u32 %r2, [%rd3];
    mul.wide.u32 %rd4, %r1, 128;
    add.s64 %rd5, %rd1, %rd4;
    st.global.u32 [%rd5+4096], %r2;
    setp.ne.u32 %p, %r1, 0;
    @%p bra END;
    atom.global.add.u32 %r3, [%rd1], 1;
END:
    ret;
}
.file 1 \"scatter.cu\"
";

/// Launches the kernel `times` times with `blocks` blocks of 32 threads that do the same work.
fn launch(times: usize) {
    let context = CudaContext::new(0).unwrap();
    assert!(client::active());
    let stream = context.default_stream();
    let kernel = context.load_module(PTX.into()).unwrap().load_function("scatter").unwrap();
    let data = stream.alloc_zeros::<u32>(4096).unwrap();
    let (address, _guard) = data.device_ptr(&stream);
    let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
    for _ in 0..times {
        let mut launch = stream.launch_builder(&kernel);
        launch.arg(&address);
        // SAFETY: the buffer holds the 128 bytes read and the columns behind byte 4096.
        unsafe { launch.launch(config) }.unwrap();
    }
    stream.synchronize().unwrap();
}

fn check(profile: &KernelProfile, launches: u64) {
    assert_eq!((profile.launches, profile.stats.kernel.as_str()), (launches, "scatter"));
    let line = |start: &str| profile.lines.iter().find(|l| l.text.starts_with(start)).unwrap();
    let load = line("ld.global.u32 %r2");
    assert_eq!((load.line, load.class, load.source.as_deref()), (13, Class::Memory, Some("scatter.cu:4")));
    assert_eq!(PTX.lines().nth(load.line as usize - 1).unwrap().trim(), load.text);
    assert_eq!((load.counts.warps, load.counts.lanes), (launches, 32 * launches));
    assert_eq!((load.counts.loads.sectors, load.counts.loads.ideal_sectors), (4 * launches, 4 * launches));
    let store = line("st.global");
    assert_eq!((store.counts.stores.sectors, store.counts.stores.ideal_sectors), (32 * launches, 4 * launches));
    assert_eq!(line("@%p bra").counts.divergent, launches);
    let atomic = line("atom");
    assert_eq!((atomic.class, atomic.counts.lanes, atomic.counts.atomics), (Class::Atomic, launches, launches));
    assert_eq!(line("mov.u32").source.as_deref(), Some("scatter.cu:3"));
    // The lines are all there is.
    let sum = |figure: fn(&client::LineProfile) -> u64| profile.lines.iter().map(figure).sum::<u64>();
    assert_eq!(sum(|l| l.counts.warps), profile.stats.total_warp_instructions());
    assert_eq!(sum(|l| l.counts.lanes), profile.stats.total_lane_instructions());
    assert_eq!(sum(|l| l.counts.stores.sectors), profile.stats.global_store_sectors);
}

#[test]
fn lines_are_counted_for_the_client() {
    client::reset_counters();
    launch(3);
    let profiles = client::profiles();
    assert_eq!(profiles.len(), 1);
    check(&profiles[0], 3);
    assert_eq!(client::merged(&client::profiles_json()).unwrap(), profiles);
    assert_eq!(client::counters_of("scatter").launches, 3);
    assert!(client::counters_of("scatter").stats.lines.is_empty());
    client::reset_counters();
    assert!(client::profiles().is_empty());
}

/// The tests below run this one in processes of its own, where `SOFTCUDA_PROFILE` makes every launch count.
#[test]
fn without_counting_there_are_no_lines() {
    client::with_modes(|m| m.count = false, || launch(2));
    let lines = client::profiles()[0].lines.len();
    assert_eq!(lines == 0, std::env::var_os("SOFTCUDA_PROFILE").is_none());
}

/// A command that runs the test above.
fn child_words() -> Vec<String> {
    let program = std::env::current_exe().unwrap().display().to_string();
    [&program, "--exact", "without_counting_there_are_no_lines"].map(String::from).to_vec()
}

fn temporary(name: &str) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&file);
    file
}

#[test]
fn profiles_of_processes_are_added() {
    let file = temporary("profiles.jsonl");
    let words = child_words();
    let start = || Command::new(&words[0]).args(&words[1..]).env("SOFTCUDA_PROFILE", &file).spawn().unwrap();
    let processes = [start(), start(), start()];
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 3);
    let merged = client::merged(&text).unwrap();
    assert_eq!(merged.len(), 1);
    check(&merged[0], 6);
}

fn profile(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softcuda-profile"));
    let output = command.args(arguments).args(child_words()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_prints_the_hottest_lines() {
    let json = temporary("profile.json");
    let (code, out, err) = profile(&["--top", "2", "--kernel", "scat", "--json", json.to_str().unwrap(), "--"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("2 launches of scatter: 2 blocks"), "{out}");
    let sectors = out.rsplit_once("  sectors ").unwrap().1;
    let rows: Vec<&str> = sectors.lines().skip(1).take(3).collect();
    assert!(rows[0].contains("64   ") && rows[0].ends_with("st.global.u32 [%rd5+4096], %r2;"), "{out}");
    assert!(rows[1].ends_with("// scatter.cu:4"), "{out}");
    check(&client::merged(&std::fs::read_to_string(json).unwrap()).unwrap()[0], 2);
}

#[test]
fn the_program_says_when_there_is_nothing() {
    let (code, _, err) = profile(&["--kernel", "attend"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("none of the 1 kernels holds `attend` in its name"), "{err}");
    let run =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_softcuda-profile")).args(arguments).output().unwrap();
    let nothing = run(&["true"]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("the command ran no kernel on softcuda"));
    assert_eq!(run(&["--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert!(String::from_utf8_lossy(&run(&["--top"]).stderr).contains("--top needs a value"));
}
