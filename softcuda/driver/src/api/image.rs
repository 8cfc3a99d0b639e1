//! Images that modules, libraries and links are made of: PTX text for the model's GPU, or a refusal with its code and its sentence for the
//! JIT error log. Machine code is no image for this device.

use super::abi::{In, Out};
use super::init;
use super::result::{CUresult, Done};
use crate::state::{Driver, modes};
use softcuda_engine::{LoadErrorKind, Model, Module};
use std::ffi::c_char;

/// Why an image is refused: the code and the sentence for the JIT error log.
pub struct Refusal(pub CUresult, pub String);

/// `.version` and `.target` of a PTX text.
pub fn header(text: &str) -> (Option<(u32, u32)>, Option<&str>) {
    let words = |directive: &str| {
        let mut lines = text.lines().map(|l| l.split("//").next().unwrap_or("").trim());
        lines.find_map(|l| l.strip_prefix(directive)).map(str::trim)
    };
    let version = words(".version").and_then(|v| {
        let (major, minor) = v.split_once('.')?;
        Some((major.trim().parse().ok()?, minor.trim().parse().ok()?))
    });
    (version, words(".target").and_then(|t| t.split(',').next()).map(str::trim))
}

/// Whether code for `target` runs on the model: `sm_80` on 8.0 and above, `sm_90a` on 9.0 only, `sm_100f` within its major version.
fn runs(target: &str, model: &Model) -> Option<bool> {
    let number = target.strip_prefix("sm_").or(target.strip_prefix("compute_"))?;
    let digits = number.trim_end_matches(['a', 'f']);
    let cc: u32 = digits.parse().ok()?;
    let (major, minor) = model.compute_capability;
    let have = 10 * major + minor;
    Some(match &number[digits.len()..] {
        "" => cc <= have,
        "a" => cc == have,
        _ => cc <= have && cc / 10 == major,
    })
}

/// The image as PTX text that the model's GPU takes, by what its header says.
pub fn ptx<'a>(image: &'a [u8], model: &Model) -> Result<&'a str, Refusal> {
    let refuse = |code, why: String| Err(Refusal(code, why));
    if image.starts_with(b"\x7fELF") || image.starts_with(&[0x50, 0xed, 0x55, 0xba]) {
        return refuse(CUresult::NO_BINARY_FOR_GPU, "the image is machine code; softcuda runs PTX".into());
    }
    let Ok(text) = std::str::from_utf8(image) else {
        return refuse(CUresult::INVALID_IMAGE, "the image is neither text nor a known binary".into());
    };
    let (version, target) = header(text);
    let Some((version, target)) = version.zip(target) else {
        let code = if text.contains(".version") { CUresult::INVALID_PTX } else { CUresult::INVALID_IMAGE };
        return refuse(code, "no .version and .target: not PTX".into());
    };
    let newest = (init::VERSION as u32 / 1000 - 4, init::VERSION as u32 % 1000 / 10);
    if version > newest {
        let why =
            format!("Unsupported .version {}.{}; current version is '{}.{}'", version.0, version.1, newest.0, newest.1);
        return refuse(CUresult::UNSUPPORTED_PTX_VERSION, why);
    }
    match runs(target, model) {
        Some(true) => Ok(text),
        Some(false) => {
            let why = format!("the PTX is for {target}, which does not run on the {} model", model.name);
            refuse(CUresult::NO_BINARY_FOR_GPU, why)
        }
        None => refuse(CUresult::INVALID_PTX, format!("unknown .target {target}")),
    }
}

/// Makes the text executable; its variables are placed in the device's memory.
pub fn compile(driver: &Driver, text: &str) -> Result<Module, Refusal> {
    match modes::with(driver, || Module::load(&driver.device, text)) {
        Ok(module) => Ok(module),
        Err(error) => {
            let code = match error.kind {
                LoadErrorKind::Target => CUresult::NO_BINARY_FOR_GPU,
                LoadErrorKind::Memory => CUresult::OUT_OF_MEMORY,
                LoadErrorKind::Syntax | LoadErrorKind::Undefined => CUresult::INVALID_PTX,
                LoadErrorKind::Unsupported => {
                    let text = format!("softcuda: unsupported: {error}");
                    eprintln!("{text}");
                    modes::keep_report(text);
                    CUresult::INVALID_PTX
                }
            };
            Err(Refusal(code, error.to_string()))
        }
    }
}

/// The result of work on an image: its log goes to the caller's JIT buffers, its refusal becomes the code.
pub fn logged<T>(driver: &Driver, log: Option<&JitLog>, result: Result<T, Refusal>) -> Done<T> {
    let (info, error) = match &result {
        Ok(_) => (format!("softcuda: loaded for the {} model", driver.model().name), String::new()),
        Err(Refusal(_, why)) => (String::new(), format!("ptx input: {why}")),
    };
    if let Some(log) = log {
        log.write(&info, &error);
    }
    result.map_err(|Refusal(code, why)| modes::explain(code, why))
}

/// The log buffers among JIT options. Sizes are passed in the option's value itself and come back there.
pub struct JitLog {
    numbers: Vec<u32>,
    /// Address of the values. A link state keeps it, and the program keeps the values as long.
    values: usize,
}

/// Numbers of `CUjit_option`.
const WALL_TIME: u32 = 2;
const INFO: (u32, u32) = (3, 4);
const ERROR: (u32, u32) = (5, 6);

impl JitLog {
    pub fn new(count: u32, numbers: In<u32>, values: Out<usize>) -> Done<JitLog> {
        let numbers = numbers.slice(count as usize)?.to_vec();
        if count > 0 && values.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        Ok(JitLog { numbers, values: values.address() })
    }

    fn write(&self, info: &str, error: &str) {
        let values = Out::<usize>::from_address(self.values);
        let position = |number| self.numbers.iter().position(|n| *n == number);
        for ((buffer, size), text) in [(INFO, info), (ERROR, error)] {
            let (Some(buffer), Some(size)) = (position(buffer), position(size)) else { continue };
            let (Ok(place), Ok(room)) = (values.at(buffer).get(), values.at(size).get()) else { continue };
            let room = room as u32 as usize;
            if place == 0 || room == 0 {
                continue;
            }
            let bytes = text.bytes().take(room - 1).chain([0]);
            Out::<c_char>::from_address(place).fill(bytes.map(|b| b as c_char), room);
            values.at(size).set_if_wanted(text.len().min(room - 1) + 1);
        }
        if let Some(i) = position(WALL_TIME) {
            values.at(i).cast::<f32>().set_if_wanted(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_found_among_comments() {
        let text = "//\n// Generated by x\n\n.version 8.7 // v\n.target sm_90a, debug\n.address_size 64\n";
        assert_eq!(header(text), (Some((8, 7)), Some("sm_90a")));
        assert_eq!(header("no ptx"), (None, None));
    }

    #[test]
    fn targets_run_where_their_suffix_allows() {
        let model = |name| Model::by_name(name).unwrap();
        assert_eq!(runs("sm_80", &model("sm_89")), Some(true));
        assert_eq!(runs("sm_89", &model("sm_80")), Some(false));
        assert_eq!(runs("sm_90a", &model("sm_90")), Some(true));
        assert_eq!(runs("sm_80a", &model("sm_89")), Some(false));
        assert_eq!(runs("gfx90a", &model("sm_89")), None);
    }
}
