"""The matrix as a page."""

from cell import FAIL, PASS, PEER, UNSUPPORTED

HEAD = """# Tercel and its peers

As `interop/run` found it in one go, {circumstances}, with {peers}. goodput and crosstraffic count the start of the
client's process, and share the processors with other cells: they are no measure of speed. "asks X" is Tercel's client at X's
server; "serves X" is X's client at Tercel's server. "-" is what a peer does not do; why is below the table.
[HTTP/3](http3/RESULTS.md) has a matrix of its own.

"""


def table(results, cases, ends, circumstances):
    by_cell = {(result.peer, result.role, result.case): result for result in results}
    text = HEAD.format(circumstances=circumstances, peers=", ".join(end.version() for end in ends))
    columns = [(end, role) for end in ends for role in ("server", "client")
               if any(result.peer == end.name and result.role == role for result in results)]
    head = [f"{'asks' if role == 'server' else 'serves'} {end.name}" for end, role in columns]
    text += "| case | " + " | ".join(head) + " |\n|---" + "|---" * len(head) + "|\n"
    notes = []
    for case in cases:
        row = [f"{case.name}: {case.shows}"]
        for (end, role), title in zip(columns, head):
            result = by_cell.get((end.name, role, case.name))
            row.append("" if result is None else word(result))
            if result is not None and result.outcome != PASS and result.note:
                notes.append((result.outcome, title, case.name, result.note))
        text += "| " + " | ".join(row) + " |\n"
    counts = {outcome: sum(result.outcome == outcome for result in results) for outcome in (PASS, FAIL, PEER, UNSUPPORTED)}
    tried = counts[PASS] + counts[FAIL] + counts[PEER]
    share = f", {counts[PASS] / tried:.1%} of those that the peer can do" if tried else ""
    text += f"\n{counts[PASS]} cells pass{share}; {counts[FAIL]} fail, and {counts[PEER]} by the peer's fault; {counts[UNSUPPORTED]} are not for the peer.\n"
    for outcome, heading in ((FAIL, "What fails"), (PEER, "What fails by the peer's fault"), (UNSUPPORTED, "What peers do not do")):
        lines = {}
        for kind, title, case, note in notes:
            if kind == outcome:
                lines.setdefault((title, note), []).append(case)
        if lines:
            text += f"\n## {heading}\n\n"
            text += "".join(f"- {title}: {', '.join(names)}: {note}\n" for (title, note), names in lines.items())
    return text


def word(result):
    if result.outcome == UNSUPPORTED:
        return "-"
    if result.outcome == PEER:
        return "fail, by the peer's fault"
    return f"{result.outcome} ({result.note})" if result.outcome == PASS and result.note else result.outcome
