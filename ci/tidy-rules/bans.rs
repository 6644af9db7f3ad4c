//! Banned words and calls, each with the folders in which it is banned and what to do instead.

use super::{Finding, Source, line_of, occurrences};

/// A banned word or call.
struct Ban {
    /// The banned text, matched as a whole word.
    text: &'static str,
    /// The folders in which it is banned; empty for everywhere.
    within: &'static [&'static str],
    /// Files in which it is allowed, or folders (with a trailing slash).
    except: &'static [&'static str],
    /// Which part of the text is searched.
    look_at: LookAt,
    /// What to do instead.
    instead: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LookAt {
    /// Code without test code.
    Code,
    /// Code and test code.
    AllCode,
    /// Code, test code and comments.
    AllButStrings,
}

/// Files that time a hunt and spread it over threads. Only these files of the tank may use a wall
/// clock or a thread, because neither reaches a run.
const HUNT_DRIVER: &[&str] = &["sim/src/hunt.rs", REENACT];
/// These files, and those that measure speed.
const CLOCKS: &[&str] = &[
    "sim/src/hunt.rs",
    "sim/benches/",
    "linearizability/benches/",
    "core/src/controller/tests/costs.rs",
    "sim/tests/cluster/costs.rs",
    REENACT,
];
/// Plays plans on real processes, which takes real time and threads.
const REENACT: &str = "sim/reenact/";
const DETERMINISTIC: &[&str] = &["core", "sim", "wire", "linearizability"];
const BUG_IS_ASSERTED: &str = "a branch that only debug has breaks determinism: assert! stays on";

const BANS: &[Ban] = &[
    Ban {
        text: "debug_assert",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: BUG_IS_ASSERTED,
    },
    Ban {
        text: "debug_assert_eq",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: BUG_IS_ASSERTED,
    },
    Ban {
        text: "debug_assert_ne",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: BUG_IS_ASSERTED,
    },
    Ban {
        text: "debug_assertions",
        within: &["core", "sim", "wire", "linearizability", "scenarios"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "debug and release must run the same program: drop the condition",
    },
    Ban {
        text: "extern crate std",
        within: &["core", "sim"],
        except: &[],
        look_at: LookAt::Code,
        instead: "core is no_std: use core:: and alloc::, or take a capability of Env",
    },
    Ban {
        text: "HashMap",
        within: &["core", "sim"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "its order differs from run to run: BTreeMap",
    },
    Ban {
        text: "HashSet",
        within: &["core", "sim"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "its order differs from run to run: BTreeSet",
    },
    Ban {
        text: "RandomState",
        within: DETERMINISTIC,
        except: &[],
        look_at: LookAt::AllCode,
        instead: "seeded by the operating system: use a fixed hash",
    },
    Ban {
        text: "DefaultHasher",
        within: DETERMINISTIC,
        except: &[],
        look_at: LookAt::AllCode,
        instead: "differs between toolchains: use the tank's own digest",
    },
    Ban {
        text: "Instant::now",
        within: DETERMINISTIC,
        except: CLOCKS,
        look_at: LookAt::AllCode,
        instead: "virtual time comes from Clock::now of Env",
    },
    Ban {
        text: "SystemTime",
        within: DETERMINISTIC,
        except: CLOCKS,
        look_at: LookAt::AllCode,
        instead: "virtual time comes from Clock::wall of Env",
    },
    Ban {
        text: "std::thread",
        within: &["core", "sim", "wire"],
        except: HUNT_DRIVER,
        look_at: LookAt::Code,
        instead: "a world is single-threaded; only the hunt's driver starts threads",
    },
    Ban {
        text: ".unwrap()",
        within: &["core", "wire", "server", "sim", "scenarios", "linearizability", "cli"],
        except: &[],
        look_at: LookAt::Code,
        instead: "expect(\"why it cannot fail\") for a bug of ours, an error for bad input",
    },
    Ban {
        text: "println!",
        within: DETERMINISTIC,
        except: &[],
        look_at: LookAt::Code,
        instead: "a library returns its results; only cli prints",
    },
    Ban {
        text: "eprintln!",
        within: DETERMINISTIC,
        except: &["sim/reenact/src/bin/"],
        look_at: LookAt::Code,
        instead: "a library returns its results; only cli prints",
    },
    Ban {
        text: "todo!",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "write it, or leave the caller out until it is written",
    },
    Ban {
        text: "unimplemented!",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "write it, or leave the caller out until it is written",
    },
    Ban {
        text: "dbg!",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "remove it; a lasting trace point is a Note",
    },
    Ban {
        text: "#[ignore",
        within: &[],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "a test that does not run tests nothing: make it fast, or a step of ci/test",
    },
    Ban {
        text: "FIXME",
        within: &[],
        except: &[],
        look_at: LookAt::AllButStrings,
        instead: "fix it before it lands",
    },
    Ban {
        text: "TODO",
        within: &[],
        except: &[],
        look_at: LookAt::AllButStrings,
        instead: "do it, or say in the docs what is absent",
    },
    Ban {
        text: "XXX",
        within: &[],
        except: &[],
        look_at: LookAt::AllButStrings,
        instead: "do it, or say in the docs what is absent",
    },
    Ban {
        text: "impl Broker",
        within: &["core"],
        except: &["core/src/broker/mod.rs"],
        look_at: LookAt::AllCode,
        instead: "the router is one file: a rule belongs to a component that answers with facts",
    },
    Ban {
        text: "f32",
        within: &["core"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "integers: floats differ between machines and are not Eq",
    },
    Ban {
        text: "f64",
        within: &["core"],
        except: &[],
        look_at: LookAt::AllCode,
        instead: "integers: floats differ between machines and are not Eq",
    },
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ban in BANS {
        let here = ban.within.is_empty()
            || ban.within.iter().any(|folder| source.path.starts_with(&format!("{folder}/")));
        if !here || ban.except.iter().any(|except| source.path.starts_with(except)) {
            continue;
        }
        for at in occurrences(look_at(source, ban.look_at), ban.text) {
            findings.push(Finding {
                path: source.path.clone(),
                line: line_of(look_at(source, ban.look_at), at),
                rule: "banned",
                message: format!("`{}`: {}", ban.text, ban.instead),
            });
        }
    }
    findings
}

fn look_at(source: &Source, part: LookAt) -> &str {
    match part {
        LookAt::Code => &source.code,
        LookAt::AllCode => &source.all_code,
        LookAt::AllButStrings => &source.all_but_strings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bans(path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn each_ban_fires_on_a_planted_sample_where_it_applies() {
        for ban in BANS {
            let folder = ban.within.first().unwrap_or(&"cli");
            let path = format!("{folder}/src/planted.rs");
            let sample = match ban.look_at {
                LookAt::AllButStrings => format!("//! Doc.\n// {} later\n", ban.text),
                LookAt::Code | LookAt::AllCode => format!("//! Doc.\nlet a = {};\n", ban.text),
            };
            assert!(bans(&path, &sample).contains(&2), "{} does not fire", ban.text);
        }
    }

    #[test]
    fn no_ban_fires_in_strings_in_longer_words_or_outside_its_folders() {
        assert_eq!(bans("core/src/a.rs", "let a = \"HashMap dbg!(TODO) 'f64\";\n"), []);
        assert_eq!(bans("core/src/a.rs", "let a = r#\"HashMap \" todo!()\"#;\n"), []);
        assert_eq!(bans("core/src/a.rs", "struct MyHashMapLike; // HashMap\n"), []);
        assert_eq!(bans("core/src/a.rs", "fn a<'a>(f64_bits: &'a u64) {}\n"), []);
        assert_eq!(bans("cli/src/a.rs", "let a: HashMap<f64, f32>;\n"), []);
        assert_eq!(bans("sim/src/hunt.rs", "let a = Instant::now();\n"), []);
        assert_eq!(bans("sim/benches/world.rs", "let a = Instant::now();\n"), []);
        assert_eq!(bans("sim/src/world.rs", "let a = Instant::now();\n"), [1]);
    }

    #[test]
    fn code_after_a_string_or_a_character_is_still_seen() {
        assert_eq!(bans("core/src/a.rs", "a('\"'); b('\\''); c(b\"\\\"\"); HashMap\n"), [1]);
        assert_eq!(bans("core/src/a.rs", "/* a /* b */ HashMap */ HashSet\n"), [1]);
        assert_eq!(bans("core/src/a.rs", "let a = br\"\\\"; HashSet\n"), [1]);
    }

    #[test]
    fn test_code_may_unwrap_and_link_std_but_not_hash() {
        let text = "#[cfg(test)]\nextern crate std;\n#[cfg(test)]\nmod tests {\n fn a() { \
                    b().unwrap(); }\n}\nfn c() { d().unwrap(); }\n";
        assert_eq!(bans("core/src/a.rs", text), [7]);
        assert_eq!(bans("core/src/log/tests.rs", "fn a() { b().unwrap(); }\n"), []);
        assert_eq!(bans("core/src/a.rs", "#[cfg(test)]\nmod tests {\n use HashMap;\n}\n"), [3]);
    }
}
