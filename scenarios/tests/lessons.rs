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

/// A lesson's file says only what differs from the defaults: without any one value of its plan, it
/// is another plan, or none.
#[test]
fn every_value_of_a_lesson_matters() {
    for (name, text) in wavetank_scenarios::lessons() {
        let plans = |file: &toml::Table| {
            let scenario = Scenario::parse(name, &file.to_string());
            scenario.map(|scenario| scenario.variants.into_iter().map(|variant| variant.plan))
        };
        let file: toml::Table = text.parse().unwrap();
        let whole: Vec<_> = plans(&file).unwrap().collect();
        let mut leaves = Vec::new();
        collect_leaves(&file["plan"], &mut Vec::new(), &mut leaves);
        assert!(leaves.len() > 4, "{leaves:?}");
        for leaf in leaves {
            let mut less = file.clone();
            remove(less.get_mut("plan").unwrap(), &leaf);
            if let Ok(plans) = plans(&less) {
                assert_ne!(plans.collect::<Vec<_>>(), whole, "{name} says {leaf:?} for nothing");
            }
        }
    }
}

fn collect_leaves(value: &toml::Value, path: &mut Vec<String>, leaves: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &toml::Value)> = match value {
        toml::Value::Table(fields) => fields.iter().map(|(key, v)| (key.clone(), v)).collect(),
        toml::Value::Array(items) if items.iter().all(toml::Value::is_table) => {
            items.iter().enumerate().map(|(at, v)| (at.to_string(), v)).collect()
        }
        _ => Vec::new(),
    };
    if children.is_empty() {
        leaves.push(path.clone());
    }
    for (key, child) in children {
        path.push(key);
        collect_leaves(child, path, leaves);
        path.pop();
    }
}

fn remove(value: &mut toml::Value, path: &[String]) {
    match (value, path) {
        (toml::Value::Table(fields), [key]) => drop(fields.remove(key)),
        (toml::Value::Table(fields), [key, rest @ ..]) => remove(&mut fields[key], rest),
        (toml::Value::Array(items), [at, rest @ ..]) => {
            remove(&mut items[at.parse::<usize>().unwrap()], rest);
        }
        other => panic!("{other:?}"),
    }
}
