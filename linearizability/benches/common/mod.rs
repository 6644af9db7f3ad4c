//! What the benches share: dice, a clock, a table.

/// Numbers that look random and are the same in every run (Knuth's constants).
pub struct Dice(u64);

impl Dice {
    /// By seed.
    pub fn new(seed: u64) -> Dice {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.below(1);
        dice
    }

    /// Below a limit.
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }
}

/// Seconds that this process has been on a CPU, so that a busy machine counts less.
pub fn cpu_seconds() -> f64 {
    let file = "/proc/self/schedstat";
    let text = std::fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("{file}, which Linux has, cannot be read: {error}"));
    let nanos = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanos.unwrap_or_else(|| panic!("{file} does not start with a number: {text}")) / 1e9
}

/// Was JSON asked for, for `ci/record`? Else the figures are for people.
pub fn wants_json() -> bool {
    std::env::args().any(|argument| argument == "--json")
}

/// Milliseconds, to three digits.
pub fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let scale = 10f64.powf(2.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}
