"""Alerts, dashboard and the metrics of the autoscalers: that they can be read, and speak of metrics that there are."""

import json
import os
import pathlib
import re
import subprocess

import yaml

import rendered
from checks import check, equal

MONITORING = rendered.KUBERNETES / "components/monitoring"
PROMTOOL = os.environ["OTARIA_PROMTOOL"]
WORK = pathlib.Path(os.environ["OTARIA_WORK"]) / "rules"
METRIC = re.compile(r"\botaria_[a-z0-9_]+")


def promtool(*arguments):
    done = subprocess.run([PROMTOOL, *arguments], cwd=WORK, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr).strip()[-600:]


def written(file, groups):
    (WORK / file).write_text(yaml.safe_dump({"groups": groups}))
    return file


def told():
    """Every metric that the sources tell, by the literal that names it."""
    sources = rendered.ROOT.glob("crates/*/src/**/*.rs")
    return {metric for source in sources for metric in re.findall(r'"(otaria_[a-z0-9_]+)"', source.read_text())}


def panels():
    return json.loads((MONITORING / "otaria.json").read_text())["panels"]


def expressions():
    """Everything that asks Prometheus, by where it stands."""
    for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"]:
        for rule in group["rules"]:
            yield f"the alert {rule['alert']}", rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m").replace("$namespace", ".*")
            yield f"the panel {panel['title']}", query
    for rule in yaml.safe_load((MONITORING / "adapter-values.yaml").read_text())["rules"]["custom"]:
        query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'pod="a"').replace("<<.GroupBy>>", "pod")
        yield f"the metric {rule['name']['as']} of the adapter", query
        yield f"the series of {rule['name']['as']}", rule["seriesQuery"]


def all_of(overlay):
    WORK.mkdir(parents=True, exist_ok=True)
    with check("the alerts are rules of Prometheus"):
        (rules,) = overlay.of("PrometheusRule")
        promtool("check", "rules", written("groups.yaml", rules["spec"]["groups"]))
    with check("the alerts that matter most sound when they should"):
        (WORK / "rules_test.yaml").write_text((MONITORING / "rules_test.yaml").read_text())
        promtool("test", "rules", "rules_test.yaml")
    with check("every query of the dashboard and of the adapter can be read"):
        queries = [{"record": f"q{n}", "expr": query} for n, (_, query) in enumerate(expressions())]
        promtool("check", "rules", written("queries.yaml", [{"name": "all", "rules": queries}]))
    with check("alerts, dashboard and adapter speak only of metrics that the program tells"):
        known = told()
        for place, query in expressions():
            strange = set(METRIC.findall(query)) - known
            assert METRIC.findall(query) and not strange, f"{place} asks for {strange or 'nothing'}"
    with check("the autoscalers ask for metrics that the adapter offers"):
        custom = yaml.safe_load((MONITORING / "adapter-values.yaml").read_text())["rules"]["custom"]
        offered = {rule["name"]["as"] for rule in custom}
        metrics = [m for scaler in overlay.of("HorizontalPodAutoscaler") for m in scaler["spec"]["metrics"]]
        equal({metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"}, offered)
    with check("the panels of the dashboard have their own numbers and places"):
        equal(len({panel["id"] for panel in panels()}), len(panels()))
        taken = set()
        for panel in panels():
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
            taken |= cells
