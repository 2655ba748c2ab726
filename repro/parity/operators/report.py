"""Text about operators: the list of them, and a finding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from textwrap import fill

from repro.choices import FRAMEWORKS
from repro.parity.operators.operator import Operator, Setting, describe, to_text
from repro.parity.operators.verdict import Finding, FrameworkResult

WIDTH = 120


def list_operators(operators: Iterable[Operator]) -> str:
    """A line for each operator: its name, the shape of x, and its settings with what they are by default."""
    lines = []
    for operator in operators:
        settings = [_describe_setting(setting) for setting in operator.settings]
        text = f"{operator.name:22}{' '.join([f'shape={to_text(operator.shape)}', *settings])}"
        lines.append(fill(text, WIDTH, subsequent_indent=" " * 22, break_long_words=False, break_on_hyphens=False))
    return "\n".join(lines)


def _describe_setting(setting: Setting) -> str:
    """NAME=VALUE, the values of torch, paddle and mindspore where these differ, in brackets if it cannot be set."""
    if setting.default is not None:
        return f"{setting.name}={to_text(setting.default)}"
    values = [to_text(setting.documented[framework]) for framework in FRAMEWORKS]
    text = f"{setting.name}={values[0] if len(set(values)) == 1 else '|'.join(values)}"
    return text if setting.can_be_set else f"[{text}]"


def report_finding(operator: Operator, finding: Finding) -> str:
    """The calls of the frameworks, each with how near it is to its documentation, and the verdict with its reason."""
    lines = [f"{operator.name} {describe(finding.chosen)}".rstrip(), ""]
    for result in finding.frameworks:
        lines.append(f"{result.framework:10}{_call(operator, finding, result.framework)}")
        lines.append(fill(_describe_result(result), WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 10))
    reason = f"not as documented in {' and '.join(finding.culprits)}" if finding.culprits else finding.reason
    return "\n".join([*lines, "", fill(f"{finding.verdict.upper()}: {reason}", WIDTH)])


def finding_as_json(operator: Operator, finding: Finding, versions: Mapping[str, str]) -> str:
    """The finding as a JSON object, with the call of each framework. versions: framework -> version."""
    content = {
        "operator": operator.name,
        "settings": {name: to_text(value) for name, value in finding.chosen.items()},
        "verdict": finding.verdict,
        "reason": finding.reason,
        "culprits": finding.culprits,
        "frameworks": {
            result.framework: {
                "version": versions[result.framework],
                "call": _call(operator, finding, result.framework),
                "settings": {name: to_text(value) for name, value in result.settings.items()},
                "documented": not (result.is_wrong or result.refusal),
                "description": _describe_result(result),
            }
            for result in finding.frameworks
        },
    }
    return json.dumps(content, indent=1) + "\n"


def _call(operator: Operator, finding: Finding, framework: str) -> str:
    """The call of the operator in a framework, with the layer in place of its name."""
    code = operator.code(framework, finding.chosen)
    created = [line for line in code.setup if line.startswith("layer = ")]
    return code.y.replace("layer", created[0].removeprefix("layer = ")) if created else code.y


def _describe_result(result: FrameworkResult) -> str:
    if result.refusal:
        return f"refused: {result.refusal}"
    comparison = result.comparison
    assert comparison
    if result.is_wrong:
        return f"not as documented: {comparison.where}: {comparison.reason}"
    exact = "exactly" if comparison.verdict == "equal" else f"within rounding ({comparison.where}: {comparison.reason})"
    return f"as documented, {exact}{f'; {result.note}' if result.note else ''}"
