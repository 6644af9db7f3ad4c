//! Dev driver.
use wavetank_core::flaw::Flaw;
use wavetank_sim::hunt::*;
use wavetank_sim::profile::Profile;
use wavetank_sim::replay::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let get = |k: &str| a.iter().position(|x| x == k).map(|i| a[i + 1].clone());
    let profile = Profile::from_name(&get("--profile").unwrap_or("default".into())).unwrap();
    let flaws: Vec<String> = get("--flaw").into_iter().collect();
    let jobs = get("--jobs").map_or(2, |j| j.parse().unwrap());
    let mut o = HuntOptions { profile, flaws, jobs, ..Default::default() };
    match a[1].as_str() {
        "hunt" => {
            o.seeds = a[2].parse().unwrap()..a[3].parse().unwrap();
            let r = hunt(&o);
            let mut seen = std::collections::BTreeMap::new();
            for v in &r.violations {
                let e = seen.entry(v.invariant.clone()).or_insert((0, vec![]));
                e.0 += 1;
                if e.1.len() < 6 {
                    e.1.push((v.seed, v.message.clone()));
                }
            }
            for (k, (n, ms)) in seen {
                println!("== {k}: {n}");
                for (s, m) in ms {
                    println!("   {s}: {}", m.chars().take(300).collect::<String>());
                }
            }
            println!(
                "seeds {} violating {} weak {} virt {:.0}s wall {:.1}s cpu {:.1}s events {} ops {} seeds/s {:.1} admitted {} weaklost {} dup {} fp {:016x}",
                r.seeds,
                r.violations
                    .iter()
                    .map(|v| v.seed)
                    .collect::<std::collections::BTreeSet<_>>()
                    .len(),
                r.weak_seeds,
                r.virtual_seconds,
                r.wall_seconds,
                r.cpu_seconds,
                r.events,
                r.operations,
                r.seeds as f64 / r.wall_seconds,
                r.admitted_losses,
                r.weakly_acked_lost,
                r.duplicates,
                r.fingerprint
            );
            println!("faults {:?}\nmarks {:?}\nmissed {:?}", r.faults, r.marks, r.missed_marks);
            for (s, w) in r.weak_reasons.iter().take(15) {
                println!("weak {s}: {w}");
            }
        }
        "replay" => {
            let plan = if a[2].ends_with(".json") {
                wavetank_sim::plan::Plan::from_json(&std::fs::read_to_string(&a[2]).unwrap())
                    .unwrap()
            } else {
                o.plan(a[2].parse().unwrap())
            };
            if a.iter().any(|x| x == "--plan") {
                print!("{}", plan.to_json());
                return;
            }
            let r = replay(
                &plan,
                ReplayOptions {
                    trace: a.iter().any(|x| x == "--trace"),
                    twice: a.iter().any(|x| x == "--twice"),
                    until: get("--until").map(|u| u.parse::<u64>().unwrap() * 1_000_000),
                    keep_going: a.iter().any(|x| x == "--keep-going"),
                },
            );
            for l in &r.outcome.trace {
                println!("{l}");
            }
            for v in &r.violations {
                println!("VIOLATION {} [{}] at {} us: {}", v.invariant, v.kind, v.at_us, v.message);
            }
            println!(
                "{} {:.1}s events {} ops {} weak {:?} diff {:?} acked {} sent {} faults {:?}",
                r.fingerprint,
                r.virtual_seconds,
                r.events,
                r.operations,
                r.outcome.weak,
                r.difference,
                r.outcome.acked_in_storm,
                r.outcome.sent_in_storm,
                r.outcome.faults
            );
        }
        "zoo" => {
            let ranges = get("--ranges").map_or(1, |j| j.parse().unwrap());
            let max = get("--max").map_or(2000, |j| j.parse().unwrap());
            let flaws: Vec<Flaw> = if a.len() > 2 && !a[2].starts_with('-') {
                vec![Flaw::from_name(&a[2]).unwrap()]
            } else {
                Flaw::ALL.to_vec()
            };
            for f in flaws {
                let e = wavetank_sim::zoo::hunt(f, ranges, max, &o);
                println!(
                    "{} found {} seed {:?} seeds {} cpu {:.1} by {:?} {:?} | {:?}",
                    e.flaw,
                    e.found,
                    e.seed,
                    e.seeds,
                    e.cpu_seconds,
                    e.invariant,
                    e.kind,
                    e.ranges
                        .iter()
                        .map(|c| (
                            c.seeds,
                            c.found.as_ref().map(|(s, v)| (*s, v.invariant.clone()))
                        ))
                        .collect::<Vec<_>>()
                );
            }
        }
        _ => {}
    }
}
