//! A plotters backend that draws into an image in memory: its text comes from a font that is compiled in, so a PNG looks the
//! same on every machine.

use std::convert::Infallible;
use std::path::Path;

use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, ascii};
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind};

use crate::Outcome;

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// An RGB image.
pub struct Raster<'a> {
    size: (u32, u32),
    rgb: &'a mut [u8],
}

impl<'a> Raster<'a> {
    /// Over `3 * width * height` bytes.
    pub const fn new(rgb: &'a mut [u8], size: (u32, u32)) -> Self {
        Raster { size, rgb }
    }
}

/// A PNG of RGB bytes.
pub fn png(rgb: &[u8], (width, height): (u32, u32)) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(bytes)
}

/// Writes a PNG of RGB bytes.
pub fn write_png(path: &Path, rgb: &[u8], size: (u32, u32)) -> Outcome<()> {
    Ok(std::fs::write(path, png(rgb, size)?)?)
}

fn font(size: f64) -> &'static MonoFont<'static> {
    match size as u32 {
        0..=13 => &ascii::FONT_6X13,
        14..=17 => &ascii::FONT_8X13,
        _ => &ascii::FONT_10X20,
    }
}

/// One colour; what lies outside is left away.
struct Ink<'b, 'a> {
    raster: &'b mut Raster<'a>,
    color: BackendColor,
}

impl OriginDimensions for Ink<'_, '_> {
    fn size(&self) -> Size {
        Size::new(self.raster.size.0, self.raster.size.1)
    }
}

impl DrawTarget for Ink<'_, '_> {
    type Color = embedded_graphics::pixelcolor::BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Self::Color>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            if color.is_on() {
                self.raster.put((point.x, point.y), self.color);
            }
        }
        Ok(())
    }
}

impl Raster<'_> {
    fn put(&mut self, (x, y): BackendCoord, color: BackendColor) {
        let (width, height) = self.size;
        if x < 0 || y < 0 || x >= width as i32 || y >= height as i32 {
            return;
        }
        let at = 3 * (y as usize * width as usize + x as usize);
        let (r, g, b) = color.rgb;
        for (old, new) in self.rgb[at..at + 3].iter_mut().zip([r, g, b]) {
            *old = (f64::from(*old) * (1.0 - color.alpha) + f64::from(new) * color.alpha).round() as u8;
        }
    }
}

impl DrawingBackend for Raster<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        self.put(point, color);
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Drawn {
        let (width, height) = self.estimate_text_size(text, style)?;
        let left = match style.anchor().h_pos {
            HPos::Left => 0,
            HPos::Center => width as i32 / 2,
            HPos::Right => width as i32,
        };
        let up = match style.anchor().v_pos {
            VPos::Top => 0,
            VPos::Center => height as i32 / 2,
            VPos::Bottom => height as i32,
        };
        let ink = MonoTextStyle::new(font(style.size()), embedded_graphics::pixelcolor::BinaryColor::On);
        let mut target = Ink { color: style.color(), raster: self };
        let Ok(_) = Text::with_baseline(text, Point::new(x - left, y - up), ink, Baseline::Top).draw(&mut target);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let cell = font(style.size()).character_size;
        Ok((cell.width * text.chars().count() as u32, cell.height))
    }
}
