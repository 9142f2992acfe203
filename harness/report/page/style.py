"""Style sheet of `report.html`: light, dark by the reader's scheme, phone and print."""

from __future__ import annotations

from typing import Final

STYLE: Final = (
    """
:root{--back:#fff;--text:#1a1c1f;--soft:#5d6670;--line:#d8dde3;--card:#f6f8fa;--pass:#1a7f37;--fail:#cf222e;
--unknown:#9a6700;--fault:#cf222e22;--drain:#5d667018;--c0:#0969da;--c1:#bc4c00;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;
--c5:#4d7c0f;--c6:#0e7490;--c7:#6e4a00}
@media (prefers-color-scheme:dark){:root{--back:#0d1117;--text:#e6edf3;--soft:#9198a1;--line:#30363d;--card:#161b22;
--pass:#3fb950;--fail:#f85149;--unknown:#d29922;--fault:#f8514933;--drain:#9198a122;--c0:#58a6ff;--c1:#f0883e;--c2:#3fb950;
--c3:#bc8cff;--c4:#ff7bc0;--c5:#a3d65c;--c6:#39c5e0;--c7:#d8b26a}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1rem}
header{border-left:.5rem solid var(--unknown);padding:.25rem 1rem;margin:1rem 0}
header.pass{border-color:var(--pass)}header.fail{border-color:var(--fail)}
h1{margin:0;font-size:2rem}h2{margin:2.5rem 0 .5rem;border-bottom:1px solid var(--line)}
h3{margin:1.25rem 0 .25rem;font-size:1.05rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{color:var(--soft)}dd{margin:0}
figure{margin:0;overflow-x:auto}figure>svg{max-width:100%;height:auto}
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{text-align:left;padding:.15rem .9rem .15rem 0;
border-bottom:1px solid var(--line)}
pre,code{font:13px/1.45 ui-monospace,monospace}pre{overflow-x:auto;background:var(--card);padding:.6rem}
.warning{border-left:.3rem solid var(--unknown);padding-left:.6rem}
.card{background:var(--card);border-left:.3rem solid var(--unknown);padding:.4rem .8rem;margin:.5rem 0}
.card p{margin:.1rem 0}.card h3{margin:0}.card.pass{border-color:var(--pass)}.card.fail{border-color:var(--fail)}
.card.pass h3 span{color:var(--pass)}.card.fail h3 span{color:var(--fail)}.card.unknown h3 span{color:var(--unknown)}
.plot{width:100%;height:auto;display:block}.plot polyline{fill:none;stroke-width:1.4}.plot .grid{stroke:var(--line)}
.plot .tick{fill:var(--soft);font-size:11px}.plot .fault{fill:var(--fault)}.plot .drain{fill:var(--drain)}
.legend{margin:.1rem 0;color:var(--soft);font-size:.85rem}.key{margin-right:.9rem;white-space:nowrap}
.key::before{content:"";display:inline-block;width:.8em;height:.25em;margin-right:.35em;vertical-align:middle;background:var(--k)}
"""
    + "".join(
        f".plot .c{n}{{stroke:var(--c{n})}}.plot circle.c{n}{{fill:var(--c{n});stroke:none}}.k{n}{{--k:var(--c{n})}}"
        for n in range(8)
    )
    + "@media print{.card,article{break-inside:avoid}body{font-size:12px}}"
)
