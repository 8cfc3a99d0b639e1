//! `cuMemset*`.

use super::in_context;
use super::result::CUresult;
use crate::state::CUstream;
use crate::state::capture::enter_waiting;
use crate::state::work::{Fill, Work};

/// Checks the range and submits the fill. A fill without a stream goes to the legacy stream.
fn fill(fill: Fill, stream: Option<CUstream>) -> CUresult {
    in_context(|driver, context| {
        if !fill.address.is_multiple_of(fill.size as u64) || (fill.rows > 1 && fill.pitch < fill.count * fill.size) {
            return Err(CUresult::INVALID_VALUE);
        }
        if fill.count == 0 || fill.rows == 0 {
            return Ok(());
        }
        if stream.is_none() {
            enter_waiting(context)?;
        }
        let stream = context.stream(driver, stream.unwrap_or(CUstream::NULL))?;
        driver.submit(context, &stream, Work::Fill(fill))
    })
}

fn linear(address: u64, value: u32, size: usize, count: usize) -> Fill {
    Fill { address, value, size, count, rows: 1, pitch: count.saturating_mul(size) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8_v2(address: u64, value: u8, count: usize) -> CUresult {
    fill(linear(address, value.into(), 1, count), None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD16_v2(address: u64, value: u16, count: usize) -> CUresult {
    fill(linear(address, value.into(), 2, count), None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD32_v2(address: u64, value: u32, count: usize) -> CUresult {
    fill(linear(address, value, 4, count), None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(address: u64, value: u8, count: usize, stream: CUstream) -> CUresult {
    fill(linear(address, value.into(), 1, count), Some(stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD16Async(address: u64, value: u16, count: usize, stream: CUstream) -> CUresult {
    fill(linear(address, value.into(), 2, count), Some(stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD32Async(address: u64, value: u32, count: usize, stream: CUstream) -> CUresult {
    fill(linear(address, value, 4, count), Some(stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD2D8_v2(address: u64, pitch: usize, value: u8, width: usize, height: usize) -> CUresult {
    fill(Fill { address, value: value.into(), size: 1, count: width, rows: height, pitch }, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD2D16_v2(address: u64, pitch: usize, value: u16, width: usize, height: usize) -> CUresult {
    fill(Fill { address, value: value.into(), size: 2, count: width, rows: height, pitch }, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD2D32_v2(address: u64, pitch: usize, value: u32, width: usize, height: usize) -> CUresult {
    fill(Fill { address, value, size: 4, count: width, rows: height, pitch }, None)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD2D8Async(
    address: u64,
    pitch: usize,
    value: u8,
    width: usize,
    height: usize,
    stream: CUstream,
) -> CUresult {
    fill(Fill { address, value: value.into(), size: 1, count: width, rows: height, pitch }, Some(stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD2D16Async(
    address: u64,
    pitch: usize,
    value: u16,
    width: usize,
    height: usize,
    stream: CUstream,
) -> CUresult {
    fill(Fill { address, value: value.into(), size: 2, count: width, rows: height, pitch }, Some(stream))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD2D32Async(
    address: u64,
    pitch: usize,
    value: u32,
    width: usize,
    height: usize,
    stream: CUstream,
) -> CUresult {
    fill(Fill { address, value, size: 4, count: width, rows: height, pitch }, Some(stream))
}
