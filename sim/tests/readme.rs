//! The README's example is a test that runs.

#[test]
fn the_readme_shows_the_test_in_own_hunt_as_it_is() {
    let readme = include_str!("../../README.md");
    let example = include_str!("own_hunt.rs");
    assert!(
        readme.contains(&format!("```rust\n{example}```\n")),
        "copy sim/tests/own_hunt.rs into README.md's rust block"
    );
}
