//! The kernel images embedded by the build script, and which of them a device runs.
//!
//! PTX for `compute_80` runs on every device of capability 8.0 or more, so the choice is: the highest target that
//! does not exceed the device's capability. A target with a letter (`90a`) is tied to its exact capability and is
//! taken only there.

use std::io::Read;

use crate::error::{Error, Result};

/// The most memory that unpacking an image may take, KiB: its window is 4 MiB.
const MEMORY_KIB: u32 = 16 << 10;

/// One `.cu` file compiled for one target.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Image {
    /// Path of the `.cu` file under `kernels/`, without its suffix: `quantize/int8`.
    pub module: &'static str,
    /// The target without its prefix: `80` for `compute_80`.
    pub target: &'static str,
    ptx: Ptx,
}

/// Where the text is.
#[derive(Clone, Copy)]
enum Ptx {
    /// In the format of `.lzma` files.
    Compressed(&'static [u8]),
    /// A file that is read when the text is asked for; see `LOWBIT_PTX_EXTERNAL` in the build script.
    #[allow(dead_code)] // The build script writes one or the other.
    File(&'static str),
}

impl Image {
    /// The PTX text; none if the image is damaged.
    pub fn ptx(&self) -> Option<String> {
        match self.ptx {
            Ptx::Compressed(bytes) => {
                let mut text = String::new();
                let mut reader = lzma_rust2::LzmaReader::new_mem_limit(bytes, MEMORY_KIB, None).ok()?;
                reader.read_to_string(&mut text).ok()?;
                Some(text)
            }
            Ptx::File(file) => std::fs::read_to_string(file).ok(),
        }
    }

    /// Bytes that the image takes in the program.
    pub fn embedded_bytes(&self) -> usize {
        match self.ptx {
            Ptx::Compressed(bytes) => bytes.len(),
            Ptx::File(_) => 0,
        }
    }
}

include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// Every embedded image, in the order of module and target; empty when the crate was built without nvcc.
pub fn images() -> &'static [Image] {
    IMAGES
}

/// The compiler that made the images (last line of `nvcc --version`), or where the build looked for one.
pub fn build_note() -> &'static str {
    BUILD_NOTE
}

/// A target as (capability as major * 10 + minor, needs exactly this capability).
fn target_capability(target: &str) -> Option<(u32, bool)> {
    let digits = target.trim_end_matches(|c: char| c.is_ascii_lowercase());
    Some((digits.parse().ok()?, digits.len() != target.len()))
}

/// The image of `module` for a device of this capability (8.6 is 86).
pub(crate) fn choose<'a>(images: &'a [Image], module: &'static str, capability: u32) -> Result<&'a Image> {
    if images.is_empty() {
        return Err(Error::NotBuilt { searched: BUILD_NOTE.to_string() });
    }
    let of_module = || images.iter().filter(|image| image.module == module);
    let fits = |image: &&Image| match target_capability(image.target) {
        Some((target, true)) => target == capability,
        Some((target, false)) => target <= capability,
        None => false,
    };
    of_module().filter(fits).max_by_key(|image| target_capability(image.target)).ok_or_else(|| {
        let targets: Vec<_> = of_module().map(|image| image.target).collect();
        let supported = match targets.is_empty() {
            true => "no image of it is embedded".to_string(),
            false => format!("images for compute_{}", targets.join(", compute_")),
        };
        Error::unsupported(module, format!("a device of compute capability {}", capability_text(capability)), supported)
    })
}

/// 86 -> "8.6".
pub(crate) fn capability_text(capability: u32) -> String {
    format!("{}.{}", capability / 10, capability % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn image(target: &'static str) -> Image {
        Image { module: "a/b", target, ptx: Ptx::Compressed(&[]) }
    }

    #[test]
    fn the_highest_target_not_above_the_device_is_chosen() {
        let images = [image("80"), image("89"), image("90a"), image("90")];
        for (capability, expected) in
            [(80, "80"), (86, "80"), (89, "89"), (90, "90a"), (100, "90"), (120, "90"), (87, "80")]
        {
            assert_eq!(choose(&images, "a/b", capability).map(|i| i.target), Ok(expected), "capability {capability}");
        }
    }

    #[test]
    fn no_fitting_image_is_an_error_that_lists_the_targets() {
        let error = choose(&[image("80"), image("89")], "a/b", 75).err().unwrap();
        assert_eq!(
            error.to_string(),
            "a/b: a device of compute capability 7.5 is not supported; supported: images for compute_80, compute_89"
        );
        let error = choose(&[image("80")], "a/c", 80).err().unwrap();
        assert!(error.to_string().contains("no image of it is embedded"), "{error}");
        assert!(matches!(choose(&[], "a/b", 80), Err(Error::NotBuilt { .. })));
    }
}
