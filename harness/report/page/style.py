"""Style sheet of `report.html`, for light and dark screens, phones, the keyboard and print; there is no script."""

from __future__ import annotations

import re
from typing import Final

from earwitness.checks.findings.scene import LANES_MAX
from earwitness.harness.report.swim_svg import STYLE as PICTURE

COLOURS: Final = 8
DARK: Final = "@media screen and (prefers-color-scheme:dark)"
"""Condition for dark colours; only on a screen, because paper is white whatever scheme the reader has."""

_PAGE: Final = """
:root{color-scheme:light dark;--back:#fff;--text:#1a1c1f;--soft:#57606a;--line:#d8dde3;--card:#f6f8fa;--pass:#1a7f37;
--fail:#cf222e;--unknown:#8a5d00;--link:#0550ae;--fault:#cf222e22;--drain:#5d667018;--c0:#0969da;--c1:#bc4c00;--c2:#1a7f37;
--c3:#8250df;--c4:#bf3989;--c5:#4d7c0f;--c6:#0e7490;--c7:#6e4a00}
DARK{:root{--back:#0d1117;--text:#e6edf3;--soft:#9198a1;--line:#30363d;--card:#161b22;--pass:#3fb950;--fail:#ff7b72;
--unknown:#d29922;--link:#79b8ff;--fault:#f8514933;--drain:#9198a122;--c0:#58a6ff;--c1:#f0883e;--c2:#3fb950;--c3:#bc8cff;
--c4:#ff7bc0;--c5:#a3d65c;--c6:#39c5e0;--c7:#d8b26a}}
*{box-sizing:border-box}
html{scroll-padding-top:3rem}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,'DejaVu Sans',sans-serif}
main{max-width:62rem;margin:0 auto;padding:0 1rem 3rem;overflow-wrap:anywhere}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--c0);outline-offset:2px}
:target{outline:2px solid var(--c0);outline-offset:4px}
#first-error:target{outline:none}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--back);padding:.3rem;z-index:2}
nav{position:sticky;top:0;z-index:1;background:var(--back);border-bottom:1px solid var(--line);padding:.4rem 1rem;
display:flex;gap:.2rem 1rem;overflow-x:auto;white-space:nowrap;font-size:.9rem}
header{border-left:.5rem solid var(--unknown);padding:.25rem 1rem;margin:1.25rem 0}
header.pass{border-color:var(--pass)}header.fail{border-color:var(--fail)}
header.pass h1{color:var(--pass)}header.fail h1{color:var(--fail)}header.unknown h1{color:var(--unknown)}
h1{margin:0;font-size:2rem;line-height:1.2}h2{margin:2.5rem 0 .5rem;border-bottom:1px solid var(--line)}
h3{margin:1.25rem 0 .25rem;font-size:1.05rem}h3 a{color:inherit}
.why{font-size:1.1rem;margin:.3rem 0}.broken{margin:.3rem 0;padding-left:1.2rem}.planted{border:1px solid var(--line);
border-radius:6px;padding:.3rem .7rem;margin:.5rem 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{color:var(--soft)}dd{margin:0}
figure{margin:.4rem 0}.scroll{overflow-x:auto;max-width:100%}
.swim{max-width:100%;height:auto;display:block}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.5rem 0;overflow-wrap:normal}
td,th{text-align:left;vertical-align:top;padding:.2rem .9rem .2rem 0;border-bottom:1px solid var(--line)}
pre,code{font:13px/1.45 ui-monospace,'DejaVu Sans Mono',monospace}code{overflow-wrap:anywhere}
pre{background:var(--card);padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere;margin:.3rem 0}
.soft,.contract,.legend,.note{color:var(--soft);font-size:.9rem}
.warning{border-left:.3rem solid var(--unknown);padding-left:.6rem}
.witness{border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;margin:.7rem 0}
.sentence{font-weight:600;margin:.2rem 0}.first{color:var(--fail);font-weight:600;margin:0}.what{margin:.5rem 0 0}
.records{margin:.2rem 0;padding-left:1.4rem}.records b{font-weight:600;font-variant-numeric:tabular-nums}
.records .wrong,.records .wrong b{color:var(--fail);font-weight:600}.records .wrong .frame{font-weight:400}
.records .frame{border-left:3px solid var(--line)}
.lanes>span{color:var(--soft);margin-right:.4rem}.lanes label{margin-right:.9rem;white-space:nowrap}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(27rem,100%),1fr));gap:.5rem}
.card{background:var(--card);border-left:.3rem solid var(--unknown);padding:.5rem .9rem}
.card p{margin:.1rem 0}.card h3{margin:0}.card.pass{border-color:var(--pass)}.card.fail{border-color:var(--fail)}
.card.pass h3 span{color:var(--pass)}.card.fail h3 span{color:var(--fail)}.card.unknown h3 span{color:var(--unknown)}
.page p,.page ul{margin:.3rem 0}
.plot{width:100%;height:auto;display:block}.plot polyline{fill:none;stroke-width:1.6}.plot .grid{stroke:var(--line)}
.plot .tick{fill:var(--soft);font-size:11px}.plot .fault{fill:var(--fault)}.plot .drain{fill:var(--drain)}
.plot .error{fill:var(--fail)}.plot .errorname,.plot .faultname{fill:var(--fail)}
.bar{display:block;margin-top:.35rem}.f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c3)}.f3{fill:var(--c7)}
.legend{margin:.1rem 0}.key{margin-right:.9rem;white-space:nowrap}
.key::before{content:"";display:inline-block;width:.9em;height:.3em;margin-right:.35em;vertical-align:middle;
background:var(--k)}
.plot polyline.dash{stroke-dasharray:5 3}.key.dash::before{
background:repeating-linear-gradient(90deg,var(--k) 0 .3em,#0000 .3em .45em)}
@media (max-width:600px){body{font-size:15px}main{padding:0 .7rem 2rem}h1{font-size:1.6rem}
dl{grid-template-columns:1fr;gap:0}dt{margin-top:.4rem}.plot{min-width:640px}.swim{max-width:none}
.witness{padding:.5rem .6rem}.records{padding-left:1.1rem}}
@media print{nav,.skip,.lanes>label,.lanes>span{display:none}
html,body{font-size:11px}main{max-width:none}
.card,.bar,figure,li,tr{break-inside:avoid}h2,h3,.sentence{break-after:avoid}.scroll{overflow:visible}
.plot{min-width:0}.swim{max-width:75%}pre,code{font-size:10px}pre{border:1px solid var(--line)}
article.card{outline:1px solid var(--line)}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


def _scoped(style: str) -> str:
    """Return the style of a swim-lane as rules that apply inside `.swim` only: a page has many pictures."""
    style = style.replace("@media (prefers-color-scheme: dark)", DARK)
    rules = re.sub(
        r"(?m)^(\s*)([^@\n}{]+)\{",
        lambda found: ",".join(f".swim {one.strip()}" for one in found[2].split(",")) + "{",
        style,
    )
    return re.sub(r"\n\s*", "\n", rules).replace("'", '"')


def _lines() -> str:
    return "".join(
        f".plot .c{n}{{stroke:var(--c{n})}}.plot circle.c{n}{{fill:var(--c{n});stroke:none}}.k{n}{{--k:var(--c{n})}}"
        for n in range(COLOURS)
    )


def _hiding() -> str:
    """Return the CSS rules that hide a lane, and the steps that begin or end there, if its check box is not checked."""
    return "".join(f".lanes:has(.h{n}:not(:checked)) .l{n}{{display:none}}" for n in range(LANES_MAX))


STYLE: Final = _PAGE.replace("DARK", DARK) + _scoped(PICTURE) + _lines() + _hiding()
