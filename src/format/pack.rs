//! Codes of fewer than 8 bits in bytes, least significant bits first.

/// Reads code `index` of a row packed least significant bits first.
pub fn unpack(row: &[u8], bits: usize, index: usize) -> u8 {
    let bit = index * bits;
    (row[bit / 8] >> (bit % 8)) & (0xFF >> (8 - bits))
}

/// Writes code `index` of a row packed least significant bits first; the other bits of its byte stay.
pub fn pack(row: &mut [u8], bits: usize, index: usize, code: u8) {
    let (bit, mask) = (index * bits, 0xFF >> (8 - bits));
    let byte = &mut row[bit / 8];
    *byte = (*byte & !(mask << (bit % 8))) | ((code & mask) << (bit % 8));
}
