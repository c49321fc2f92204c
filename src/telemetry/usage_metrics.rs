//! Figures on what is used of models, and what it costs.

use prometheus::{Error, Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::described::{BOOL, Label, MODEL, Metric, PROVIDER};
use super::provider_metrics::{CALL, word};
use super::register::Register;
use super::series::{Kept, TargetSeries};
use crate::chat::Usage;
use crate::config::valid::Config;
use crate::proxy::attempt::Used;

/// The bounds of the GenAI conventions for token counts.
const TOKEN_COUNTS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

const KIND: Label = Label::listed("kind", || Usage::default().kinds().map(|(kind, _)| kind).into());
const ATTEMPT: &[&str] = &["src/proxy/attempt.rs"];

const TOKENS: Metric = Metric::counter("sluicegate_tokens_total", "tokens")
    .labels(&[MODEL, PROVIDER, KIND])
    .meaning(
        "as reported by providers. `reasoning` and `audio_output` are in `output` too; the first four are apart",
    )
    .from(ATTEMPT);
const GENAI_TOKENS: Metric = Metric::histogram("gen_ai_client_token_usage", "tokens")
    .labels(&[CALL[0], CALL[1], Label::one_of("gen_ai_token_type", &["input", "output"])])
    .meaning("of one call, all input together")
    .from(ATTEMPT);
const COST: Metric = Metric::counter("sluicegate_cost_nano_usd_total", "10⁻⁹ USD")
    .labels(&[MODEL, PROVIDER])
    .meaning("what attempts cost, estimates included")
    .from(ATTEMPT);
const ESTIMATED: Metric = Metric::counter("sluicegate_estimated_usage_total", "attempts")
    .labels(&[MODEL, PROVIDER])
    .meaning("whose tokens are an estimate, for want of the provider's word")
    .from(ATTEMPT);
const UNPRICED: Metric = Metric::counter("sluicegate_unpriced_requests_total", "requests")
    .labels(&[MODEL, Label::one_of("refused", BOOL)])
    .meaning("for a model without a price, by callers with a budget")
    .at_zero()
    .from(&["src/proxy/admit.rs"]);

/// As the page has them.
pub(super) const METRICS: &[Metric] = &[TOKENS, GENAI_TOKENS, COST, ESTIMATED, UNPRICED];

/// Attempts at inference, as tokens and money are concerned.
pub struct UsageMetrics {
    tokens: IntCounterVec,
    genai_tokens: HistogramVec,
    cost: IntCounterVec,
    estimated: IntCounterVec,
    unpriced: IntCounterVec,
}

/// Those of one target.
#[derive(Default)]
pub(super) struct UsageSeries {
    cost: Kept<IntCounter>,
    /// Of a call's input, and of its output.
    genai_tokens: [Kept<Histogram>; 2],
    tokens: [Kept<IntCounter>; Usage::KINDS],
}

impl UsageMetrics {
    /// Registers everything.
    pub(super) fn new(register: &mut Register) -> Result<Self, Error> {
        Ok(Self {
            tokens: register.counters(&TOKENS)?,
            genai_tokens: register.histograms(&GENAI_TOKENS, TOKEN_COUNTS)?,
            cost: register.counters(&COST)?,
            estimated: register.counters(&ESTIMATED)?,
            unpriced: register.counters(&UNPRICED)?,
        })
    }

    /// Shows the series of the models that a configuration names, at zero.
    pub(super) fn configured(&self, config: &Config) {
        for model in config.models.keys() {
            for refused in BOOL {
                self.unpriced.with_label_values(&[model.as_str(), refused]);
            }
        }
    }

    /// Counts a request under a budget for a model without a price.
    pub fn unpriced(&self, model: &str, refused: bool) {
        self.unpriced.with_label_values(&[model, word(refused)]).inc();
    }

    /// Counts what an attempt at a target has used, of the model that was asked for and the provider that was.
    pub fn attempt(&self, series: &TargetSeries, model: &str, provider: &str, used: &Used) {
        let series = &series.usage;
        if let Some(cost @ 1..) = used.nano_usd {
            series.cost.get(|| self.cost.with_label_values(&[model, provider])).inc_by(cost);
        }
        if used.estimated {
            self.estimated.with_label_values(&[model, provider]).inc();
            return;
        }
        // An error, or what is free.
        if used.usage == Usage::default() {
            return;
        }
        let sides = [("input", used.usage.total_input()), ("output", used.usage.output)];
        for ((kind, tokens), histogram) in sides.into_iter().zip(&series.genai_tokens) {
            let look_up = || self.genai_tokens.with_label_values(&[model, provider, kind]);
            histogram.get(look_up).observe(tokens as f64);
        }
        for ((kind, tokens), counter) in used.usage.kinds().into_iter().zip(&series.tokens) {
            if tokens > 0 {
                let look_up = || self.tokens.with_label_values(&[model, provider, kind]);
                counter.get(look_up).inc_by(tokens);
            }
        }
    }
}
