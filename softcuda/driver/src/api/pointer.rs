//! Unified addressing: what a pointer is.

use super::abi::{In, Out};
use super::in_context;
use super::result::{CUresult, Done};
use crate::state::allocation::{Allocation, Origin};
use crate::state::{CUcontext, Driver};
use std::ffi::{c_int, c_void};

#[unsafe(no_mangle)]
pub extern "C" fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, address: u64) -> CUresult {
    in_context(|driver, _| {
        let a = driver.allocations.holding(address).ok_or(CUresult::NOT_FOUND)?;
        base.set_if_wanted(a.address);
        bytes.set_if_wanted(a.bytes);
        Ok(())
    })
}

/// One attribute by its number in `CUpointer_attribute`, each with the type that the API gives it.
fn attribute(a: &Allocation, attribute: u32, address: u64, out: Out<c_void>) -> Done {
    let host = a.origin != Origin::Device;
    match attribute {
        1 => out.cast::<CUcontext>().set(a.context),
        2 => out.cast::<u32>().set(if a.origin == Origin::Host || a.origin == Origin::Registered { 1 } else { 2 }),
        3 => out.cast::<u64>().set(address),
        4 if host => out.cast::<u64>().set(address),
        6 => out.cast::<u32>().set(1),
        7 => out.cast::<u64>().set(a.address),
        8 => out.cast::<u32>().set((a.origin == Origin::Managed).into()),
        9 => out.cast::<c_int>().set(0),
        10 | 15 => out.cast::<u32>().set(0),
        11 => out.cast::<u64>().set(a.address),
        12 => out.cast::<usize>().set(a.bytes),
        13 => out.cast::<u32>().set(1),
        14 => out.cast::<u64>().set(0),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

fn find(driver: &Driver, address: u64) -> Done<Allocation> {
    driver.allocations.holding(address).ok_or(CUresult::INVALID_VALUE)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuPointerGetAttribute(out: Out<c_void>, number: u32, address: u64) -> CUresult {
    in_context(|driver, _| attribute(&find(driver, address)?, number, address, out))
}

/// As the one-attribute form, but a pointer that is nobody's gives zeros.
#[unsafe(no_mangle)]
pub extern "C" fn cuPointerGetAttributes(
    count: u32,
    numbers: In<u32>,
    outs: In<Out<c_void>>,
    address: u64,
) -> CUresult {
    in_context(|driver, _| {
        let known = find(driver, address).ok();
        for (number, out) in numbers.slice(count as usize)?.iter().zip(outs.slice(count as usize)?) {
            match &known {
                Some(a) => attribute(a, *number, address, *out).or_else(|_| out.cast::<u32>().set(0))?,
                None => out.cast::<u32>().set(0)?,
            }
        }
        Ok(())
    })
}

/// Copies are synchronous as it is.
#[unsafe(no_mangle)]
pub extern "C" fn cuPointerSetAttribute(_value: In<c_void>, number: u32, address: u64) -> CUresult {
    in_context(|driver, _| {
        find(driver, address)?;
        if number == 6 { Ok(()) } else { Err(CUresult::INVALID_VALUE) }
    })
}
