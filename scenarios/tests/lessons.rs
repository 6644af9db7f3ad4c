//! Every lesson has its expected outcome and timeline, line by line.

use wavetank_scenarios::{Scenario, all, run};

fn told(scenario: &Scenario) -> String {
    let mut text = String::new();
    for variant in &scenario.variants {
        let shown = run(variant);
        assert_eq!(shown.surprises, Vec::<String>::new(), "{}, {}", scenario.name, variant.name);
        text += &format!(
            "{}\n{}\n=> {}\n\n",
            variant.name,
            shown.timeline.join("\n"),
            shown.conclusion()
        );
    }
    text
}

#[test]
fn every_lesson_comes_out_as_it_is_told() {
    for scenario in all().unwrap() {
        insta::assert_snapshot!(scenario.name.clone(), told(&scenario));
    }
}
