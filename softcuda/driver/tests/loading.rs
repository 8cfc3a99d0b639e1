//! Which driver a process gets: with and without an installed one, and by wish. The installed driver is played by a small C library.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A driver with `devices` devices in a folder of its own, under the name of a real driver's file.
fn installed(devices: i32, file: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("driver-{devices}-{file}"));
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join("driver.c");
    let text = format!(
        "#include <string.h>\n\
         int cuInit(unsigned flags) {{ return {devices} ? 0 : 100; }}\n\
         int cuDeviceGetCount(int *count) {{ *count = {devices}; return 0; }}\n\
         int cuDeviceGetName(char *name, int room, int device) {{ strncpy(name, \"played GPU\", room); return 0; }}\n"
    );
    std::fs::write(&source, text).unwrap();
    let soname = "-Wl,-soname,libcuda.so.1";
    let cc = Command::new("cc").args(["-shared", "-fPIC", soname, "-o"]).arg(folder.join(file)).arg(&source).status();
    assert!(cc.expect("a C compiler, which Rust links with").success());
    folder
}

/// What the program prints with a driver folder on its path and a wish.
fn which(folder: Option<&Path>, wish: Option<&str>) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_softcuda-which"));
    program.env_remove("LD_LIBRARY_PATH").env_remove("LOWBIT_DEVICE").env_remove("SOFTCUDA_DEVICE");
    if let Some(folder) = folder {
        program.env("LD_LIBRARY_PATH", folder);
    }
    if let Some(wish) = wish {
        program.env("LOWBIT_DEVICE", wish);
    }
    let output = program.output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    String::from_utf8(text).unwrap().trim().to_string()
}

const SOFTCUDA: &str = "softcuda (sm_89 model); softcuda: true";
const PLAYED: &str = "played GPU; softcuda: false";

#[test]
fn without_a_driver_softcuda_is_found_beside_the_executable() {
    assert_eq!(which(None, None), SOFTCUDA);
    assert_eq!(which(None, Some("softcuda")), SOFTCUDA);
}

#[test]
fn a_driver_with_a_device_stays_unless_softcuda_is_wished() {
    for file in ["libcuda.so.1", "libcuda.so"] {
        let folder = installed(1, file);
        assert_eq!(which(Some(&folder), None), PLAYED);
        assert_eq!(which(Some(&folder), Some("gpu")), PLAYED);
        assert_eq!(which(Some(&folder), Some("softcuda")), SOFTCUDA);
    }
}

#[test]
fn a_driver_without_a_device_gives_way() {
    for file in ["libcuda.so.1", "libcuda.so"] {
        let folder = installed(0, file);
        assert_eq!(which(Some(&folder), None), SOFTCUDA);
    }
}

#[test]
fn wishes_that_mean_nothing_are_refused() {
    assert_eq!(which(None, Some("gpu")), "none: no driver; softcuda: false");
    assert!(which(None, Some("tpu")).contains("LOWBIT_DEVICE=tpu: expected softcuda or gpu"));
}

#[test]
fn an_outdated_copy_refuses_to_run() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outdated");
    std::fs::create_dir_all(folder.join("deps")).unwrap();
    let built = std::env::current_exe().unwrap().with_file_name("libnvcuda.so");
    let (old, new) = (folder.join("libnvcuda.so"), folder.join("deps/libnvcuda.so"));
    for copy in [&old, &new] {
        std::fs::copy(&built, copy).unwrap();
    }
    let hour = std::time::Duration::from_secs(3600);
    let age = |file: &Path, time| std::fs::File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
    let now = std::time::SystemTime::now();
    age(&old, now - hour);
    age(&new, now);
    assert_eq!(which(Some(&folder), Some("gpu")), "none: the driver answers [803, 3]; softcuda: true");
    age(&old, now);
    assert_eq!(which(Some(&folder), Some("gpu")), SOFTCUDA);
}

#[test]
fn a_program_outside_cargo_finds_softcuda_by_links() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("links");
    std::fs::create_dir_all(&folder).unwrap();
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    for name in ["libcuda.so", "libcuda.so.1"] {
        let _ = std::fs::remove_file(folder.join(name));
        std::os::unix::fs::symlink(deps.join("libnvcuda.so"), folder.join(name)).unwrap();
    }
    assert_eq!(which(Some(&folder), Some("gpu")), SOFTCUDA, "ensure loads nothing here, the links do");
    assert_eq!(which(Some(&folder), None), SOFTCUDA);
}
