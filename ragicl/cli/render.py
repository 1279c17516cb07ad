"""What the command shows people: predictions, tunings and indexes as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ragicl.data.labels import spelled_out

if TYPE_CHECKING:
    from ragicl.engine import Engine
    from ragicl.index.build import Report, Survey
    from ragicl.inference.tuned_settings import Tuned
    from ragicl.records import Example, Explanation, Kind, Recall, Support
    from ragicl.serving.batch import Row

SHOWN = 3  # neighbours under each prediction
STRONGEST = 5  # demonstrations read before every text, of many


def block(row: Row, engine: Engine) -> str:
    """Return a row for people: the text, the answer, the nearest demonstrations."""
    if "error" in row:
        return f"{row['input']}\n  not answered: {row['error']}\n"
    sure = f"  {row['probability']:.3f}" if "probability" in row else ""
    lines = [row["input"], f"  => {row['output']}{sure}"]
    if "gold" in row:
        lines[-1] += f"  ({'right' if row['gold'] == row['output'] else 'gold: ' + row['gold']})"
    shown = row["neighbors"][:SHOWN]
    examples = engine.index.get([neighbor["id"] for neighbor in shown])
    for neighbor in shown:
        example = examples.get(neighbor["id"])  # None: removed by another process just now
        text = " ".join(example.input.split()) if example else "(removed)"
        lines.append(
            f"     {neighbor['similarity']:.2f}  {neighbor['output'][:40]}  <- {text[:80]}"
        )
    if "prompt" in row:
        lines.append(row["prompt"])
    return "\n".join(lines) + "\n"


def explained(explanation: Explanation) -> str:
    """Return an explanation for people: what changes or adds most comes first."""
    lines = [explanation.text, f"  => {explanation.output}"]
    if explanation.label != explanation.output:
        lines.append(f"  explained: {explanation.label}")
    adds = "; what each demonstration adds:" if explanation.influences else ""
    lines.append(f"     log-probability {explanation.log_prob:.3f}{adds}")
    for own in sorted(explanation.influences, key=lambda i: -abs(i.log_prob_change)):
        similar = f"similarity {own.neighbor.similarity:.2f}"
        lines.append(f"     {own.log_prob_change:+.3f}  {similar}  {_pair(own.neighbor.example)}")
        if own.output_without not in (None, explanation.output):
            lines.append(f"             without it: {own.output_without}")
    return "\n".join([*lines, *_support(explanation.support), *_in_context(explanation)])


def _support(support: Support | None) -> Iterator[str]:
    if support is None:
        return
    yield (
        f"     log-odds against {support.against} {support.log_odds:+.3f}, {support.total:+.3f} of "
        f"them by the kernel ridge; what stored examples add to it:"
    )
    for own in support.examples:
        yield f"     {own.nats:+.3f}  {', '.join(own.by_source)}  {_pair(own.example)}"
    yield f"     {support.rest:+.3f}  all other examples together"


def _in_context(explanation: Explanation) -> Iterator[str]:
    """Yield the demonstrations read before every text that change most, and how many there are."""
    found = sorted(explanation.in_context, key=lambda own: -abs(own.log_odds_change))
    if not found:
        return
    yield f"     read before every text: {len(found)} demonstrations; to the log-odds add most:"
    for own in found[:STRONGEST]:
        yield f"     {own.log_odds_change:+.3f}  {_pair(own.example)}"
        if own.output_without != explanation.output:
            yield f"             without it: {own.output_without}"


def _pair(example: Example) -> str:
    text, output = " ".join(example.input.split()), " ".join(example.output.split())
    return f"{output[:40]}  <- {text[:80]}"


def tuning(tuned: Tuned) -> str:
    """Return what tuning tried and chose, for people."""
    evidence, blend = tuned.evidence, tuned.blend
    lines = [f"{'tried':44} {'examples':>8} {'loss':>7} {'s each':>7}"]
    best: dict[str, Any] = {}
    for trial in evidence["trials"]:
        best[trial["candidate"]] = trial  # the last one saw the most examples
    for trial in sorted(best.values(), key=lambda own: (-own["rows"], own["loss"])):
        lines.append(
            f"{trial['candidate']:44} {trial['rows']:8} {trial['loss']:7.4f} "
            f"{trial['seconds_a_row']:7.3f}"
        )
    lines += [
        "",
        f"chosen: {evidence['trials'][-1]['candidate']}, {tuned.policy['voters']} voters, "
        f"calibration {tuned.calibration}",
        f"weights: language model {blend.lm:.2f}, vote {blend.vote:.2f}, classifier on vectors "
        f"{blend.vectors:.2f}, on the model's states of the bare text {blend.features:.2f}, "
        f"in context {blend.context:.2f}",
        f"on {evidence['rows']} examples left out: accuracy {evidence['blend']['accuracy']:.3f}, "
        f"loss {evidence['blend']['loss']:.3f}",
    ]
    if not blend.lm:
        asked = "reads no retrieved demonstrations" if blend.context else "reads no demonstrations"
        if not blend.features and not blend.context:
            asked = "is not asked at all"
        lines.append(f"the language model {asked}")
    lines += [
        f"  {name} alone: accuracy {own['accuracy']:.3f}, loss {own['loss']:.3f}"
        for name, own in evidence["alone"].items()
    ]
    return "\n".join(lines)


def describe(surveyed: Survey, dedupe: bool, kind: Kind) -> Iterator[str]:
    """Yield what a reader of the data should know, line by line."""
    yield f"{surveyed.name}: {surveyed.rows} rows, {surveyed.outputs} different outputs"
    if surveyed.skipped:
        yield f"  {surveyed.skipped} bad rows skipped"
    if surveyed.duplicates:
        what = "left out" if dedupe else "kept; --dedupe leaves them out"
        yield f"  {surveyed.duplicates} exact duplicates, {what}"
    if surveyed.conflicts:
        yield f"  {surveyed.conflicts} texts occur with more than one output"
    for group in surveyed.lookalikes if kind == "classify" else ():
        labels = spelled_out(group)
        yield f"  labels that differ invisibly, --normalize-labels merges them: {labels}"


def outcome(report: Report) -> str:
    """Return what building did, in one line."""
    text = f"{report.added} rows embedded"
    if report.present:
        text += f", {report.present} were there already"
    if report.others:
        text += f"; {report.others} more in the index are not in the data (added since, or deleted)"
    return text


def ceiling(recall: Recall) -> str:
    """Return what a shortlist can reach, in one line."""
    return (
        f"the shortlist holds the right label of {recall.share:.1%} of {recall.examples} examples "
        f"of the index, each left out (at least {recall.bound:.1%} with 95 % confidence): no "
        f"answer can be right more often"
    )


def kind_of(kind: str, labels: dict[str, int]) -> str:
    """Return what an index is for, with its labels counted."""
    if kind == "generate":
        return "texts to generate"
    once = sum(count == 1 for count in labels.values())
    return f"{len(labels)} labels" + (f" ({once} of them seen once)" if once else "")


def fields(record: Mapping[str, Any]) -> str:
    """Return a record for people: a line for each field, what is nested as JSON."""
    width = max(map(len, record), default=0)
    return "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in record.items())


def suggestions(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows to label for people, best first."""
    return "\n".join(f"{row['text']}\n    {row['why']}" for row in rows)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
