"""What PromQL expressions name: metrics, their labels, and the values that they are compared with.

Whether an expression is right, promtool says. This only has to find names in one that is, so it reads tokens
and keeps a stack of parentheses: the labels of `sum by (a) (...)` belong to every metric within.
"""

import re
from collections import defaultdict

TOKEN = re.compile(
    r"""
      (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<range>\[[^\]]*\])
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    | (?P<number>[0-9][0-9a-zA-Z.]*)
    | (?P<operator>=~|!~|!=|==|>=|<=|[-+*/%^=<>(){},@])
    | (?P<space>\s+)
    """,
    re.VERBOSE,
)
# Words that stand before a list of labels.
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = GROUPING | {"and", "or", "unless", "offset", "bool", "inf", "nan", "start", "end"}
# A pattern that is nothing but a choice of texts.
CHOICE = re.compile(r"[A-Za-z0-9_/{}-]+(\|[A-Za-z0-9_/{}-]+)*")


class Names:
    """What was found: labels of each metric, and values of each label of a metric."""

    def __init__(self):
        self.labels = defaultdict(set)
        self.values = defaultdict(set)

    def read(self, expression):
        """Adds what `expression` names."""
        tokens = list(tokenize(expression))
        # One set of labels for each parenthesis that is open, and what the next one is given.
        scopes, pending, last_closed = [set()], set(), []
        at = 0
        while at < len(tokens):
            kind, text = tokens[at]
            following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
            if kind == "name" and text in GROUPING:
                words, at = labels_of(tokens, at + 1)
                if text == "by":
                    # Before its expression, or after it.
                    if at < len(tokens) and tokens[at][1] == "(":
                        pending = words
                    else:
                        for metric in last_closed:
                            self.labels[metric] |= words
                continue
            if kind == "name" and text not in WORDS and following != "(":
                # Functions and aggregations are followed by a parenthesis, or by their grouping.
                if following not in GROUPING:
                    at = self.selector(tokens, at, set().union(*(scope for scope in scopes)))
                    last_closed = [text]
                    continue
            elif text == "(":
                scopes.append(pending)
                pending = set()
            elif text == ")":
                scopes.pop()
            at += 1

    def selector(self, tokens, at, grouped):
        metric = tokens[at][1]
        self.labels[metric] |= grouped
        at += 1
        if at == len(tokens) or tokens[at][1] != "{":
            return at
        at += 1
        while tokens[at][1] != "}":
            if tokens[at][1] == ",":
                at += 1
                continue
            label, operator, value = tokens[at][1], tokens[at + 1][1], tokens[at + 2][1][1:-1]
            self.labels[metric].add(label)
            if operator in ("=", "!="):
                self.values[metric, label].add(value)
            elif CHOICE.fullmatch(value):
                self.values[metric, label] |= set(value.split("|"))
            at += 3
        return at + 1


def tokenize(expression):
    at = 0
    while at < len(expression):
        found = TOKEN.match(expression, at)
        if not found:
            raise ValueError(f"not understood at {expression[at:at + 20]!r}")
        at = found.end()
        if found.lastgroup not in ("space", "range"):
            yield found.lastgroup, found.group()


def labels_of(tokens, at):
    """The names in the parentheses at `at`, and what is behind them."""
    words = set()
    if at == len(tokens) or tokens[at][1] != "(":
        return words, at
    while tokens[at][1] != ")":
        if tokens[at][0] == "name":
            words.add(tokens[at][1])
        at += 1
    return words, at + 1
