//! The values of flags: ranges of seeds, shards, times, and names that the libraries know.

use std::num::{IntErrorKind, NonZeroU64, NonZeroUsize};
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use wavetank_core::flaw::Flaw;
use wavetank_sim::gates::Gates;
use wavetank_sim::plan::FaultKind;
use wavetank_sim::profile::Profile;

/// A half-open range of seeds: `N` is `0..N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let number = |text: &str| match text.replace('_', "").parse::<u64>() {
            Ok(seed) => Ok(seed),
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
                Err(format!("{text} is too large; the largest seed is {}", u64::MAX))
            }
            Err(_) => Err(format!("{text:?} is not a seed; write a number N or a range A..B")),
        };
        let range = match text.split_once("..") {
            None => 0..number(text)?,
            Some((first, end)) => number(first)?..number(end)?,
        };
        if range.is_empty() {
            return Err("the range is empty; its end is exclusive".to_owned());
        }
        Ok(Seeds(range))
    }
}

/// The `part`-th of `of` equal parts, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which, 1 to `of`.
    pub part: u64,
    /// How many there are.
    pub of: u64,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text
            .split_once('/')
            .and_then(|(part, of)| Some(Shard { part: part.parse().ok()?, of: of.parse().ok()? }));
        parts
            .filter(|shard| (1..=shard.of).contains(&shard.part))
            .ok_or_else(|| "write i/n with 1 <= i <= n, as in 2/8".to_owned())
    }
}

/// `90s`, `10m` or `1h`: at least a second, at most a year.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const YEAR: u64 = 366 * 24 * 3600;
    let (digits, unit) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        Some((at, _)) => text.split_at(at),
        None => (text, ""),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "" if !digits.is_empty() => {
            return Err(format!("{text} has no unit; write {text}s, {text}m or {text}h"));
        }
        _ => return Err("write a whole number and s, m or h, as in 90s".to_owned()),
    };
    if digits.is_empty() {
        return Err("write a whole number and s, m or h, as in 90s".to_owned());
    }
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(0) => Err("the time is zero; write at least 1s".to_owned()),
        Some(seconds @ 1..=YEAR) => Ok(Duration::from_secs(seconds)),
        Some(_) | None => Err(format!("{text} is longer than a year; write at most 8784h")),
    }
}

/// A whole number from 1 to `MOST`.
pub fn parse_count<const MOST: u64>(text: &str) -> Result<NonZeroU64, String> {
    match text.replace('_', "").parse::<u64>() {
        Ok(0) => Err("0 is too few; write 1 or more".to_owned()),
        Ok(number @ 1..) if number <= MOST => Ok(NonZeroU64::new(number).expect("it is not 0")),
        Ok(_) => Err(format!("{text} is too many; write 1 to {MOST}")),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => {
            Err(format!("{text} is too many; write 1 to {MOST}"))
        }
        Err(_) => Err(format!("{text:?} is not a whole number; write 1 to {MOST}")),
    }
}

/// A number of threads, at most 1024: more would only wait for each other.
pub fn parse_jobs(text: &str) -> Result<NonZeroUsize, String> {
    let jobs = parse_count::<1024>(text)?;
    Ok(NonZeroUsize::try_from(jobs).expect("1024 fits"))
}

/// Seconds of virtual time with up to six decimals, in microseconds.
pub fn parse_virtual(text: &str) -> Result<u64, String> {
    let wrong = || "write seconds of virtual time, as in 31.5".to_owned();
    let text = text.strip_suffix('s').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.is_empty() || part.len() > 6 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let micros: u64 = format!("{part:0<6}").parse().map_err(|_| wrong())?;
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000).and_then(|us| us.checked_add(micros)).ok_or_else(wrong)
}

/// A seed, or the path of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeedOrPlan {
    /// A seed of a profile.
    Seed(u64),
    /// A file.
    Plan(PathBuf),
}

impl FromStr for SeedOrPlan {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<SeedOrPlan, Self::Err> {
        Ok(match text.parse() {
            Ok(seed) => SeedOrPlan::Seed(seed),
            Err(_) => SeedOrPlan::Plan(text.into()),
        })
    }
}

/// A profile by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileName(pub Profile);

impl FromStr for ProfileName {
    type Err = String;

    fn from_str(text: &str) -> Result<ProfileName, String> {
        let names = Profile::ALL.map(Profile::name);
        Profile::from_name(text).map(ProfileName).ok_or_else(|| unknown("profile", text, &names))
    }
}

/// A flaw by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlawName(pub Flaw);

impl FromStr for FlawName {
    type Err = String;

    fn from_str(text: &str) -> Result<FlawName, String> {
        let names = Flaw::ALL.map(|flaw| flaw.story().name);
        Flaw::from_name(text).map(FlawName).ok_or_else(|| unknown("flaw", text, &names))
    }
}

/// Names of kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Faults, String> {
        listed(text, "kind of fault", FaultKind::NAMES).map(Faults)
    }
}

/// Names of workloads to filter a hunt by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workloads(pub Vec<String>);

impl FromStr for Workloads {
    type Err = String;

    fn from_str(text: &str) -> Result<Workloads, String> {
        listed(text, "workload", &["acks=all", "acks=1", "acks=0"]).map(Workloads)
    }
}

fn listed(text: &str, what: &str, known: &[&str]) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim);
    names
        .map(|name| {
            if known.contains(&name) {
                Ok(name.to_owned())
            } else {
                Err(unknown(what, name, known))
            }
        })
        .collect()
}

/// The error for an unknown name: the name that was probably meant, and all known names.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    format!("there is no {what} {name:?}{}; known: {}", meant(name, known), known.join(", "))
}

/// `, did you mean "pause"?`, if a known name is near.
pub fn meant(name: &str, known: &[&str]) -> String {
    let name = name.to_lowercase().replace('_', "-");
    let near = |other: &&&str| {
        let other = other.to_lowercase().replace('_', "-");
        // Jaro-Winkler misses transposed letters in a name of three letters.
        let slip = strsim::osa_distance(&name, &other) == 1;
        strsim::jaro_winkler(&name, &other).max(if slip { 0.9 } else { 0.0 })
    };
    let best = known.iter().max_by(|one, other| near(one).total_cmp(&near(other)));
    match best {
        Some(best) if near(&best) > 0.8 => format!(", did you mean {best:?}?"),
        Some(_) | None => String::new(),
    }
}

/// What a hunt must have tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Require(pub Gates);

impl FromStr for Require {
    type Err = String;

    fn from_str(text: &str) -> Result<Require, String> {
        Gates::parse(text).map(Require)
    }
}

/// How far a model is explored.
#[derive(Clone, Copy, Debug)]
pub struct BoundsName(pub wavetank_models::Bounds);

impl FromStr for BoundsName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use wavetank_models::Bounds;
        match text {
            "small" => Ok(BoundsName(Bounds::Small)),
            "full" => Ok(BoundsName(Bounds::Full)),
            "large" => Ok(BoundsName(Bounds::Large)),
            other => Err(format!("there are no bounds {other:?}; known: small, full, large")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open_and_not_empty() {
        assert_eq!("1000".parse(), Ok(Seeds(0..1000)));
        assert_eq!("10_000".parse(), Ok(Seeds(0..10_000)));
        assert_eq!("5..7".parse(), Ok(Seeds(5..7)));
        for wrong in ["", "0", "7..7", "7..5", "-3", "a..b", "1..=2"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shards_count_from_one() {
        assert_eq!("3/3".parse(), Ok(Shard { part: 3, of: 3 }));
        for wrong in ["0/3", "4/3", "1", "1/0", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert!(parse_duration("5").unwrap_err().contains("5s, 5m or 5h"));
        assert!(parse_duration("0s").unwrap_err().contains("at least 1s"));
        assert!(parse_duration("s").is_err());
        for long in ["99999999999999999999s", "99999999999999999h", "8785h"] {
            assert!(parse_duration(long).unwrap_err().contains("longer than a year"), "{long}");
        }
        assert!(parse_duration("10 parsecs").is_err());
        assert_eq!(parse_virtual("31.5"), Ok(31_500_000));
        assert_eq!(parse_virtual("31.000001s"), Ok(31_000_001));
        assert!(parse_virtual("1.").is_err());
        assert!(parse_virtual("-1").is_err());
    }

    #[test]
    fn counts_are_refused_in_words() {
        assert_eq!(parse_jobs("2").unwrap().get(), 2);
        for (jobs, part) in [
            ("0", "0 is too few"),
            ("1025", "1 to 1024"),
            ("99999999999999999999", "too many"),
            ("two", "not a whole number"),
            ("-1", "not a whole number"),
        ] {
            let error = parse_jobs(jobs).unwrap_err();
            assert!(error.contains(part), "{jobs}: {error}");
        }
        let large = "99999999999999999999".parse::<Seeds>().unwrap_err();
        assert!(large.contains("largest seed is 18446744073709551615"), "{large}");
    }

    #[test]
    fn a_name_that_is_nearly_right_is_answered_with_the_right_one() {
        let flaw = "early-isr-jion".parse::<FlawName>().unwrap_err();
        assert!(flaw.contains("did you mean \"early-isr-join\"?"), "{flaw}");
        let fault = "crash,power-los".parse::<Faults>().unwrap_err();
        assert!(
            fault.contains("no kind of fault \"power-los\", did you mean \"power_loss\"?"),
            "{fault}"
        );
        let profile = "defualt".parse::<ProfileName>().unwrap_err();
        assert!(profile.contains("did you mean \"default\"?"), "{profile}");
        assert_eq!(meant("earthquake", FaultKind::NAMES), "");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "hubris".parse::<FlawName>().unwrap_err();
        assert!(error.contains("ack-before-flush"), "{error}");
        assert!("crash,earthquake".parse::<Faults>().unwrap_err().contains("power_loss"));
        assert_eq!("crash, pause".parse(), Ok(Faults(vec!["crash".into(), "pause".into()])));
        assert!("stormy".parse::<ProfileName>().unwrap_err().contains("default"));
    }
}
