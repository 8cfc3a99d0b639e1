//! Linking: several PTX texts become one. The result is PTX as well, and counts as the "cubin" of the API: what a program may do with one
//! is load it.

use crate::api::image::{JitLog, Refusal, header};
use crate::api::result::CUresult;
use std::sync::{Mutex, OnceLock};

/// `CUlinkState`.
pub struct Link {
    pub log: JitLog,
    pub inputs: Mutex<Vec<String>>,
    /// The finished image with its NUL, which the program reads until it destroys the state.
    pub image: OnceLock<Box<[u8]>>,
}

/// One text of all inputs: the newest `.version` and the highest `.target`, then the inputs without theirs. An `.extern` declaration of a
/// variable that another input defines is left out.
pub fn merge(inputs: &[String]) -> Result<String, Refusal> {
    let headers: Vec<_> = inputs.iter().map(|text| header(text)).collect();
    let version = headers.iter().filter_map(|h| h.0).max();
    let target = headers
        .iter()
        .filter_map(|h| h.1)
        .max_by_key(|t| t.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok());
    let (Some((major, minor)), Some(target)) = (version, target) else {
        return Err(Refusal(CUresult::INVALID_VALUE, "nothing to link".into()));
    };
    if let [only] = inputs {
        return Ok(only.clone());
    }
    let mut text = format!(".version {major}.{minor}\n.target {target}\n.address_size 64\n");
    let defined: Vec<&str> = inputs.iter().flat_map(|i| i.lines()).filter_map(definition).collect();
    for line in inputs.iter().flat_map(|input| input.lines()) {
        let is_header = [".version", ".target", ".address_size"].iter().any(|d| line.trim_start().starts_with(d));
        let resolved = variable(line, ".extern").is_some_and(|name| defined.contains(&name));
        if !is_header && !resolved {
            text += line;
            text += "\n";
        }
    }
    Ok(text)
}

/// The name of a variable that a line makes visible to other modules.
fn definition(line: &str) -> Option<&str> {
    variable(line, ".visible").or_else(|| variable(line, ".weak"))
}

/// The name of a `.global` or `.const` variable with this linkage: the last word before `[`, `=` or `;`.
fn variable<'a>(line: &'a str, linkage: &str) -> Option<&'a str> {
    let rest = line.trim_start().strip_prefix(linkage)?.trim_start();
    let rest = rest.strip_prefix(".global").or_else(|| rest.strip_prefix(".const"))?;
    rest.split(['[', '=', ';']).next()?.split_whitespace().last()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

    #[test]
    fn texts_become_one() {
        let a = format!("{HEADER}.extern .global .align 4 .u32 scale;\n.extern .global .u32 elsewhere;\nA\n");
        let b = ".version 8.3\n.target sm_89, debug\n.address_size 64\n.visible .global .align 4 .u32 scale = 3;\nB\n";
        let merged = merge(&[a, b.into()]).unwrap_or_else(|_| panic!("both have headers"));
        let expected = ".version 8.3\n.target sm_89\n.address_size 64\n.extern .global .u32 elsewhere;\nA\n\
            .visible .global .align 4 .u32 scale = 3;\nB\n";
        assert_eq!(merged, expected);
        assert!(merge(&[]).is_err());
    }

    #[test]
    fn names_of_variables() {
        assert_eq!(variable(".extern .global .align 16 .b8 table[];", ".extern"), Some("table"));
        assert_eq!(variable(".extern .shared .align 16 .b8 stage[];", ".extern"), None);
        assert_eq!(definition(".visible .const .u32 x = 3;"), Some("x"));
        assert_eq!(definition(".visible .entry f("), None);
    }
}
