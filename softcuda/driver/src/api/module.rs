//! Module management. An image is PTX text; machine code is no image for this device.

use super::abi::{In, Out, Text};
use super::in_context;
use super::init;
use super::result::{CUresult, Done};
use crate::state::capture::enter_waiting;
use crate::state::context::Context;
use crate::state::module::LoadedModule;
use crate::state::{CUfunction, CUmodule, Driver, modes};
use softcuda_engine::{LoadErrorKind, Model, Module};
use std::ffi::c_char;

/// Why an image is refused: the code and the sentence for the JIT error log.
struct Refusal(CUresult, String);

/// `.version` and `.target` of a PTX text.
fn header(text: &str) -> (Option<(u32, u32)>, Option<&str>) {
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

fn load(driver: &Driver, context: &Context, image: &[u8]) -> Result<CUmodule, Refusal> {
    let refuse = |code, why: String| Err(Refusal(code, why));
    if image.starts_with(b"\x7fELF") || image.starts_with(&[0x50, 0xed, 0x55, 0xba]) {
        return refuse(CUresult::NO_BINARY_FOR_GPU, "the image is machine code; softcuda runs PTX".into());
    }
    let Ok(text) = std::str::from_utf8(image) else {
        return refuse(CUresult::INVALID_IMAGE, "the image is neither text nor a known binary".into());
    };
    let model = driver.model();
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
    match runs(target, &model) {
        Some(true) => {}
        Some(false) => {
            let why = format!("the PTX is for {target}, which does not run on the {} model", model.name);
            return refuse(CUresult::NO_BINARY_FOR_GPU, why);
        }
        None => return refuse(CUresult::INVALID_PTX, format!("unknown .target {target}")),
    }
    match modes::with(driver, || Module::load(&driver.device, text)) {
        Ok(module) if module.kernels().iter().any(|k| k.static_shared > model.default_shared_per_block) => {
            let most = model.default_shared_per_block;
            let large = module.kernels().iter().find(|k| k.static_shared > most).map_or("", |k| &k.name);
            refuse(
                CUresult::INVALID_PTX,
                format!("entry function {large} declares more than {most} bytes of shared memory"),
            )
        }
        Ok(module) => Ok(driver.modules.insert(LoadedModule::new(context.handle, module, text.to_string()))),
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
            refuse(code, error.to_string())
        }
    }
}

/// Loads and gives the handle; the log goes to the caller's JIT buffers.
fn load_into(out: Out<CUmodule>, image: &[u8], log: Option<JitLog>) -> CUresult {
    in_context(|driver, context| {
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        enter_waiting(context)?;
        match load(driver, context, image) {
            Ok(module) => {
                log.inspect(|l| l.write(&format!("softcuda: loaded for the {} model", driver.model().name), ""));
                out.set(module)
            }
            Err(Refusal(code, why)) => {
                log.inspect(|l| l.write("", &format!("ptx input: {why}")));
                Err(modes::explain(code, why))
            }
        }
    })
}

/// The log buffers among the options of `cuModuleLoadDataEx`. Sizes are passed in the option's value itself and come back there.
#[derive(Clone, Copy)]
struct JitLog {
    count: usize,
    numbers: In<u32>,
    values: Out<usize>,
}

/// Numbers of `CUjit_option`.
const WALL_TIME: u32 = 2;
const INFO: (u32, u32) = (3, 4);
const ERROR: (u32, u32) = (5, 6);

impl JitLog {
    fn write(&self, info: &str, error: &str) {
        let Ok(numbers) = self.numbers.slice(self.count) else { return };
        let position = |number| numbers.iter().position(|n| *n == number);
        for ((buffer, size), text) in [(INFO, info), (ERROR, error)] {
            let (Some(buffer), Some(size)) = (position(buffer), position(size)) else { continue };
            let (Ok(place), Ok(room)) = (self.values.at(buffer).get(), self.values.at(size).get()) else { continue };
            let room = room as u32 as usize;
            if place == 0 || room == 0 {
                continue;
            }
            let bytes = text.bytes().take(room - 1).chain([0]);
            Out::<c_char>::from_address(place).fill(bytes.map(|b| b as c_char), room);
            self.values.at(size).set_if_wanted(text.len().min(room - 1) + 1);
        }
        if let Some(i) = position(WALL_TIME) {
            self.values.at(i).cast::<f32>().set_if_wanted(0.0);
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadData(out: Out<CUmodule>, image: Text) -> CUresult {
    match image.bytes() {
        Ok(image) => load_into(out, image, None),
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadDataEx(
    out: Out<CUmodule>,
    image: Text,
    count: u32,
    options: In<u32>,
    values: Out<usize>,
) -> CUresult {
    match image.bytes() {
        Ok(image) => load_into(out, image, Some(JitLog { count: count as usize, numbers: options, values })),
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadFatBinary(out: Out<CUmodule>, image: Text) -> CUresult {
    cuModuleLoadData(out, image)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoad(out: Out<CUmodule>, path: Text) -> CUresult {
    let Ok(path) = path.str() else { return CUresult::INVALID_VALUE };
    match std::fs::read(path) {
        Ok(image) => load_into(out, image.strip_suffix(&[0]).unwrap_or(&image), None),
        Err(error) => modes::explain(CUresult::FILE_NOT_FOUND, format!("{path}: {error}")),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(handle: CUmodule) -> CUresult {
    in_context(|driver, context| {
        let module = find(driver, context, handle)?;
        enter_waiting(context)?;
        driver.modules.remove(handle);
        for function in module.handles() {
            driver.functions.remove(function);
        }
        Ok(())
    })
}

fn find(driver: &Driver, context: &Context, handle: CUmodule) -> Done<std::sync::Arc<LoadedModule>> {
    driver.modules.get(handle).filter(|m| m.context == context.handle).ok_or(CUresult::INVALID_HANDLE)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetFunction(out: Out<CUfunction>, module: CUmodule, name: Text) -> CUresult {
    in_context(|driver, context| {
        let name = name.str()?;
        out.set(driver.function(&find(driver, context, module)?, name)?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetFunctionCount(out: Out<u32>, module: CUmodule) -> CUresult {
    in_context(|driver, context| out.set(find(driver, context, module)?.module.kernels().len() as u32))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleEnumerateFunctions(out: Out<CUfunction>, count: u32, module: CUmodule) -> CUresult {
    in_context(|driver, context| {
        let module = find(driver, context, module)?;
        let names = module.module.kernels().iter().map(|k| driver.function(&module, &k.name));
        let handles = names.collect::<Done<Vec<_>>>()?;
        out.fill(handles, count as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetGlobal_v2(address: Out<u64>, bytes: Out<usize>, module: CUmodule, name: Text) -> CUresult {
    in_context(|driver, context| {
        let (at, size) = find(driver, context, module)?.module.global(name.str()?).ok_or(CUresult::NOT_FOUND)?;
        address.set_if_wanted(at);
        bytes.set_if_wanted(size as usize);
        Ok(())
    })
}

/// `CU_MODULE_EAGER_LOADING`.
#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetLoadingMode(out: Out<u32>) -> CUresult {
    super::entry(|| out.set(1))
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
