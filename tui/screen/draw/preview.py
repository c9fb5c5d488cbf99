"""What a rules text would do at the current block, and what is wrong with it: beside the editor."""

from __future__ import annotations

from tui.engine.facade import Preview
from tui.model.rule import Severity
from tui.screen.clean import clean_text
from tui.screen.draw.rules import evaluation_sentence, plan_details
from tui.screen.lines import BLANK, Line, line, wrap


def preview_lines(preview: Preview | None, rule: str | None, waiting: bool, trouble: str, width: int) -> list[Line]:
    """The preview in `width` cells: trouble first, then the chosen rule, then the others, then the faults."""
    rows: list[Line] = []
    if trouble:
        rows += [*wrap(trouble, width, "alarm", "✖ ", "  "), BLANK]
    if preview is None:
        return [*rows, line(("Asking what it would do.", "muted"))]
    state = " (being asked again)" if waiting else ""
    rows.append(line((f"At the current block{state}", "label")))
    ordered = sorted(preview.evaluations, key=lambda one: one.rule != rule)
    for evaluation in ordered:
        text, role = evaluation_sentence(evaluation)
        own = evaluation.rule == rule
        name = clean_text(evaluation.rule, 28)
        rows.append(line((name, "strong" if own else "muted"), (f"  {clean_text(evaluation.why, 120)}", "muted")))
        rows += wrap(text, width, role if own else "muted", "  ", "  ")
        if own:
            rows += plan_details(evaluation, width)
            for problem in evaluation.problems or ():
                bad, lead = problem.decisive, "would not be armed anew: " if problem.decisive else ""
                said = clean_text(f"{lead}{problem}", 500)
                rows += wrap(said, width, "alarm" if bad else "warn", "✖ " if bad else "▲ ", "  ")
    if not preview.evaluations:
        rows.append(line(("  No rule in it can be tried now.", "muted")))
    errors = [one for one in preview.faults if one.severity is Severity.ERROR]
    rows += [BLANK]
    if not preview.faults:
        rows.append(line(("✓ ", "good"), ("no faults", "muted")))
    for fault in preview.faults:
        bad = fault.severity is Severity.ERROR
        said = f"line {fault.line}: {clean_text(fault.what, 300)}; {clean_text(fault.fix, 300)}"
        rows += wrap(said, width, "alarm" if bad else "warn", "✖ " if bad else "▲ ", "  ")
    if errors:
        rows.append(line(("A rule with a fault is not used.", "muted")))
    return rows
