//! What the cursor takes, a full parser takes too, and reads alike. What it leaves to others has something
//! that it says it leaves.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use sluicegate::dialects::json::{elements, members};
use sluicegate_fuzz::Members;

fuzz_target!(|text: &str| {
    let mut found = Vec::new();
    let ours = members(text.as_bytes(), |name, value| {
        found.push((name, value));
        Some(())
    });
    let theirs = serde_json::from_str::<Members<'_, &RawValue>>(text).ok();
    match (ours, &theirs) {
        (Some(()), Some(Members(theirs))) => {
            let theirs = theirs.iter().map(|(name, raw)| (name.as_bytes(), raw.get().as_bytes()));
            assert!(theirs.eq(found));
        }
        (Some(()), None) => panic!("taken, but no object"),
        (None, Some(_)) => assert!(is_left(text), "left, though it is plain"),
        (None, None) => {}
    }

    let mut found = Vec::new();
    let ours = elements(text.as_bytes(), |value| {
        found.push(value);
        Some(())
    });
    let theirs = serde_json::from_str::<Vec<&RawValue>>(text).ok();
    match (ours, &theirs) {
        (Some(()), Some(theirs)) => {
            assert!(theirs.iter().map(|raw| raw.get().as_bytes()).eq(found));
        }
        (Some(()), None) => panic!("taken, but no array"),
        (None, Some(_)) => assert!(is_left(text), "left, though it is plain"),
        (None, None) => {}
    }
});

/// Whether JSON has an escape, perhaps in a name, or is nested more than 128 deep.
fn is_left(text: &str) -> bool {
    let (mut depth, mut deepest, mut in_string) = (0_usize, 0, false);
    for byte in text.bytes() {
        match byte {
            b'\\' => return true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > 128
}
