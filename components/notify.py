"""Notify: tell people how a run of the pipeline ended.

Reads the run's journal (a folder or s3://bucket/prefix); writes a summary in Markdown and, when the
environment variable TRACKLINE_WEBHOOK holds an address, posts it there as Slack and Mattermost read it.
A webhook that does not answer is reported and is no failure: the run's outcome is not its fault.

exit codes: 0 told, 10 the journal cannot be read
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

from trackline import artifacts, journal
from trackline.commandline import Parser, exit_code
from trackline.errors import DataError

LOG_LINES = 30
POST_CHARACTERS = 3000  # what chats show of one message
KILLED = "killed without a word: out of memory, a lost node, or its time was over"


def notify(run: str, place: str | None, state: str, summary: Path, link: str = "") -> str:
    """Write the summary of a run and post it; returns the headline. `state` is the orchestrator's word."""
    entries = _read(place)
    headline = tell(run, entries, state)
    where = [f"[the run's page]({link})"] * bool(link) + [f"journal: `{place}`"] * bool(place)
    parts = [f"# {headline}", "", *_table(entries), *_failures(entries), *where, ""]
    artifacts.write_text(summary, "\n".join(parts))
    if address := os.environ.get("TRACKLINE_WEBHOOK"):
        post(address, headline, entries, place, link)
    return headline


def tell(run: str, entries: list[journal.Entry], state: str) -> str:
    """The outcome in one line."""
    told = {entry["step"]: entry.get("told") for entry in entries}
    if failed := find_failed(entries):
        return f"{run}: {failed[-1]['step']} failed: {explain(failed[-1])}"
    if "register" in told:
        return f"{run}: registered {told['register']}"
    if "reject" in told:
        return f"{run}: rejected by the gates, nothing registered"
    return f"{run}: {state.lower()}, {len(entries)} steps ran"


def find_failed(entries: list[journal.Entry]) -> list[journal.Entry]:
    """The entries of steps that failed, or were killed before they could say so."""
    return [entry for entry in entries if entry["state"] != "succeeded"]


def explain(entry: journal.Entry) -> str:
    """Why a step failed."""
    return str(entry.get("error") or KILLED)


def post(
    address: str, headline: str, entries: list[journal.Entry], place: str | None, link: str
) -> None:
    """Post a payload that Slack and Mattermost read; says so when it cannot."""
    told = [
        str(e["told"]) for e in entries if e["step"] in ("evaluate", "reject") and e.get("told")
    ]
    logs = ["\n".join(entry.get("log", [])[-LOG_LINES:]) for entry in find_failed(entries)[-1:]]
    quoted = [f"```\n{_quote(text[-POST_CHARACTERS:])}\n```" for text in (*told, *logs) if text]
    where = [f"journal: {place}"] * bool(place) + [link] * bool(link)
    text = "\n".join([_quote(headline), *quoted, *where])
    body = {"text": text, "steps": {entry["step"]: entry["state"] for entry in entries}}
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            print(f"the webhook answered {answer.status}")
    except (OSError, ValueError) as error:  # the address is a secret and stays out of the message
        print(
            f"warning: the webhook could not be reached ({type(error).__name__})", file=sys.stderr
        )


def _quote(text: str) -> str:
    """Escape what a chat would take for markup of its own."""
    for character, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("```", "'''")):
        text = text.replace(character, written)
    return text


def _read(place: str | None) -> list[journal.Entry]:
    try:
        return journal.read(place) if place else []
    except DataError as error:
        print(f"warning: {error}", file=sys.stderr)
        return []


def _table(entries: list[journal.Entry]) -> list[str]:
    rows = [
        f"| {e['step']} | {e['state']} | {e.get('seconds', 0):.1f} | {e.get('tries', 1)} "
        f"| {_cell(e.get('told') or '')} |"
        for e in entries
    ]
    return ["| step | state | seconds | tries | told |", "|---|---|---:|---:|---|", *rows, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def _failures(entries: list[journal.Entry]) -> list[str]:
    lines: list[str] = []
    for entry in find_failed(entries):
        log = entry.get("log", [])[-LOG_LINES:]
        lines += [f"## {entry['step']}", "", explain(entry), "", "```", *log, "```", ""]
    return lines


def main(argv: list[str] | None = None) -> int:
    """Run the step from the command line."""
    parser = Parser(prog="python -m components.notify", description=__doc__)
    parser.add_argument("--run", required=True, help="the run's name")
    parser.add_argument("--journal", required=True, help="folder or s3://bucket/prefix of that run")
    parser.add_argument(
        "--state", default="SUCCEEDED", help="the orchestrator's word for the outcome"
    )
    parser.add_argument(
        "--summary", type=Path, default=Path("reports/run.md"), help="page to write"
    )
    given = parser.parse_args(argv)
    return exit_code(lambda: print(notify(given.run, given.journal, given.state, given.summary)))


if __name__ == "__main__":
    sys.exit(main())
