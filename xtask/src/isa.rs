//! `cargo xtask isa`: what softcuda executes, and which tests were seen to execute it.

use crate::shell::{cargo, run, target};

const HELP: &str = "\
cargo xtask isa            writes docs/isa.md: the instructions, each with the tests that execute it; and the PTX that is
                           kept with the CUDA C++ programs of the tests
cargo xtask isa --forms    prints every form that was found in kernels of third parties, then every further one that
                           the tests run, each with the tests that execute it";

/// The command.
pub fn isa(arguments: &[String]) -> Result<(), String> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            // The PTX that is kept with the corpus first: the page tells what runs of it.
            tests("the_kept_ptx")?;
            tests("page::")?;
            println!("docs/isa.md");
            Ok(())
        }
        ["--forms"] => {
            tests("coverage::")?;
            let path = target().join("tmp/forms.txt");
            print!("{}", std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?);
            Ok(())
        }
        ["-h" | "--help"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => Err(HELP.to_string()),
    }
}

/// Runs the tests of a module, which write what they have seen.
fn tests(filter: &str) -> Result<(), String> {
    let mut command = cargo();
    command
        .args(["test", "--quiet", "-p", "softcuda-engine", "--test", "isa", "--", filter])
        .env("SOFTCUDA_WRITE", "1");
    // The output of this command is what the tests wrote.
    run(command.stdout(std::process::Stdio::null()))
}
