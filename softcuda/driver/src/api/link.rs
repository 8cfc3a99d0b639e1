//! `cuLink*`: the JIT linker. Inputs are PTX.

use super::abi::{Host, In, Out, Text};
use super::image::{JitLog, Refusal, compile, logged, ptx};
use super::result::{CUresult, Done};
use super::{entry, in_context};
use crate::state::link::{Link, merge};
use crate::state::table::{Handle, lock};
use crate::state::{Driver, driver, modes};
use std::sync::{Arc, Mutex, OnceLock};

pub type CUlinkState = Handle<Link>;

/// `CU_JIT_INPUT_PTX`, and the last number of `CUjitInputType`.
const PTX: u32 = 1;
const LAST_INPUT: u32 = 5;

#[unsafe(no_mangle)]
pub extern "C" fn cuLinkCreate_v2(count: u32, numbers: In<u32>, values: Out<usize>, out: Out<CUlinkState>) -> CUresult {
    in_context(|driver, _| {
        if out.is_null() {
            return Err(CUresult::INVALID_VALUE);
        }
        let log = JitLog::new(count, numbers, values)?;
        out.set(driver.links.insert(Link { log, inputs: Mutex::default(), image: OnceLock::new() }))
    })
}

fn find(state: CUlinkState) -> Done<(&'static Driver, Arc<Link>)> {
    let driver = driver()?;
    Ok((driver, driver.links.get(state).ok_or(CUresult::INVALID_HANDLE)?))
}

fn add(state: CUlinkState, kind: u32, image: &[u8]) -> CUresult {
    entry(|| {
        let (driver, link) = find(state)?;
        if kind > LAST_INPUT || link.image.get().is_some() {
            return Err(CUresult::INVALID_VALUE);
        }
        let image = image.strip_suffix(&[0]).unwrap_or(image);
        let text = match kind {
            PTX => ptx(image, &driver.model()),
            _ => Err(Refusal(
                CUresult::NO_BINARY_FOR_GPU,
                "only PTX can be linked; softcuda runs no machine code".into(),
            )),
        };
        lock(&link.inputs).push(logged(driver, Some(&link.log), text)?.to_string());
        Ok(())
    })
}

/// Options of one input are those of the whole link here.
#[unsafe(no_mangle)]
pub extern "C" fn cuLinkAddData_v2(
    state: CUlinkState,
    kind: u32,
    data: Host,
    size: usize,
    _name: Text,
    _count: u32,
    _numbers: In<u32>,
    _values: Out<usize>,
) -> CUresult {
    if data.0.is_null() { CUresult::INVALID_VALUE } else { add(state, kind, data.bytes(size)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLinkAddFile_v2(
    state: CUlinkState,
    kind: u32,
    path: Text,
    _count: u32,
    _numbers: In<u32>,
    _values: Out<usize>,
) -> CUresult {
    let Ok(path) = path.str() else { return CUresult::INVALID_VALUE };
    match std::fs::read(path) {
        Ok(image) => add(state, kind, &image),
        Err(error) => modes::explain(CUresult::FILE_NOT_FOUND, format!("{path}: {error}")),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLinkComplete(state: CUlinkState, image: Out<*const u8>, size: Out<usize>) -> CUresult {
    entry(|| {
        let (driver, link) = find(state)?;
        if link.image.get().is_none() {
            let merged = merge(&lock(&link.inputs));
            let checked = merged.and_then(|text| compile(driver, &text).map(|_| text));
            let mut bytes = logged(driver, Some(&link.log), checked)?.into_bytes();
            bytes.push(0);
            link.image.get_or_init(|| bytes.into());
        }
        let finished = link.image.get().ok_or(CUresult::UNKNOWN)?;
        image.set(finished.as_ptr())?;
        size.set_if_wanted(finished.len());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuLinkDestroy(state: CUlinkState) -> CUresult {
    entry(|| driver()?.links.remove(state).map(|_| ()).ok_or(CUresult::INVALID_HANDLE))
}
