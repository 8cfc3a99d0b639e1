//! The evaluation text: paragraphs unwrapped, short ones (headings) dropped, joined by blank lines.

use std::path::Path;

use anyhow::{Context, Result};

/// The bundled text: Jules Verne, *Around the World in Eighty Days*.
pub const BUNDLED: &str = include_str!("../../data/eighty_days.txt");
/// First words of the bundled text's first chapter; what stands before is front matter.
const OPENING: &str = "Mr. Phileas Fogg lived";
/// Paragraphs of end matter behind the bundled text.
const END_MATTER: usize = 30;
/// A paragraph of this many characters or fewer is a heading.
const HEADING: usize = 60;

/// The passages of `file`, or of the bundled text.
pub fn load(file: Option<&Path>) -> Result<String> {
    match file {
        None => Ok(passages(BUNDLED)),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{}: cannot be read as UTF-8 text", path.display()))?;
            Ok(passages(&text))
        }
    }
}

/// Unwraps paragraphs and joins them by blank lines. Of a text that contains the bundled book's opening, front and end matter are
/// left out, so that a copy of the book gives the same tokens as the bundled one.
fn passages(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}').replace('\r', "");
    let mut paragraphs: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.split('\n') {
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        match paragraphs.last_mut() {
            Some(last) if open && !words.is_empty() => {
                last.push(' ');
                last.push_str(&words);
            }
            _ if !words.is_empty() => paragraphs.push(words.clone()),
            _ => {}
        }
        open = !words.is_empty();
    }
    paragraphs.retain(|p| p.chars().count() > HEADING);
    if let Some(start) = paragraphs.iter().position(|p| p.starts_with(OPENING)) {
        paragraphs.truncate(paragraphs.len().saturating_sub(END_MATTER).max(start));
        paragraphs.drain(..start);
    }
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_unwrapped_and_headings_dropped() {
        let long = "word ".repeat(20);
        let text = format!("\u{feff}CHAPTER I\r\n\r\n{long}\r\n{long}\r\n \r\n\r\n{long}\n");
        let line = long.trim();
        assert_eq!(passages(&text), format!("{line} {line}\n\n{line}"));
    }

    #[test]
    fn the_bundled_text_is_what_token_offsets_are_counted_in() {
        let text = passages(BUNDLED);
        assert!(text.starts_with(OPENING));
        // Counted by the independent oracle that the accuracy limits come from.
        assert_eq!((text.chars().count(), text.split("\n\n").count()), (356118, 1189));
    }
}
