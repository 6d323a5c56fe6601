# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real browser without a window: what it makes of a page, as a picture and in figures."""

from __future__ import annotations

import html
import json
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import typing as t

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing but the page: no look for updates, no accounts, no first steps.
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip

# Runs in a copy of the page, which has no script of its own. Whoever draws text without measuring it must see it fit.
_MEASURE = """
<script>
  const out = [];
  const inside = (inner, outer, what) => {
    const a = inner.getBoundingClientRect(), b = outer.getBoundingClientRect();
    if (a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1)
      out.push(what + ': ' + inner.textContent);
  };
  for (const box of document.querySelectorAll('.box'))
    for (const text of box.querySelectorAll('text')) inside(text, box.querySelector('.card'), 'out of its box');
  for (const pill of document.querySelectorAll('.pill'))
    inside(pill.querySelector('text'), pill.querySelector('rect'), 'out of its label');
  for (const box of document.querySelectorAll('.box')) {
    const [state, figure] = ['.health', '.figure'].map(name => box.querySelector(name)?.getBoundingClientRect());
    if (figure && state && state.right > figure.left) out.push('over each other: ' + box.textContent);
  }
  const style = name => getComputedStyle(document.querySelector(name));
  const found = {
    misfits: out,
    boxes: document.querySelectorAll('.box').length,
    lines: document.querySelectorAll('.edge .line').length,
    page: [document.documentElement.scrollWidth, window.innerWidth],
    background: style('body').backgroundColor,
    ink: style('h1').color,
    picture: document.querySelector('.picture').getBoundingClientRect().width,
  };
  document.body.insertAdjacentHTML('beforeend', '<pre id="measured"></pre>');
  document.getElementById('measured').textContent = JSON.stringify(found);
</script>
"""


def find() -> str | None:
    """The browser of this machine, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def _run(page: pathlib.Path, width: int, height: int, dark: bool, *options: str) -> str:
    browser = find()
    assert browser, f"no browser: install one of {', '.join(NAMES)}"
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            *_OPTIONS,
            *scheme,
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            *options,
        ]
        done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def measure(page: pathlib.Path, width: int = 1400, dark: bool = False) -> dict[str, t.Any]:
    """What a browser makes of a page with a graph.

    Returns:
        misfits: texts that do not fit their place; boxes, lines: how many there are; page: [width it takes, width there is];
        background, ink: colours, as `rgb(...)`; picture: its width.
    """
    copy = page.with_suffix(".measured.html")
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", _MEASURE + "</body>"), encoding="utf-8")
    try:
        shown = _run(copy, width, 1000, dark, "--dump-dom")
    finally:
        copy.unlink()
    # The first one is in the script itself.
    found = re.findall(r'<pre id="measured">([^<]*)</pre>', shown)
    assert any(found), shown[-2000:]
    return t.cast("dict[str, t.Any]", json.loads(html.unescape(found[-1])))


def screenshot(
    page: pathlib.Path, picture: pathlib.Path, width: int = 1400, height: int = 1200, dark: bool = False
) -> int:
    """Takes a picture (PNG) of a page; returns its size in bytes."""
    _run(page, width, height, dark, f"--screenshot={picture}")
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack("!2I", data[16:24]) == (width, height)
    return len(data)
