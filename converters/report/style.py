"""How the page looks: light or dark as the reader's system is, and readable on a phone."""

from typing import Final

STYLE: Final = """
:root{--ink:#1c2430;--soft:#5b6675;--paper:#fff;--card:#f5f7fa;--line:#d9dfe7;--good:#1a7f4b;--bad:#b3261e;
--float:#8a94a3;--int:#2f6fed;--warn:#b26a00;--good-wash:#e6f4ec;--bad-wash:#fbe9e7;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9f0;--soft:#97a3b4;--paper:#12161c;--card:#1b2129;--line:#303947;
--good:#4cc38a;--bad:#ff8a80;--float:#7d8896;--int:#6ea1ff;--warn:#f0b35a;--good-wash:#14291f;--bad-wash:#331a19}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;margin:0;
background:var(--paper);color:var(--ink)}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.15rem;font-weight:500;color:var(--soft);margin:0 0 .4rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.6rem 0 .3rem}
h2+p{margin-top:0}
p{margin:.5rem 0;color:var(--soft)}
.verdict{border-radius:14px;padding:1.2rem 1.4rem;background:var(--good-wash)}
.verdict.fail{background:var(--bad-wash)}
.verdict strong{display:block;font-size:2rem;line-height:1.2;color:var(--good)}
.verdict.fail strong{color:var(--bad)}
.verdict p{color:var(--ink)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.8rem;margin:1rem 0}
.card{background:var(--card);border-radius:12px;padding:.9rem 1rem}
.card b{display:block;font-size:1.3rem;font-variant-numeric:tabular-nums;line-height:1.25}
.card span{color:var(--soft);font-size:.9rem}
.warn{border-left:4px solid var(--warn);padding:.2rem .8rem;margin:.5rem 0}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;min-width:100%}
th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600}
th:first-child,td:first-child{text-align:left}
tr.chosen td{font-weight:600;color:var(--good)}
table.matrix{min-width:0;font-size:.8rem}
table.matrix td,table.matrix th{text-align:center;padding:.25rem .45rem;border:1px solid var(--line)}
table.matrix thead th{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left}
svg{display:block;width:100%;max-width:38rem;height:auto;font:12px system-ui,sans-serif}
svg text{fill:var(--soft)}
svg .name{fill:var(--ink)}
.float{fill:var(--float)}.int{fill:var(--int)}.bad{fill:var(--bad)}.line{stroke:var(--line);fill:none}
.dot{fill:var(--int);fill-opacity:.45}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem;margin:.8rem 0}
figure{margin:0;background:var(--card);border-radius:12px;padding:.8rem;min-width:0}
figcaption{font-size:.85rem;color:var(--soft);overflow-wrap:anywhere;margin-top:.4rem}
figcaption b{color:var(--ink);font-weight:600}
figure img{width:100%;border-radius:8px;image-rendering:pixelated;display:block}
.key{font-size:.85rem;color:var(--soft)}
.key i{display:inline-block;width:.8em;height:.8em;border-radius:3px;margin:0 .3em 0 .9em;vertical-align:-.05em}
details summary{cursor:pointer;color:var(--soft)}
pre{background:var(--card);border-radius:12px;padding:1rem;overflow-x:auto;white-space:pre-wrap;font-size:.85rem}
"""
