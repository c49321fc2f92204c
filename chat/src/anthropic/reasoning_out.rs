//! Writes how much to think.
//!
//! Models of the present think by themselves, `adaptive`, with an effort; older ones think with a budget, which has to be at
//! least 1,024 tokens and less than `max_tokens`.

use crate::{
    ClientDialect, Refusal, Target,
    json::Writer,
    model::{Display, Effort, Field, Request, Thinking},
    refusal::Losses,
};

const LEAST_BUDGET: u64 = 1_024;

/// How much an upstream's model is to think.
pub struct Thinks {
    thinking: Option<Thinking>,
    display: Option<Display>,
    /// The effort to write in `output_config`.
    pub effort: Option<Effort>,
    /// The client speaks another dialect, and so knows nothing of what goes not with thinking.
    translated: bool,
}

impl Thinks {
    /// Whether the model is asked to think.
    pub fn is_on(&self) -> bool {
        matches!(self.thinking, Some(Thinking::Adaptive | Thinking::Budget(_)))
    }

    /// Whether a client of another dialect has it asked to think.
    pub fn is_translated_on(&self) -> bool {
        self.translated && self.is_on()
    }

    /// Writes the field `thinking`.
    pub fn write(&self, out: &mut Writer<'_>) {
        let Some(thinking) = self.thinking else { return };
        out.key("thinking").open();
        match thinking {
            Thinking::Off => _ = out.field("type", "disabled"),
            Thinking::Adaptive => _ = out.field("type", "adaptive"),
            Thinking::Budget(tokens) => {
                out.field("type", "enabled").count_field("budget_tokens", tokens);
            }
        }
        if thinking != Thinking::Off {
            out.field_if(
                "display",
                self.display.map(|display| match display {
                    Display::Omitted => "omitted",
                    Display::Auto | Display::Concise | Display::Detailed => "summarized",
                }),
            );
        }
        out.close();
    }
}

/// Decides how much to think.
pub fn decide(
    request: &Request<'_>,
    target: &Target<'_>,
    max_tokens: u64,
    losses: &mut Losses,
) -> Result<Thinks, Refusal> {
    let reasoning = request.reasoning;
    let translated = request.dialect != ClientDialect::Anthropic;
    let mut thinks = Thinks {
        thinking: reasoning.thinking,
        display: reasoning.display,
        effort: reasoning.effort,
        translated,
    };
    let Some(effort) = reasoning.effort.filter(|_| translated) else { return Ok(thinks) };
    thinks.effort = None;
    if reasoning.thinking.is_some() {
        // The client said it in our words; the effort beside it is for models that take one.
        let fits = target.capabilities.adaptive_thinking && effort != Effort::None;
        thinks.effort = fits.then_some(effort.max(Effort::Low));
        return Ok(thinks);
    }
    thinks.thinking = match effort.budget() {
        None => Some(Thinking::Off),
        Some(_) if target.capabilities.adaptive_thinking => {
            thinks.effort = Some(effort.max(Effort::Low));
            Some(Thinking::Adaptive)
        }
        Some(budget) => {
            // Half of the limit stays for the answer.
            let budget = budget.min(max_tokens / 2);
            if budget < LEAST_BUDGET {
                losses.parameter_because(
                    request.name_of(Field::Effort),
                    "reasoning needs a limit of at least 2048 output tokens; raise it",
                )?;
                None
            } else {
                Some(Thinking::Budget(budget))
            }
        }
    };
    Ok(thinks)
}
