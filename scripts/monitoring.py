#!/usr/bin/env python3
"""Holds alerts, dashboards, their documentation and what is made of them together.

    monitoring.py check     says what does not fit; needs promtool
    monitoring.py write     writes prometheus/named.json and the rules for the Prometheus operator anew

`prometheus/named.json` lists every metric of the gateway that a rule or a panel names, with its labels. An
integration test looks for each of them on /metrics.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from promql import Names

ROOT = Path(__file__).resolve().parent.parent
NAMED = ROOT / "prometheus/named.json"
OPERATOR = ROOT / "k8s/components/monitoring/prometheusrule.yaml"
RUNBOOK = ROOT / "docs/runbook.md"
SEVERITIES = ("critical", "warning", "info")
# What Prometheus adds by itself.
TARGET_LABELS = {"job", "namespace", "instance"}
OF_PROMETHEUS = {"up"}
# What kube-state-metrics says of pods and jobs, which no gateway has on its /metrics.
OF_KUBERNETES = {"kube_cronjob_created", "kube_cronjob_status_last_successful_time", "kube_pod_container_status_restarts_total"}
OF_OTHERS = OF_PROMETHEUS | OF_KUBERNETES
# Panels that every Grafana has.
PANELS = {"row", "timeseries", "stat", "bargauge", "table", "heatmap"}
SUFFIXES = ("_bucket", "_sum", "_count")


def rule_files():
    return [ROOT / "prometheus/recording.yaml", *sorted((ROOT / "prometheus/alerts").glob("*.yaml"))]


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules():
    """Each rule with the file that it is in."""
    for path in rule_files():
        for group in load(path)["groups"]:
            for rule in group["rules"]:
                yield path, rule


def dashboards():
    for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        yield path, json.loads(path.read_text(encoding="utf-8"))


def expressions():
    """Every expression with its place, as Prometheus gets it from Grafana."""
    for path, rule in rules():
        yield f"{path.name}: {rule.get('alert') or rule['record']}", str(rule["expr"])
    for path, board in dashboards():
        found = [("annotations", item["expr"]) for item in board["annotations"]["list"]]
        found += [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", [])]
        for variable in board["templating"]["list"]:
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable.get("definition", ""))
            if asked:
                found.append((f"variable {variable['name']}", f"count by ({asked[2]}) ({asked[1]})"))
        for title, expression in found:
            expression = re.sub(r"\$__(rate_interval|range|interval)", "5m", expression)
            yield f"{path.name}: {title}", expression


class Judge:
    """Collects what does not fit."""

    def __init__(self):
        self.problems = []
        self.count = 0

    def expect(self, true, what):
        self.count += 1
        if not true:
            self.problems.append(what)

    def parse(self):
        """Every expression is one: promtool reads them as recording rules."""
        every = [{"record": f"check:{number}", "expr": text} for number, (_, text) in enumerate(expressions())]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump({"groups": [{"name": "check", "rules": every}]}, file)
            file.flush()
            done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
        places = [place for place, _ in expressions()]
        wrong = re.sub(r"check:(\d+)", lambda found: places[int(found[1])], done.stderr + done.stdout)
        self.expect(done.returncode == 0, f"expressions that don't parse:\n{wrong}")

    def alerts(self):
        text = RUNBOOK.read_text(encoding="utf-8")
        anchors = {line[4:].strip() for line in text.splitlines() if line.startswith("### Sluicegate")}
        known = set()
        for path, rule in rules():
            if "alert" not in rule:
                continue
            name, notes = rule["alert"], rule.get("annotations", {})
            self.expect(name not in known, f"{name} is there twice")
            known.add(name)
            self.expect(rule["labels"].get("severity") in SEVERITIES, f"{name}: severity is none of {SEVERITIES}")
            self.expect(set(notes) == {"summary", "description", "runbook_url"}, f"{name}: annotations {sorted(notes)}")
            self.expect(notes.get("runbook_url") == f"docs/runbook.md#{name.lower()}", f"{name}: runbook_url")
            self.expect(name in anchors, f"{name} is not in docs/runbook.md")
            tests = load(ROOT / "prometheus/tests" / path.name)["tests"]
            cases = [case for test in tests for case in test.get("alert_rule_test", []) if case["alertname"] == name]
            self.expect(any(case["exp_alerts"] for case in cases), f"{name}: no test in which it fires")
            self.expect(any(not case["exp_alerts"] for case in cases), f"{name}: no test in which it is quiet")
        self.expect(anchors <= known, f"docs/runbook.md has alerts that don't exist: {sorted(anchors - known)}")
        linked = set(re.findall(r"\]\(#(sluicegate\w+)\)", text))
        self.expect(linked <= {name.lower() for name in known}, f"docs/runbook.md: dead links {sorted(linked)}")

    def boards(self):
        uids = set()
        for path, board in dashboards():
            name = path.name
            self.expect(board["uid"] not in uids, f"{name}: uid is there twice")
            uids.add(board["uid"])
            variables = {variable["name"]: variable for variable in board["templating"]["list"]}
            self.expect(variables.get("datasource", {}).get("type") == "datasource", f"{name}: no variable for the data source")
            ids = [panel["id"] for panel in board["panels"]]
            self.expect(len(ids) == len(set(ids)), f"{name}: an id is there twice")
            taken = set()
            for panel in board["panels"]:
                title, at = f"{name}: {panel['title']}", panel["gridPos"]
                self.expect(panel["type"] in PANELS, f"{title}: type {panel['type']}")
                cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                self.expect(not cells & taken and at["x"] + at["w"] <= 24, f"{title}: lies over another")
                taken |= cells
                for target in panel.get("targets", []):
                    self.expect(target["datasource"]["uid"] == "${datasource}", f"{title}: a data source of its own")
                    used = set(re.findall(r"\$(?!__)(\w+)", target["expr"]))
                    self.expect(used <= set(variables), f"{title}: variables {sorted(used - set(variables))}")

    def documented(self):
        """What is named is in docs/metrics.md, and so is every value that it is compared with."""
        described, names = metrics(), names_of_all()
        recorded = {rule["record"] for _, rule in rules() if "record" in rule}
        for metric, labels in names.labels.items():
            if metric in OF_OTHERS:
                continue
            if ":" in metric:
                self.expect(metric in recorded, f"{metric} is recorded nowhere")
                continue
            base = family(metric, described)
            self.expect(base is not None, f"{metric} is not in docs/metrics.md")
            for label in labels - TARGET_LABELS - {"le"} if base else ():
                self.expect(label in described[base], f"{metric} has no label {label}, by docs/metrics.md")
                closed = described[base].get(label)
                named = {value for value in names.values[metric, label] if "$" not in value}
                self.expect(not closed or named <= closed, f"{metric}: {label} is never {sorted(named - (closed or set()))}")

    def current(self):
        self.expect(NAMED.exists() and NAMED.read_text(encoding="utf-8") == named(), "prometheus/named.json is out of date: scripts/monitoring.py write")
        self.expect(OPERATOR.exists() and OPERATOR.read_text(encoding="utf-8") == operator(), f"{OPERATOR.relative_to(ROOT)} is out of date: scripts/monitoring.py write")


def names_of_all():
    names = Names()
    for place, expression in expressions():
        try:
            names.read(expression)
        except (ValueError, IndexError) as error:
            sys.exit(f"{place}: {error}")
    return names


def metrics():
    """The tables of docs/metrics.md: of each metric its labels, and of each label its values, if they are closed."""
    codes = set(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/errors.md").read_text(encoding="utf-8"), re.MULTILINE))
    found, before = {}, {}
    for line in (ROOT / "docs/metrics.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")][1:-1]
        if len(cells) != 6 or not cells[0].startswith("`"):
            continue
        labels = {}
        for part in filter(None, cells[3].split("; ")):
            label, _, values = part.partition(": ")
            label = label.strip("`")
            closed = set(re.findall(r"`([^`]+)`", values))
            if "errors.md" in values:
                closed = codes
            if values == "as above":
                closed = before[label]
            before[label] = labels[label] = closed or None
        found[cells[0].strip("`")] = labels
        if cells[1] == "histogram":
            found[cells[0].strip("`")] = labels | {"le": None}
    return found


def family(metric, described):
    """The metric whose series this is."""
    if metric in described:
        return metric
    for suffix in SUFFIXES:
        base = metric.removesuffix(suffix)
        if base != metric and "le" in described.get(base, {}):
            return base
    return None


def named():
    """The text of named.json."""
    labels = {
        metric: sorted(found - TARGET_LABELS)
        for metric, found in sorted(names_of_all().labels.items())
        if metric not in OF_OTHERS and ":" not in metric
    }
    lines = ",\n".join(f"  {json.dumps(metric)}: {json.dumps(found)}" for metric, found in labels.items())
    return f"{{\n{lines}\n}}\n"


def operator():
    """All rules as one PrometheusRule."""
    groups = [group for path in rule_files() for group in load(path)["groups"]]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "sluicegate", "labels": {"app.kubernetes.io/name": "sluicegate"}},
        "spec": {"groups": groups},
    }
    head = "# Made of prometheus/ by scripts/monitoring.py; changes belong there.\n"
    return head + yaml.dump(rule, Dumper=Blocks, sort_keys=False, width=10_000, allow_unicode=True)


class Blocks(yaml.SafeDumper):
    """Texts of several lines as blocks, as they were."""


Blocks.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def main():
    if sys.argv[1:] == ["write"]:
        NAMED.write_text(named(), encoding="utf-8")
        OPERATOR.write_text(operator(), encoding="utf-8")
        return
    if sys.argv[1:] != ["check"]:
        sys.exit(__doc__)
    judge = Judge()
    judge.parse()
    judge.alerts()
    judge.boards()
    judge.documented()
    judge.current()
    for problem in judge.problems:
        print(problem, file=sys.stderr)
    metrics_named = len(json.loads(named()))
    print(f"{sum('alert' in rule for _, rule in rules())} alerts, {len(list(expressions()))} expressions that name {metrics_named} series, {judge.count} checks")
    sys.exit(bool(judge.problems))


if __name__ == "__main__":
    main()
