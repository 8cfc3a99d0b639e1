//! The picture of a tensor: |x| by token and channel, and the errors of 4-bit coding per tensor, per token and per channel.

use std::path::{Path, PathBuf};

use base64::Engine;
use lowbit::format::{Axis, Code, Scheme};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::raster::{Raster, png, write_png};
use crate::{Outcome, Tensor, formats};

const SIZE: (u32, u32) = (1560, 860);
/// Colours span these decades about the tensor's root mean square.
const DECADES: (f64, f64) = (-2.5, 1.5);

/// One column of the picture: magnitudes [tokens, channels], and what they are.
struct Panel {
    title: String,
    curve: String,
    size: Vec<f32>,
    /// Of each channel: the largest magnitude, or the root mean square of the error.
    by_channel: Vec<f64>,
}

/// A heat map and where it lies.
struct Heat {
    at: (i32, i32),
    size: (u32, u32),
    rgb: Vec<u8>,
}

/// Writes NAME.svg and NAME.png into `folder`; gives the files.
pub fn draw(tensor: &Tensor, folder: &Path) -> Outcome<Vec<PathBuf>> {
    let panels = panels(tensor)?;
    let name: String = tensor.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();

    let mut text = String::new();
    let heats = layout(SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), tensor, &panels)?;
    let end = text.rfind("</svg>").ok_or("the SVG has no end")?;
    let mut images = String::new();
    for Heat { at: (x, y), size: (width, height), rgb } in &heats {
        let data = base64::engine::general_purpose::STANDARD.encode(png(rgb, (*width, *height))?);
        images += &format!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{data}\"/>\n"
        );
    }
    text.insert_str(end, &images);
    let svg = folder.join(format!("{name}.svg"));
    std::fs::write(&svg, text)?;

    let mut rgb = vec![255u8; 3 * (SIZE.0 * SIZE.1) as usize];
    let heats = layout(Raster::new(&mut rgb, SIZE).into_drawing_area(), tensor, &panels)?;
    for Heat { at: (x, y), size: (width, height), rgb: heat } in &heats {
        for (row, line) in heat.chunks_exact(3 * *width as usize).enumerate().take(*height as usize) {
            let start = 3 * ((*y as usize + row) * SIZE.0 as usize + *x as usize);
            rgb[start..start + line.len()].copy_from_slice(line);
        }
    }
    let file = folder.join(format!("{name}.png"));
    write_png(&file, &rgb, SIZE)?;
    Ok(vec![svg, file])
}

fn panels(tensor: &Tensor) -> Outcome<Vec<Panel>> {
    let channels = tensor.channels();
    let column = |size: &[f32], c: usize| size[c..].iter().step_by(channels).map(|v| f64::from(*v)).collect::<Vec<_>>();
    let size: Vec<f32> = tensor.x.iter().map(|v| v.to_f32().abs()).collect();
    let power: f64 = size.iter().map(|v| f64::from(*v).powi(2)).sum();
    let amax = (0..channels).map(|c| column(&size, c).into_iter().fold(0.0, f64::max)).collect();
    let mut panels =
        vec![Panel { title: "|x|".into(), curve: "largest |x| of a channel".into(), size, by_channel: amax }];
    for (name, axis) in [("tensor", Axis::Tensor), ("token", Axis::Row), ("channel", Axis::Column)] {
        let y = formats::scheme(tensor, Scheme { code: Code::Int4, axis })?.y;
        let size: Vec<f32> = tensor.x.iter().zip(&y).map(|(x, y)| (x.to_f32() - y).abs()).collect();
        let square = |v: f64| v * v;
        let nmse = size.iter().map(|v| square(f64::from(*v))).sum::<f64>() / power.max(f64::MIN_POSITIVE);
        let rms = |c: usize| (column(&size, c).into_iter().map(square).sum::<f64>() / tensor.tokens as f64).sqrt();
        panels.push(Panel {
            title: format!("error, int4 per {name}: NMSE {nmse:.4}"),
            curve: "rms error of a channel".into(),
            by_channel: (0..channels).map(rms).collect(),
            size,
        });
    }
    Ok(panels)
}

/// Draws everything but the heat maps, and says where those go.
fn layout<DB: DrawingBackend>(root: DrawingArea<DB, Shift>, tensor: &Tensor, panels: &[Panel]) -> Outcome<Vec<Heat>>
where
    DB::ErrorType: 'static,
{
    root.fill(&WHITE)?;
    let Tensor { name, tokens, heads, head_dim, .. } = tensor;
    let title = format!("{name}: {tokens} tokens x {} channels ({heads} heads of {head_dim})", tensor.channels());
    root.draw_text(&title, &("sans-serif", 22).into_text_style(&root), (16, 8))?;
    let (_, body) = root.split_vertically(36);
    let (body, legend) = body.split_horizontally(SIZE.0 as i32 - 110);
    let square = |v: &f32| f64::from(*v).powi(2);
    let rms = (panels[0].size.iter().map(square).sum::<f64>() / tensor.x.len() as f64).sqrt().max(f64::MIN_POSITIVE);
    let floor = rms * 10f64.powf(DECADES.0);
    let top = panels[0].by_channel.iter().fold(rms, |most, v| most.max(*v)) * 1.5;
    let mut heats = Vec::new();
    for (panel, area) in panels.iter().zip(body.split_evenly((1, panels.len()))) {
        let (curve, map) = area.split_vertically(230);
        let channels = tensor.channels() as f64;
        let mut chart = ChartBuilder::on(&curve)
            .caption(&panel.curve, ("sans-serif", 15))
            .margin(6)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..channels, (floor..top).log_scale())?;
        let label = |v: &f64| format!("{v}");
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .label_style(("sans-serif", 12))
            .y_label_formatter(&label)
            .draw()?;
        let steps = panel.by_channel.iter().enumerate().flat_map(|(c, v)| {
            let (c, v) = (c as f64, v.max(floor));
            [(c, v), (c + 1.0, v)]
        });
        chart.draw_series(LineSeries::new(steps, RGBColor(0, 90, 160)))?;

        let mut chart = ChartBuilder::on(&map)
            .caption(&panel.title, ("sans-serif", 15))
            .margin(6)
            .x_label_area_size(40)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..channels, *tokens as f64..0.0)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .label_style(("sans-serif", 12))
            .x_labels(6)
            .x_desc("channel; tokens run downwards")
            .x_label_formatter(&|v| format!("{v:.0}"))
            .y_label_formatter(&|v| format!("{v:.0}"))
            .draw()?;
        let (x, y) = chart.plotting_area().get_pixel_range();
        heats.push(heat(tensor, &panel.size, rms, (x, y)));
    }
    colour_bar(&legend, rms)?;
    root.present()?;
    Ok(heats)
}

/// A colour for a magnitude, by its decade about the root mean square.
fn colour(size: f64, rms: f64) -> RGBColor {
    let decade = (size / rms).log10().clamp(DECADES.0, DECADES.1);
    ViridisRGB.get_color((decade - DECADES.0) / (DECADES.1 - DECADES.0))
}

/// The pixels of a heat map: each shows the largest of the elements under it.
fn heat(tensor: &Tensor, size: &[f32], rms: f64, (x, y): (std::ops::Range<i32>, std::ops::Range<i32>)) -> Heat {
    let (width, height, channels) = (x.len(), y.len(), tensor.channels());
    // The first element of a pixel, and one past its last.
    let span = |pixel: usize, pixels: usize, elements: usize| {
        let first = pixel * elements / pixels;
        first..((pixel + 1) * elements / pixels).max(first + 1)
    };
    let mut rgb = Vec::with_capacity(3 * width * height);
    for row in 0..height {
        for col in 0..width {
            let of_token = |t: usize| span(col, width, channels).map(move |c| size[t * channels + c]);
            let most = span(row, height, tensor.tokens).flat_map(of_token).fold(0f32, f32::max);
            let RGBColor(r, g, b) = colour(f64::from(most), rms);
            rgb.extend([r, g, b]);
        }
    }
    Heat { at: (x.start, y.start), size: (width as u32, height as u32), rgb }
}

/// The colours and what they mean: multiples of the tensor's root mean square.
fn colour_bar<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, rms: f64) -> Outcome<()>
where
    DB::ErrorType: 'static,
{
    let style = ("sans-serif", 12).into_text_style(area);
    let (top, height) = (290, 440);
    for row in 0..height {
        let decade = DECADES.1 + (DECADES.0 - DECADES.1) * f64::from(row) / f64::from(height - 1);
        let color = colour(rms * 10f64.powf(decade), rms);
        area.draw(&Rectangle::new([(8, top + row), (26, top + row + 1)], color.filled()))?;
    }
    for decade in [-2, -1, 0, 1] {
        let share = (DECADES.1 - f64::from(decade)) / (DECADES.1 - DECADES.0);
        let row = top + (share * f64::from(height - 1)).round() as i32;
        area.draw(&PathElement::new([(26, row), (31, row)], BLACK))?;
        area.draw_text(&format!("{} rms", 10f64.powi(decade)), &style, (34, row - 6))?;
    }
    area.draw_text(&format!("rms {rms:.3}"), &style, (8, top - 22))?;
    Ok(())
}
