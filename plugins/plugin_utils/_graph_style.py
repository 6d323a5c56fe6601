# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the page of a graph looks, by day, by night, on paper. Private to the collection."""

from __future__ import annotations

STYLE = """
:root {
  --page: #f4f6fa; --card: #fff; --lane: #eaeff6; --ink: #17202e; --dim: #5d6b80; --line: #d5dde8; --edge: #c3cddb;
  --good: #12805c; --warn: #a45c00; --bad: #c62839; --flow: #2fa37c; --flow-warn: #e09a2b; --flow-bad: #df4d5c;
  --idle: #b3bfcd; --gleam: #ffffff70; --shade: 0 1px 2px #1020400f, 0 6px 18px #1020400d;
  --gateway: #7047d6; --service: #2463d1; --pods: #0b7a8f; --vm: #b0521b; --else: #66758a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d131c; --card: #18212e; --lane: #121a25; --ink: #e8eef6; --dim: #98a6ba; --line: #2a3646; --edge: #34425a;
    --good: #4cc79a; --warn: #eeb04e; --bad: #ff7b88; --flow: #2f9d79; --flow-warn: #c98a2a; --flow-bad: #d94c5c;
    --idle: #46546a; --gleam: #ffffff48; --shade: 0 1px 2px #0006;
    --gateway: #b197fb; --service: #79a9ff; --pods: #4fc3d8; --vm: #f2a06b; --else: #93a2b7;
  }
}
body { background: var(--page); color: var(--ink); max-width: 1280px; margin: 0 auto; padding: 28px 24px 48px;
  font: 15px/1.5 -apple-system, BlinkMacSystemFont, "Segoe UI", Inter, Roboto, Ubuntu, Cantarell, "Noto Sans",
    "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -.02em; margin: 0; }
h2 { font-size: 18px; letter-spacing: -.01em; margin: 36px 0 10px; }
h2 small { font-size: 13px; font-weight: 400; color: var(--dim); letter-spacing: 0; margin-left: 8px; }
.lead { color: var(--dim); margin: 6px 0 20px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(126px, 1fr)); gap: 12px; margin: 0 0 18px; padding: 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 13px 16px; box-shadow: var(--shade); }
.tile dt { margin: 0; font-size: 12.5px; font-weight: 500; color: var(--dim); }
.tile dd { margin: 1px 0 0; font-size: 25px; line-height: 1.25; font-weight: 650; letter-spacing: -.02em; white-space: nowrap; }
.tile dd.note { font-size: 12.5px; font-weight: 400; letter-spacing: 0; color: var(--dim); white-space: normal; }
.tile .good, td.good { color: var(--good); } .tile .warn, td.warn { color: var(--warn); } .tile .bad, td.bad { color: var(--bad); }
td.warn, td.bad { font-weight: 600; }
.notice { border: 1px solid var(--line); border-left: 4px solid var(--warn); border-radius: 10px; background: var(--card);
  padding: 10px 16px; margin: 0 0 18px; }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 18px; margin: 0; box-shadow: var(--shade); }
figure .scroll { padding: 14px 14px 6px; }
figcaption { display: flex; flex-wrap: wrap; gap: 6px 20px; padding: 12px 20px 14px; border-top: 1px solid var(--line);
  font-size: 13px; color: var(--dim); }
figcaption span { display: inline-flex; align-items: center; gap: 7px; }
.inline { vertical-align: -2px; flex: none; overflow: visible; }
.picture { display: block; width: 100%; min-width: 880px; height: auto; font-family: inherit; }
.panel { background: var(--card); border: 1px solid var(--line); border-radius: 14px; box-shadow: var(--shade); overflow-x: auto; }
.panel table { font-size: 14px; font-variant-numeric: tabular-nums; }
th { font-size: 12.5px; font-weight: 600; color: var(--dim); }
th, td { padding: 9px 14px; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
td { white-space: normal; overflow-wrap: break-word; } td b { font-weight: 600; }
td small { display: block; white-space: nowrap; color: var(--dim); font-size: 12.5px; }
th.num, td.num { text-align: right; } th.num, td.num, td.short { white-space: nowrap; }
td .amount { display: inline-block; min-width: 9.4em; }
td .meter { display: inline-block; width: 72px; height: 6px; border-radius: 3px; background: var(--lane); vertical-align: 2px;
  overflow: hidden; text-align: left; }
td .meter i { display: block; height: 100%; border-radius: 3px; background: var(--flow); }
.tag { display: inline-block; font-size: 12px; line-height: 18px; padding: 0 8px; border-radius: 9px; border: 1px solid currentColor; }
.dot-good, .dot-warn, .dot-bad, .dot-dim { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 8px;
  background: var(--good); }
.dot-warn { background: var(--warn); } .dot-bad { background: var(--bad); border-radius: 2px; }
.dot-dim { background: none; box-shadow: inset 0 0 0 2px var(--dim); }
details { margin: 12px 0 0; } summary { cursor: pointer; color: var(--dim); padding: 4px 0 10px; }
footer { margin-top: 32px; color: var(--dim); font-size: 13.5px; } footer li { margin: 4px 0; }

.gateway { --kind: var(--gateway); } .service { --kind: var(--service); } .pods { --kind: var(--pods); }
.vm, .vms { --kind: var(--vm); } .external, .outside, .refused, .unseen { --kind: var(--else); }
.tag { color: var(--kind); }
.lane { fill: var(--lane); opacity: .75; }
.head { font-size: 15px; font-weight: 650; fill: var(--ink); } .count { font-size: 13px; fill: var(--dim); }
.card, .back { fill: var(--card); stroke: var(--line); stroke-width: 1.2; }
.box.unseen .card, .box.outside .card { stroke-dasharray: 5 4; stroke: var(--idle); }
.box .plate { fill: var(--kind); opacity: .13; }
.icon { fill: none; stroke: var(--kind); stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }
.name { font-size: 15px; font-weight: 650; fill: var(--ink); }
.where { font-size: 12px; fill: var(--dim); }
.badge { fill: none; stroke: var(--kind); stroke-width: 1; opacity: .55; } .kind { font-size: 11px; font-weight: 600; fill: var(--kind); }
.dot { fill: var(--good); } .dot.warn { fill: var(--warn); } .dot.bad { fill: var(--bad); }
.dot.dim { fill: none; stroke: var(--dim); stroke-width: 1.8; }
.health { font-size: 12px; fill: var(--dim); } .health.warn { fill: var(--warn); font-weight: 600; }
.health.bad { fill: var(--bad); font-weight: 600; }
.figure { font-size: 13px; font-weight: 650; fill: var(--ink); }
.edge { --stroke: var(--flow); } .edge.warn { --stroke: var(--flow-warn); } .edge.bad { --stroke: var(--flow-bad); }
.edge.idle { --stroke: var(--idle); }
.line { fill: none; stroke: var(--stroke); stroke-linecap: round; opacity: .82; } .tip { fill: var(--stroke); }
.idle .line, .dashed .line { stroke-dasharray: 5 6; }
.flow { fill: none; stroke: var(--gleam); stroke-linecap: round; stroke-dasharray: 10 18; }
.edge:hover .line { opacity: 1; stroke-width: 9; }
.pill rect { fill: var(--card); stroke: var(--edge); stroke-width: 1; } .pill g rect { fill: none; stroke: inherit; stroke-width: inherit; }
.pill text { font-size: 12.5px; font-weight: 600; fill: var(--ink); } .pill.idle text { fill: var(--dim); }
.pill.warn > rect { stroke: var(--flow-warn); } .pill.bad > rect { stroke: var(--flow-bad); }
.fail { fill: var(--warn); } .pill.bad .fail { fill: var(--bad); }
.lock { fill: none; stroke: var(--dim); stroke-width: 1.5; stroke-linecap: round; } .lock .fill, .pill .lock .fill { fill: var(--stroke, var(--dim)); }
.lock.mtls { stroke: var(--good); --stroke: var(--good); } .lock.plain { stroke: var(--bad); }
.lock.mixed { stroke: var(--warn); --stroke: var(--warn); } .lock.tls { stroke: var(--warn); }
@media (prefers-reduced-motion: no-preference) {
  .flow { animation: flow 1.6s linear infinite; } @keyframes flow { to { stroke-dashoffset: -28; } }
}
@media (max-width: 640px) { body { padding: 18px 12px 32px; } h1 { font-size: 23px; } .tile dd { font-size: 21px; }
  .tiles { grid-template-columns: repeat(2, 1fr); } th, td { padding: 8px 10px; } }
@media print { body { max-width: none; padding: 0; } .flow { display: none; } figure, .panel, .tile { box-shadow: none; break-inside: avoid; } }
""".lstrip()
