//! Words of PTX. An identifier takes its dots with it (`ld.global.u32`, `%tid.x`); a word that starts with a dot is a directive.

use crate::module::{LoadError, LoadErrorKind};

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Identifier, register or mnemonic.
    Ident,
    /// `.word`
    Directive,
    /// Starts with a digit.
    Number,
    /// Quoted text without its quotes.
    Text,
    /// One character.
    Punct(u8),
    /// The end.
    End,
}

/// A word.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// Byte offset in the source.
    pub at: usize,
    /// Line, from 1.
    pub line: u32,
}

/// Splits a source into words; the last is `End`.
pub fn lex(source: &str) -> Result<Vec<Token<'_>>, LoadError> {
    let bytes = source.as_bytes();
    let word = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%');
    let mut tokens = Vec::with_capacity(source.len() / 4);
    let (mut i, mut line) = (0, 1);
    let refuse = |line: u32, text: &str, reason: &str| LoadError {
        line,
        text: text.into(),
        reason: reason.into(),
        kind: LoadErrorKind::Syntax,
    };
    while i < bytes.len() {
        let (c, next) = (bytes[i], bytes.get(i + 1).copied().unwrap_or(0));
        let at = i;
        let kind = match c {
            b'\n' => {
                line += 1;
                i += 1;
                continue;
            }
            b' ' | b'\t' | b'\r' => {
                i += 1;
                continue;
            }
            0 => break,
            b'/' if next == b'/' => {
                while i < bytes.len() && bytes[i] != b'\n' {
                    i += 1;
                }
                continue;
            }
            b'/' if next == b'*' => {
                let end = source[i..].find("*/").ok_or_else(|| refuse(line, "/*", "comment without an end"))?;
                line += bytes[i..i + end].iter().filter(|&&b| b == b'\n').count() as u32;
                i += end + 2;
                continue;
            }
            b'"' => {
                let end = source[i + 1..].find('"').ok_or_else(|| refuse(line, "\"", "text without an end"))?;
                tokens.push(Token { kind: Kind::Text, text: &source[i + 1..i + 1 + end], at, line });
                line += bytes[i + 1..i + 1 + end].iter().filter(|&&b| b == b'\n').count() as u32;
                i += end + 2;
                continue;
            }
            b'.' if next.is_ascii_alphabetic() || next == b'_' => {
                i += 1;
                while i < bytes.len() && word(bytes[i]) {
                    i += 1;
                }
                Kind::Directive
            }
            b'0'..=b'9' => {
                let hex = c == b'0' && matches!(next, b'x' | b'X' | b'f' | b'F' | b'd' | b'D');
                while i < bytes.len() {
                    let exponent = !hex && matches!(bytes[i], b'+' | b'-') && matches!(bytes[i - 1], b'e' | b'E');
                    if !(bytes[i].is_ascii_alphanumeric() || bytes[i] == b'.' || (exponent && i > at)) {
                        break;
                    }
                    i += 1;
                }
                Kind::Number
            }
            _ if word(c) => {
                while i < bytes.len() {
                    let dot = bytes[i] == b'.' && bytes.get(i + 1).is_some_and(|&b| word(b));
                    let colons = bytes[i..].starts_with(b"::") && bytes.get(i + 2).is_some_and(|&b| word(b));
                    if !(word(bytes[i]) || dot || colons) {
                        break;
                    }
                    i += if colons { 2 } else { 1 };
                }
                Kind::Ident
            }
            _ if c.is_ascii_punctuation() => {
                i += 1;
                Kind::Punct(c)
            }
            _ => {
                let found = source[i..].chars().next().unwrap_or(' ');
                return Err(refuse(line, &found.to_string(), "character that PTX does not have"));
            }
        };
        tokens.push(Token { kind, text: &source[at..i], at, line });
    }
    tokens.push(Token { kind: Kind::End, text: "", at: source.len(), line });
    Ok(tokens)
}
