# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Self-contained HTML pages: no script, nothing fetched, everything escaped. Pure. Private to the collection."""

from __future__ import annotations

import html
import typing as t

# Tones: good, warn, bad, dim. The word is always there, too, so that nothing hangs on colour alone.
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --warn: #9a6700; --bad: #cf222e; --dim: #777; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
td { white-space: pre-wrap; overflow-wrap: anywhere; } th { white-space: nowrap; }
tr.good td:nth-child(2) { color: var(--good); } tr.warn td:nth-child(2) { color: var(--warn); font-weight: 600; }
tr.bad td:nth-child(2) { color: var(--bad); font-weight: 600; } tr.dim td { color: var(--dim); }
dt { font-weight: 600; margin-top: .5rem; } dd { margin: 0 0 0 1.2rem; white-space: pre-wrap; overflow-wrap: anywhere; }
""".strip()


def text(words: str) -> str:
    """A paragraph."""
    return f"<p>{html.escape(words)}</p>"


def heading(words: str) -> str:
    """A heading inside the page."""
    return f"<h2>{html.escape(words)}</h2>"


def table(heads: t.Sequence[str], rows: t.Iterable[tuple[t.Sequence[str], str]]) -> str:
    """A table; each row comes with its tone, which colours the second column."""
    head = "".join(f'<th scope="col">{html.escape(word)}</th>' for word in heads)
    body = "".join(
        f'<tr class="{html.escape(tone)}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>\n"
        for cells, tone in rows
    )
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def terms(pairs: t.Iterable[tuple[str, str]]) -> str:
    """Terms with what is said of each."""
    return (
        "<dl>" + "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(said)}</dd>" for term, said in pairs) + "</dl>"
    )


def page(title: str, parts: t.Iterable[str], style: str = "") -> str:
    """A whole page of parts made by the functions above; `style` goes after the common one."""
    name = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>\n{_STYLE}\n{style}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )
