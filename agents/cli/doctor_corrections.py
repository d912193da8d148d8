"""What ``levelsync doctor`` finds about corrections: do they reach anybody, are the holidays known?"""

import datetime

from agents.base.config import CHINA, NodeFile, department_of
from agents.base.findings import Finding, ok, warning
from agents.base.workdays import LAST_YEAR, Workdays, unknown
from contracts.subjects.correction import ANSWER, CORRECTION


def examine_corrections(config: NodeFile) -> list[Finding]:
    """Looks at the node file and the calendar alone."""
    found = []
    parent, table = config.parent, config.corrections
    pushes = parent is not None and CORRECTION.name in parent.push
    if table:
        today = datetime.datetime.now(CHINA).date()
        due = Workdays(table.off, table.worked).after(today, table.days)
        about = f"[corrections] what comes today is due on {due}"
        if unknown(due):
            found.append(
                warning(
                    about,
                    f"the holidays after {LAST_YEAR} are not known: Monday to Friday count as worked",
                    "Update the package chinesecalendar, or set `off` and `worked`.",
                )
            )
        else:
            found.append(ok(about, f"holidays are known to the end of {LAST_YEAR}"))
    if config.window and not table and not pushes and not department_of(config.node.id):
        found.append(
            warning(
                "corrections filed at the window",
                "they would reach nobody, and are refused",
                f'Name "{CORRECTION.name}" in [parent] push, or take them in with [corrections].',
            )
        )
    if pushes and parent and ANSWER.name not in parent.pull:
        found.append(
            warning(
                "answers to corrections",
                "corrections go up, and no answer comes down",
                f'Name "{ANSWER.name}" in [parent] pull.',
            )
        )
    return found
