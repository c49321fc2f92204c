//! The cost of a usage, and the most that a request can cost.

use crate::usage::Usage;

/// Pico-USD in a nano-USD.
const PICO_PER_NANO: u128 = 1_000;

/// The highest cost, in nano-USD (about nine billion USD): what is beyond it is cut to it, so that
/// a cost fits a signed 64-bit integer anywhere.
pub const MAX_COST: u64 = i64::MAX as u64;

/// Rates as a source tells them: pico-USD a token; `None` where it says nothing of the kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Input, neither read from nor written to a cache.
    pub input: Option<u64>,
    /// Input read from a cache. As `input` where not told.
    pub cache_read: Option<u64>,
    /// Input written to a cache for five minutes, or a time not told. As `input` where not told.
    pub cache_write: Option<u64>,
    /// Input written to a cache for an hour. As `cache_write` where not told.
    pub cache_write_1h: Option<u64>,
    /// Output.
    pub output: Option<u64>,
    /// Reasoning, which is output. As `output` where not told.
    pub reasoning: Option<u64>,
    /// Audio in the input. As `input` where not told.
    pub audio_input: Option<u64>,
    /// Audio read from a cache. As `audio_input` where not told.
    pub audio_cache_read: Option<u64>,
    /// Audio in the output. As `output` where not told.
    pub audio_output: Option<u64>,
    /// Images and video in the input. No usage counts them apart, so where they are dearer than
    /// other input, all of it is charged as them.
    pub image_input: Option<u64>,
    /// Images and video read from a cache; see `image_input`.
    pub image_cache_read: Option<u64>,
    /// Images and video in the output; see `image_input`.
    pub image_output: Option<u64>,
}

/// What each kind of token costs, for inputs of every length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Pico-USD a request, whatever it uses.
    request: u64,
    /// Rates of inputs longer than each start; the first start is 0, and they ascend.
    bands: Vec<Band>,
}

/// Pico-USD a token, for inputs of more than `over` tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Band {
    over: u64,
    input: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    output: u64,
    reasoning: u64,
    audio_input: u64,
    audio_cache_read: u64,
    audio_output: u64,
}

/// The most that a request can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worst {
    /// Input tokens of every kind together.
    pub input_tokens: u64,
    /// Output tokens of every kind and of all answers together.
    pub output_tokens: u64,
    /// Whether there can be audio in the request or in its answer.
    pub audio: bool,
    /// Whether input can be written to a cache for an hour, which costs the most.
    pub cache_1h: bool,
}

impl Worst {
    /// A request of which nothing is known but its size: with audio, cached for an hour.
    pub fn of_any_kind(input_tokens: u64, output_tokens: u64) -> Self {
        Self { input_tokens, output_tokens, audio: true, cache_1h: true }
    }
}

impl Rates {
    /// Rates with one band for each start (input tokens that must be exceeded), and `request`
    /// pico-USD a request. `None` where no band starts at 0, or one says nothing of plain input.
    pub fn new(mut told: Vec<(u64, Told)>, request: u64) -> Option<Self> {
        told.sort_by_key(|(over, _)| *over);
        told.dedup_by_key(|(over, _)| *over);
        let bands = told.into_iter().map(|(over, told)| Band::new(over, told));
        let bands: Vec<_> = bands.collect::<Option<_>>()?;
        (bands.first()?.over == 0).then_some(Self { request, bands })
    }

    /// What `usage` costs, in nano-USD: every kind at its rate, added up exactly and then rounded
    /// up once; at most [`MAX_COST`].
    ///
    /// The whole input's length decides which band all tokens are charged by, as providers do.
    /// Audio is taken to be in the plain part of the input first, then in what was read from a
    /// cache: usages tell only that it is somewhere in the input.
    pub fn cost(&self, usage: &Usage) -> u64 {
        let total = usage.total_input();
        let band = self.bands.iter().rev().find(|band| band.over < total);
        // The first band holds for no input at all, too.
        match band.or(self.bands.first()) {
            Some(band) => nano(band.cost(usage).saturating_add(u128::from(self.request))),
            None => MAX_COST,
        }
    }

    /// The most that a request within `worst` can cost, in nano-USD: no usage of as many tokens
    /// costs more than this.
    pub fn bound(&self, worst: Worst) -> u64 {
        let reachable =
            self.bands.iter().filter(|band| band.over == 0 || band.over < worst.input_tokens);
        let dearest = reachable.map(|band| band.bound(worst)).max();
        dearest.map_or(MAX_COST, |cost| nano(cost.saturating_add(u128::from(self.request))))
    }

    /// Pico-USD a request, whatever it uses.
    pub fn per_request(&self) -> u64 {
        self.request
    }

    /// The rates of short inputs, every kind told, in pico-USD a token.
    pub fn base(&self) -> Told {
        let Some(band) = self.bands.first() else { return Told::default() };
        Told {
            input: Some(band.input),
            cache_read: Some(band.cache_read),
            cache_write: Some(band.cache_write_5m),
            cache_write_1h: Some(band.cache_write_1h),
            output: Some(band.output),
            reasoning: Some(band.reasoning),
            audio_input: Some(band.audio_input),
            audio_cache_read: Some(band.audio_cache_read),
            audio_output: Some(band.audio_output),
            ..Told::default()
        }
    }
}

impl Band {
    fn new(over: u64, told: Told) -> Option<Self> {
        let input = told.input?.max(told.image_input.unwrap_or(0));
        let cache_read = told.cache_read.unwrap_or(input).max(told.image_cache_read.unwrap_or(0));
        let cache_write_5m = told.cache_write.unwrap_or(input);
        // An embedding has no output; whatever else is without a rate has been refused before.
        let output = told.output.unwrap_or(0).max(told.image_output.unwrap_or(0));
        let audio_input = told.audio_input.unwrap_or(input);
        Some(Self {
            over,
            input,
            cache_read,
            cache_write_5m,
            cache_write_1h: told.cache_write_1h.unwrap_or(cache_write_5m),
            output,
            reasoning: told.reasoning.unwrap_or(output),
            audio_input,
            audio_cache_read: told.audio_cache_read.unwrap_or(match told.audio_input {
                Some(audio) => audio,
                None => cache_read,
            }),
            audio_output: told.audio_output.unwrap_or(output),
        })
    }

    /// In pico-USD.
    fn cost(&self, usage: &Usage) -> u128 {
        let audio_plain = usage.audio_input.min(usage.input);
        let audio_cached = (usage.audio_input - audio_plain).min(usage.cache_read);
        let reasoning = usage.reasoning.min(usage.output);
        let audio_output = usage.audio_output.min(usage.output - reasoning);
        [
            (usage.input - audio_plain, self.input),
            (audio_plain, self.audio_input),
            (usage.cache_read - audio_cached, self.cache_read),
            (audio_cached, self.audio_cache_read),
            (usage.cache_write_5m, self.cache_write_5m),
            (usage.cache_write_1h, self.cache_write_1h),
            (usage.output - reasoning - audio_output, self.output),
            (reasoning, self.reasoning),
            (audio_output, self.audio_output),
        ]
        .into_iter()
        .fold(0, |sum, (tokens, rate)| sum.saturating_add(product(tokens, rate)))
    }

    /// In pico-USD.
    fn bound(&self, worst: Worst) -> u128 {
        let mut input = self.input.max(self.cache_read).max(self.cache_write_5m);
        let mut output = self.output.max(self.reasoning);
        if worst.cache_1h {
            input = input.max(self.cache_write_1h);
        }
        if worst.audio {
            input = input.max(self.audio_input).max(self.audio_cache_read);
            output = output.max(self.audio_output);
        }
        product(worst.input_tokens, input).saturating_add(product(worst.output_tokens, output))
    }
}

/// Never overflows: both factors have 64 bits.
fn product(tokens: u64, rate: u64) -> u128 {
    u128::from(tokens) * u128::from(rate)
}

/// Whole nano-USD for pico-USD, rounded up.
fn nano(pico: u128) -> u64 {
    u64::try_from(pico.div_ceil(PICO_PER_NANO)).unwrap_or(MAX_COST).min(MAX_COST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd(input: u64, output: u64) -> Told {
        Told { input: Some(input), output: Some(output), ..Told::default() }
    }

    fn flat(told: Told) -> Rates {
        Rates::new(vec![(0, told)], 0).unwrap()
    }

    #[test]
    fn every_kind_has_its_rate() {
        let rates = Rates::new(
            vec![(
                0,
                Told {
                    input: Some(1_000),
                    cache_read: Some(100),
                    cache_write: Some(1_250),
                    cache_write_1h: Some(2_000),
                    output: Some(10_000),
                    reasoning: Some(11_000),
                    audio_input: Some(30_000),
                    audio_cache_read: Some(300),
                    audio_output: Some(60_000),
                    ..Told::default()
                },
            )],
            5_000,
        )
        .unwrap();
        let none = Usage::default();
        for (usage, nano) in [
            (none, 5),
            (Usage { input: 1, ..none }, 6),
            (Usage { cache_read: 10, ..none }, 6),
            (Usage { cache_write_5m: 4, ..none }, 10),
            (Usage { cache_write_1h: 1, ..none }, 7),
            (Usage { output: 1, ..none }, 15),
            (Usage { output: 2, reasoning: 1, ..none }, 26),
            (Usage { output: 2, audio_output: 1, ..none }, 75),
            (Usage { input: 2, audio_input: 1, ..none }, 36),
            // What is audio beyond the plain input was read from the cache.
            (Usage { input: 1, cache_read: 10, audio_input: 11, ..none }, 38),
            // Parts that are larger than their whole count no more than it.
            (Usage { output: 1, reasoning: 9, audio_output: 9, ..none }, 16),
        ] {
            assert_eq!(rates.cost(&usage), nano, "{usage:?}");
        }
    }

    #[test]
    fn kinds_that_are_not_told_cost_what_their_whole_does() {
        let base = flat(usd(3, 7)).base();
        let expected = Told {
            input: Some(3),
            cache_read: Some(3),
            cache_write: Some(3),
            cache_write_1h: Some(3),
            output: Some(7),
            reasoning: Some(7),
            audio_input: Some(3),
            audio_cache_read: Some(3),
            audio_output: Some(7),
            ..Told::default()
        };
        assert_eq!(base, expected);
        // Images can't be told from text in a usage.
        let images = Told { image_input: Some(9), image_output: Some(40), ..usd(3, 7) };
        assert_eq!((flat(images).base().input, flat(images).base().output), (Some(9), Some(40)));
        // Cached audio has no rate: that of audio, not that of cached text.
        let audio = Told { cache_read: Some(1), audio_input: Some(20), ..usd(3, 7) };
        assert_eq!(flat(audio).base().audio_cache_read, Some(20));
    }

    #[test]
    fn a_row_is_rounded_up_once() {
        let rates = flat(usd(1, 1));
        assert_eq!(rates.cost(&Usage { input: 1, output: 1, ..Usage::default() }), 1);
        assert_eq!(rates.cost(&Usage { input: 500, output: 500, ..Usage::default() }), 1);
        assert_eq!(rates.cost(&Usage { input: 500, output: 501, ..Usage::default() }), 2);
        assert_eq!(rates.cost(&Usage::default()), 0);
    }

    #[test]
    fn a_long_input_is_charged_by_its_band_as_a_whole() {
        let rates = Rates::new(vec![(200, usd(2_000, 4_000)), (0, usd(1_000, 3_000))], 0).unwrap();
        let cost = |input, cache_read, output| {
            rates.cost(&Usage { input, cache_read, output, ..Usage::default() })
        };
        assert_eq!(cost(200, 0, 1), 203);
        assert_eq!(cost(201, 0, 1), 406);
        assert_eq!(cost(101, 100, 1), 406);
        let bound = |input| rates.bound(Worst::of_any_kind(input, 1));
        assert_eq!((bound(200), bound(201)), (203, 406));
    }

    #[test]
    fn what_makes_no_sense_is_no_rate() {
        assert_eq!(Rates::new(vec![], 0), None);
        assert_eq!(Rates::new(vec![(1, usd(1, 1))], 0), None);
        assert_eq!(Rates::new(vec![(0, Told { input: None, ..usd(1, 1) })], 0), None);
    }

    #[test]
    fn a_bound_leaves_out_what_cannot_be() {
        let told = Told {
            cache_write: Some(1_250),
            cache_write_1h: Some(2_000),
            audio_input: Some(30_000),
            audio_output: Some(60_000),
            ..usd(1_000, 10_000)
        };
        let worst = Worst { input_tokens: 1, output_tokens: 1, audio: false, cache_1h: false };
        let rates = flat(told);
        assert_eq!(rates.bound(worst), 12);
        assert_eq!(rates.bound(Worst { cache_1h: true, ..worst }), 12);
        assert_eq!(rates.bound(Worst { audio: true, ..worst }), 90);
    }

    #[test]
    fn nothing_overflows() {
        let rates = Rates::new(vec![(0, usd(u64::MAX, u64::MAX))], u64::MAX).unwrap();
        let usage = Usage { input: u64::MAX, output: u64::MAX, ..Usage::default() };
        assert_eq!(rates.cost(&usage), MAX_COST);
        assert_eq!(rates.bound(Worst::of_any_kind(u64::MAX, u64::MAX)), MAX_COST);
        assert_eq!(
            flat(usd(1, 1)).bound(Worst::of_any_kind(u64::MAX, u64::MAX)),
            36_893_488_147_419_104
        );
    }

    fn told() -> impl Strategy<Value = Told> {
        let rate = || proptest::option::of(0u64..1_000_000_000);
        let kinds = proptest::array::uniform12(rate());
        (0u64..1_000_000_000, kinds).prop_map(|(input, kinds)| {
            let [a, b, c, d, e, f, g, h, i, j, k, _] = kinds;
            Told {
                input: Some(input),
                cache_read: a,
                cache_write: b,
                cache_write_1h: c,
                output: d,
                reasoning: e,
                audio_input: f,
                audio_cache_read: g,
                audio_output: h,
                image_input: i,
                image_cache_read: j,
                image_output: k,
            }
        })
    }

    fn rates() -> impl Strategy<Value = Rates> {
        let more = proptest::collection::vec((1u64..5_000_000, told()), 0..4);
        (told(), more, 0u64..1_000_000).prop_map(|(first, mut bands, request)| {
            bands.push((0, first));
            Rates::new(bands, request).unwrap()
        })
    }

    fn usage() -> impl Strategy<Value = Usage> {
        proptest::array::uniform8(prop_oneof![0u64..10, 0u64..3_000_000, 0u64..=Usage::MAX_COUNT])
            .prop_map(|[a, b, c, d, e, f, g, h]| Usage {
                input: a,
                cache_read: b,
                cache_write_5m: c,
                cache_write_1h: d,
                output: e,
                reasoning: f,
                audio_input: g,
                audio_output: h,
            })
    }

    proptest! {
        #[test]
        fn no_usage_costs_more_than_its_bound(
            rates in rates(), usage in usage(), more_in in 0u64..2_000_000, more_out in 0u64..9,
        ) {
            let worst = Worst {
                input_tokens: usage.total_input() + more_in,
                output_tokens: usage.output + more_out,
                audio: usage.audio_input > 0 || usage.audio_output > 0,
                cache_1h: usage.cache_write_1h > 0,
            };
            prop_assert!(rates.cost(&usage) <= rates.bound(worst));
        }

        #[test]
        fn a_bound_grows_with_the_request(
            rates in rates(), input in 0u64..3_000_000, output in 0u64..3_000_000, more in 0u64..9_000,
        ) {
            let bound = |i, o| rates.bound(Worst::of_any_kind(i, o));
            prop_assert!(bound(input, output) <= bound(input + more, output));
            prop_assert!(bound(input, output) <= bound(input, output + more));
        }

        #[test]
        fn nothing_panics(rates in rates(), counts: [u64; 8]) {
            let [input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, audio_input, audio_output] = counts;
            let usage = Usage {
                input, cache_read, cache_write_5m, cache_write_1h, output, reasoning, audio_input, audio_output,
            };
            prop_assert!(rates.cost(&usage) <= MAX_COST);
        }
    }
}
