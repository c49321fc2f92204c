#!/usr/bin/env python3
"""Writes filters/src/price/table.json from the PyPI package genai-prices.

    prices.py --version     the release that is read
    prices.py PATH          write the table; says what was left out or rounded

The table holds facts only: what a token of each kind costs, by provider, model, length of the
input and service tier. All amounts are whole pico-USD (10^-12 USD) a token, `request` those of one
request. A list holds the prices of DATE and those that the source knows to come, each with the
day (UTC) from which it holds. The output depends on nothing but VERSION and DATE.
"""

import datetime
import json
import re
import sys
from collections import Counter
from decimal import ROUND_CEILING, Decimal

# The release, and the day whose prices are taken. Change them together.
VERSION = "0.2.3"
DATE = datetime.date(2026, 11, 24)

# The gateway's names of providers, with the source's. Hugging Face's router serves models of
# others, which are named behind a colon.
PROVIDERS = {
    "anthropic": "anthropic",
    "azure": "azure",
    "bedrock": "aws",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "novita": "novita",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "xai": "x-ai",
    "zai": "zai",
}
HUGGINGFACE = "huggingface_"
# Who serves models of others at their prices, with them: Vertex AI serves what the source has as
# Google's, Claude included.
ALIKE = {"vertex": ["gemini", "anthropic"]}

# Kinds of tokens with the source's keys for them; where there are several, the dearest counts.
KINDS = {
    "input": ["input_mtok"],
    "cache_read": ["cache_read_mtok"],
    "cache_write": ["cache_write_mtok", "cache_write_5m_mtok"],
    "cache_write_1h": ["cache_write_1h_mtok"],
    "output": ["output_mtok"],
    "reasoning": ["output_reasoning_mtok"],
    "audio_input": ["input_audio_mtok"],
    "audio_cache_read": ["cache_audio_read_mtok"],
    "audio_output": ["output_audio_mtok"],
    "image_input": ["input_image_mtok", "input_video_mtok"],
    "image_cache_read": ["cache_image_read_mtok", "cache_video_read_mtok"],
    "image_output": ["output_image_mtok", "output_video_mtok"],
    "request": ["requests_kcount"],
}
KIND_OF = {key: kind for kind, keys in KINDS.items() for key in keys}
# Fees of tools, which are billed beside tokens and are not in the table.
FEES = {"web_searches_kcount", "storage_searches_kcount"}
# What an answer's usage does not count: a model that is billed by it can't be priced.
UNCOUNTED = {
    "audio_hours",
    "input_annotated_document_kpages",
    "input_audio_hours",
    "input_document_kpages",
    "input_mchars",
    "input_text_messages_kcount",
    "output_citation_mtok",
}
# Contexts of the source's price variants that are tiers here.
TIERS = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "fast"): "fast",
    ("speed", "fast"): "fast",
}
# Contexts whose prices can't be told from the standard ones by a request: the dearest counts.
BLURRED = {"route"}
# Contexts that change nothing but fees, or nothing.
IGNORED = {("service_tier", "default"), ("search_type", "fast"), ("search_type", "web")}

# Beyond this many decimals of a pico-USD, a difference is a float's noise.
NOISE = Decimal("0.000001")

NOT_TTS = r"^(?!.*-[tT][tT][sS](?:$|-))"
DATED = re.compile(r"^\^(?P<base>.+?)(?:\[-@\]|-)(?:\\d\{8\}|\\d\{4\}-\\d\{2\}-\\d\{2\})\$$")
DIGIT = re.compile(r"^\^(?P<prefix>.+)\\d$")
LITERAL = re.compile(r"^(?:[\w/-]|\\\.)+$")

left_out = Counter()
rounded = []


class Unpriceable(Exception):
    """The model can't be priced; the reason."""


def pico(value, key, where):
    """A price of the source in pico-USD, rounded up."""
    factor = Decimal(10**9) if KIND_OF[key] == "request" else Decimal(10**6)
    exact = Decimal(value) * factor
    nearest = exact.to_integral_value()
    if abs(exact - nearest) <= NOISE:
        return int(nearest)
    rounded.append(f"{where} {key} {value}")
    return int(exact.to_integral_value(rounding=ROUND_CEILING))


def bands(price, where):
    """{start: {kind: pico}}: the prices of inputs longer than each start."""
    flat = {}
    for key, value in vars(price).items():
        if value is None or key in FEES:
            continue
        if key in UNCOUNTED:
            raise Unpriceable(key)
        if key not in KIND_OF:
            sys.exit(f"{where}: unknown unit {key}: say in scripts/prices.py what it is")
        steps = [(0, value)]
        if hasattr(value, "tiers"):
            steps = [(0, value.base)] + [(tier.start, tier.price) for tier in value.tiers]
        flat[key] = [(start, pico(amount, key, where)) for start, amount in steps]
    starts = sorted({start for steps in flat.values() for start, _ in steps} | {0})
    found = {}
    for start in starts:
        band = found.setdefault(start, {})
        for key, steps in flat.items():
            amount = [amount for at, amount in steps if at <= start][-1]
            kind = KIND_OF[key]
            band[kind] = max(band.get(kind, 0), amount)
    return found


def merged(first, second, dearest):
    """Bands with the kinds of both; of a kind in both the dearest, or the second's."""
    result = {}
    for start in sorted(set(first) | set(second)):
        a = first[max(at for at in first if at <= start)]
        b = second[max(at for at in second if at <= start)] if second else {}
        band = dict(a)
        for kind, amount in b.items():
            band[kind] = max(amount, a.get(kind, 0)) if dearest else amount
        result[start] = band
    return result


def standard(model, day, types, where):
    """The prices of `day`; of prices that depend on the time of day, the dearest."""
    if isinstance(model.prices, types.ModelPrice):
        return bands(model.prices, where)
    hourly = []
    base = None
    for conditional in reversed(model.prices):
        constraint = conditional.constraint
        if isinstance(constraint, types.TimeOfDateConstraint):
            hourly.append(conditional.prices)
        elif constraint is None or constraint.start_date <= day:
            base = conditional.prices
            break
    result = bands(model.prices[0].prices if base is None else base, where)
    for prices in hourly:
        result = merged(result, bands(prices, where), dearest=True)
    return result


def prices_of(model, day, types, where):
    """Every tier's bands on `day`."""
    base = standard(model, day, types, where)
    tiers = {}
    for variant in model.price_variants or []:
        constraint = variant.constraint
        if isinstance(constraint, types.StartDateConstraint):
            if constraint.start_date > day:
                continue
        elif constraint is not None:
            sys.exit(f"{where}: a variant by time of day: say in scripts/prices.py what it is")
        if len(variant.when) != 1:
            sys.exit(f"{where}: a variant of two contexts: say in scripts/prices.py what it is")
        ((context, value),) = variant.when.items()
        if context in BLURRED:
            base = merged(base, bands(variant.prices, where), dearest=True)
        elif (context, value) in TIERS:
            # Of several variants, the first that has a kind decides.
            tier = TIERS[context, value]
            later = bands(variant.prices, where)
            tiers[tier] = merged(later, tiers[tier], dearest=False) if tier in tiers else later
        elif (context, value) not in IGNORED:
            sys.exit(f"{where}: unknown context {context}={value}: say in scripts/prices.py what it is")
    if "input" not in base[0]:
        raise Unpriceable("no price of input tokens")
    found = {"standard": base}
    for tier in sorted(tiers):
        found[tier] = merged(base, tiers[tier], dearest=False)
    return {tier: squeezed(found[tier]) for tier in found if tier == "standard" or found[tier] != base}


def squeezed(found):
    """As a list; a band that says what the one before says is left out."""
    result = []
    for start, band in found.items():
        ordered = {kind: band[kind] for kind in KINDS if kind in band}
        last = {k: v for k, v in result[-1].items() if k != "over"} if result else None
        if ordered != last:
            result.append(({"over": start} if start else {}) | ordered)
    return result


def days(model, types):
    """DATE, and the later days on which a price changes."""
    constraints = [] if isinstance(model.prices, types.ModelPrice) else [c.constraint for c in model.prices]
    constraints += [variant.constraint for variant in model.price_variants or []]
    later = {c.start_date for c in constraints if isinstance(c, types.StartDateConstraint)}
    return [DATE] + sorted(day for day in later if day > DATE)


def rules(clause, types, where):
    """The clause as rules, any of which is enough."""
    name = type(clause).__name__
    if name == "ClauseOr":
        return [rule for part in clause.or_ for rule in rules(part, types, where)]
    if name == "ClauseEquals":
        return [clause.equals.lower()]
    if name == "ClauseStartsWith":
        return [{"prefix": clause.starts_with.lower()}]
    if name == "ClauseEndsWith":
        return [{"suffix": clause.ends_with.lower()}]
    if name == "ClauseContains":
        return [{"contains": clause.contains.lower()}]
    if name == "ClauseAnd" and len(clause.and_) == 2 and getattr(clause.and_[1], "regex", "") == NOT_TTS:
        (rule,) = rules(clause.and_[0], types, where)
        return [rule | {"without": "-tts"}]
    if name == "ClauseRegex":
        if (match := DATED.match(clause.regex)) and LITERAL.match(match["base"]):
            return [{"dated": match["base"].replace("\\.", ".").lower()}]
        if (match := DIGIT.match(clause.regex)) and LITERAL.match(match["prefix"]):
            return [{"prefix": match["prefix"].replace("\\.", ".").lower(), "digit": True}]
    sys.exit(f"{where}: a rule that is not understood: {clause}")


def entry(provider, model, types, suffix=""):
    """One model of the table, or nothing."""
    where = f"{provider} {model.id}"
    try:
        prices = []
        for day in days(model, types):
            found = prices_of(model, day, types, where)
            if prices and {k: v for k, v in prices[-1].items() if k != "from"} == found:
                continue
            prices.append(({"from": day.isoformat()} if day != DATE else {}) | found)
    except Unpriceable as reason:
        left_out[f"{provider}: {reason}"] += 1
        return None
    match = []
    for rule in rules(model.match, types, where):
        if suffix and isinstance(rule, str):
            rule += suffix
        elif suffix:
            continue
        if rule not in match:
            match.append(rule)
    context = {"context": model.context_window} if model.context_window else {}
    return {"id": model.id} | context | {"match": match, "prices": prices}


def table():
    from genai_prices import __version__, types
    from genai_prices.data import providers

    if __version__ != VERSION:
        sys.exit(f"genai-prices {__version__} is installed, {VERSION} is wanted: run `make prices`")
    by_id = {provider.id: provider for provider in providers}
    names = {source: name for name, source in PROVIDERS.items()}
    found = {}
    for name, source in PROVIDERS.items():
        provider = by_id[source]
        models = [entry(name, model, types) for model in provider.models]
        also = [names[other] for other in provider.fallback_model_providers or [] if other in names]
        found[name] = ({"also": also} if also else {}) | {"models": [m for m in models if m]}
    for name, others in ALIKE.items():
        found[name] = {"also": others, "models": []}
    models = []
    for source, provider in by_id.items():
        if source.startswith(HUGGINGFACE):
            suffix = ":" + source.removeprefix(HUGGINGFACE)
            models += [entry("huggingface", model, types, suffix) for model in provider.models]
    found["huggingface"] = {"models": [model for model in models if model and model["match"]]}
    return dict(sorted(found.items()))


def write(path, found):
    """One model a line, so that a change is a line in a review."""
    compact = lambda value: json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    lines = [f'{{"source":"genai-prices {VERSION}","date":"{DATE}","providers":{{']
    for position, (name, provider) in enumerate(found.items()):
        also = f'"also":{compact(provider["also"])},' if "also" in provider else ""
        lines.append(f'"{name}":{{{also}"models":[')
        models = [compact(model) for model in provider["models"]]
        lines.append(",\n".join(models))
        lines.append("]}" + ("," if position + 1 < len(found) else ""))
    lines.append("}}")
    with open(path, "w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(lines) + "\n")


def main():
    if sys.argv[1:] == ["--version"]:
        print(VERSION)
        return
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = table()
    write(sys.argv[1], found)
    count = sum(len(provider["models"]) for provider in found.values())
    print(f"{count} models of {len(found)} providers")
    print(f"left out: {sum(left_out.values())}")
    for reason, times in sorted(left_out.items()):
        print(f"  {reason}: {times}")
    print(f"rounded up to a pico-USD a token: {len(rounded)}")
    for price in sorted(set(rounded)):
        print(f"  {price}")


if __name__ == "__main__":
    main()
