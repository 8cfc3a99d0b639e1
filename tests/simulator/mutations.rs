//! The PTX of the shipped kernels with a few words and lines changed: softcuda loads it or says why not, soon, and does not crash.

use crate::mutate;
use lowbit::runtime::images;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use softcuda_engine::{Checks, Config, Device, Module};
use std::time::{Duration, Instant};

/// Every kernel of every image as a module of its own: what stands before the first, and one entry. The longest ones stay out, of which a
/// few hundred cannot be loaded in a test, and those that call functions, which stand elsewhere.
fn kernels() -> Vec<String> {
    let mut list = Vec::new();
    for image in images() {
        let text = image.ptx().unwrap();
        let mut parts = text.split(".visible .entry ");
        let head = parts.next().unwrap().to_string();
        let entries = parts.map(|entry| entry.split(".file").next().unwrap());
        list.extend(
            entries
                .filter(|e| e.len() < 60_000 && !e.contains("call.uni"))
                .map(|e| format!("{head}.visible .entry {e}")),
        );
    }
    list
}

#[test]
fn spoiled_kernels_are_refused_or_loaded() {
    let kernels = kernels();
    assert!(kernels.len() > 50, "{}", kernels.len());
    let device = || Device::new(Config { checks: Checks::NONE, ..Config::default() });
    for kernel in kernels.iter().step_by(29) {
        Module::load(&device(), kernel).unwrap_or_else(|error| panic!("{error}"));
    }
    let end = Instant::now() + Duration::from_secs(12);
    let counts = std::cell::Cell::new((0, 0));
    let input = (prop::sample::select(kernels), prop::collection::vec(mutate::change(), 1..6));
    TestRunner::new(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })
        .run(&input, |(text, changes)| {
            if Instant::now() > end {
                return Ok(());
            }
            let text = changes.iter().fold(text, |text, change| change.apply(&text));
            let start = Instant::now();
            let (loaded, refused) = counts.get();
            match Module::load(&device(), &text) {
                Ok(_) => counts.set((loaded + 1, refused)),
                Err(error) => {
                    prop_assert!(!error.reason.is_empty());
                    counts.set((loaded, refused + 1));
                }
            }
            prop_assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
            Ok(())
        })
        .unwrap();
    let (loaded, refused) = counts.get();
    println!("{loaded} spoiled kernels loaded, {refused} were refused");
    assert!(loaded > 5 && refused > 20, "{loaded} loaded, {refused} refused");
}
