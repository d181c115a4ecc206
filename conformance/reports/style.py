"""The style of the page: two sides have two colours, and what is wrong has a sign besides its colour."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #faf9f7; --panel: #ffffff; --ink: #20262d; --soft: #5a6470; --line: #e1e3e6;
  --reference: #2b6cb0; --port: #c2610c; --fail: #b42318; --pass: #25714a; --known: #85610a; --skip: #5a6470;
  --shade: #f1f1ee;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1b2026; --ink: #e4e7ea; --soft: #9aa5b1; --line: #323a43;
    --reference: #6cb0f0; --port: #f0a35e; --fail: #ff8d82; --pass: #72c79a; --known: #dcb765; --skip: #9aa5b1;
    --shade: #22282f;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main, body > header, footer { max-width: 70rem; margin: 0 auto; padding: 0 1.25rem; }
body > header { padding-top: 2.5rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; font-weight: 650; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 3rem 0 .6rem; font-weight: 650; }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; font-weight: 600; overflow-wrap: anywhere; }
p { margin: .4rem 0 .8rem; max-width: 48rem; }
.soft { color: var(--soft); }
code { font: .88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; list-style: none; padding: 0; margin: 1rem 0 0; }
a { color: var(--reference); text-underline-offset: .2em; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.2rem 0 0; padding: 0; }
.tiles div { background: var(--panel); border: 1px solid var(--line); border-radius: .6rem; padding: .6rem 1.1rem; }
.tiles dt { color: var(--soft); font-size: .85rem; }
.tiles dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3; }
.fail { color: var(--fail); } .pass { color: var(--pass); }
.known { color: var(--known); } .skip { color: var(--skip); }
.status { font-weight: 600; white-space: nowrap; }
.scroll { overflow-x: auto; background: var(--panel); border: 1px solid var(--line); border-radius: .6rem; }
.tall { max-height: 34rem; overflow-y: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; padding: .6rem .9rem; color: var(--soft); }
th, td { text-align: left; vertical-align: top; padding: .38rem .9rem; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; white-space: nowrap; }
tbody th { font-weight: 500; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
article { background: var(--panel); border: 1px solid var(--line); border-left: 4px solid var(--fail);
  border-radius: .6rem; padding: .7rem 1.1rem; margin: .75rem 0; }
article p { margin: 0 0 .4rem; white-space: pre-line; overflow-wrap: anywhere; max-width: none; }
dl.told { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; font-size: .92rem; }
dl.told dt { color: var(--soft); } dl.told dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
details { margin: .9rem 0; } td details { margin: .2rem 0; }
summary { cursor: pointer; color: var(--soft); margin-bottom: .5rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: .9rem; }
figure { margin: 0; background: var(--panel); border: 1px solid var(--line); border-radius: .6rem; }
figure { padding: .8rem 1rem; }
figure.wide { margin: .9rem 0; overflow-x: auto; }
figure.failing { border-color: var(--fail); }
figcaption { font-size: .86rem; color: var(--soft); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); font-weight: 600; } figcaption .status { float: right; margin-left: .6rem; }
svg { display: block; width: 100%; height: auto; } figure.wide svg { min-width: 42rem; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.axis { stroke: var(--line); stroke-width: 1; fill: none; }
.grid { stroke: var(--line); stroke-width: 1; stroke-dasharray: 1 3; fill: none; }
.reference-area { fill: var(--reference); fill-opacity: .28; stroke: none; }
.port-line { fill: none; stroke: var(--port); stroke-width: 1.6; }
.reference-curve { fill: none; stroke: var(--reference); stroke-width: 1.4; stroke-dasharray: 5 3; }
.port-curve { fill: none; stroke: var(--port); stroke-width: 1.4; stroke-dasharray: 2 3; }
.allowed { fill: none; stroke: var(--fail); stroke-width: 1.3; stroke-dasharray: 6 4; }
.dot { fill: var(--reference); stroke: none; }
.cross { fill: none; stroke: var(--fail); stroke-width: 2; }
.diamond { fill: none; stroke: var(--known); stroke-width: 2; }
.share { stroke: var(--panel); stroke-width: 1.5; fill: var(--reference); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; align-items: center; list-style: none; padding: 0; }
.legend svg { width: 2rem; height: .9rem; display: inline-block; vertical-align: -.1rem; margin-right: .4rem; }
td svg { min-width: 12rem; max-width: 20rem; }
footer { color: var(--soft); font-size: .86rem; padding-top: 3rem; padding-bottom: 2.5rem; }
@media (max-width: 40rem) {
  .cards { grid-template-columns: 1fr; } th, td { padding: .35rem .55rem; }
  dl.told { grid-template-columns: 1fr; } dl.told dd { margin-bottom: .3rem; }
}
@media print { .tall { max-height: none; } article, figure { break-inside: avoid; } }
"""
