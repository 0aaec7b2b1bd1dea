// The style sheet of the HTML page. Private to src/report.
#pragma once

#include <string_view>

namespace winnow::report {

// Colours: a diverging blue-orange scale, told apart with every common colour blindness, whose steps also differ in
// lightness; away from the page's background is farther from the peers in both schemes.
inline constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--bg:#fbfbf9;--card:#fff;--ink:#1c2024;--soft:#5b646d;--line:#d9dcdf;--accent:#0b5cad;
--bar:#9db9d3;--hot:#b35806;--l3:#2166ac;--l2:#67a9cf;--l1:#c4dcec;--m:#eeeeea;--h1:#fee0b6;--h2:#fdb863;--h3:#e08214;
--h4:#b35806;--h5:#7f3b08;--halo:#fff;--mark:#111}
@media screen and (prefers-color-scheme:dark){:root{--bg:#15181b;--card:#1d2125;--ink:#e7eaed;--soft:#a3acb5;
--line:#3a4147;--accent:#7db8f0;--bar:#4a6d8f;--hot:#f09a2e;--l3:#6fb4ea;--l2:#4a80ad;--l1:#3b5165;--m:#33383d;
--h1:#57483a;--h2:#855c2c;--h3:#be781f;--h4:#f09a2e;--h5:#ffd79a;--halo:#000;--mark:#fff}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main,header,footer{max-width:1160px;margin:0 auto;padding:0 16px}
header{padding-top:28px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:40px 0 10px;line-height:1.25}
h3{font-size:1.05rem;margin:0 0 2px;overflow-wrap:anywhere}
p{margin:6px 0;max-width:75ch}
.soft,footer{color:var(--soft)}
.mono,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.9em;
overflow-wrap:anywhere}
a{color:var(--accent)}
a:focus-visible,[tabindex]:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:10px;margin:20px 0 0;padding:0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 14px}
.tiles dt{color:var(--soft);font-size:.85rem}
.tiles dd{margin:0;font-size:1.5rem;font-weight:600;font-variant-numeric:tabular-nums;line-height:1.25}
.tiles .hot dd{color:var(--hot)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px 16px;margin:0 0 18px}
.cols{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:18px;align-items:start}
.card>p{max-width:100ch}
.figs{display:flex;flex-wrap:wrap;gap:14px 24px;margin:12px 0}
figure{margin:0;max-width:100%}
figcaption{font-size:.85rem;color:var(--soft);margin:0 0 4px}
svg{display:block;max-width:100%;height:auto}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--soft)}
svg .e{text-anchor:end}svg .c{text-anchor:middle}svg .s{font-weight:600;fill:var(--ink)}
.l3{fill:var(--l3)}.l2{fill:var(--l2)}.l1{fill:var(--l1)}.m{fill:var(--m)}.h1{fill:var(--h1)}.h2{fill:var(--h2)}
.h3{fill:var(--h3)}.h4{fill:var(--h4)}.h5{fill:var(--h5)}
.n{fill:none;stroke:var(--line)}.u{fill:url(#hatch);stroke:var(--soft);stroke-width:.5}
.x0{stroke:var(--halo);stroke-width:4.2;fill:none;stroke-linecap:round}
.x1{stroke:var(--mark);stroke-width:1.9;fill:none;stroke-linecap:round}
.t{fill:var(--mark);stroke:var(--halo);stroke-width:1;paint-order:stroke}
.k{fill:var(--bar)}.p{fill:var(--hot)}.ph{fill:url(#stripes)}
.ax{stroke:var(--soft);stroke-width:1;fill:none}.cut{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:4 3;fill:none}
.d1{stroke:var(--hot)}.d2{stroke:var(--accent);stroke-dasharray:5 3}.d1,.d2{stroke-width:1.8;fill:none;stroke-linejoin:round}
.o1{fill:var(--hot)}.o2{fill:var(--accent)}.gap{stroke:var(--soft);stroke-width:1.4;fill:none}.grid{stroke:var(--line);fill:none}
.spark{display:inline-block;vertical-align:middle;max-width:none}
details{margin-top:10px}summary{cursor:pointer}
.legend{display:flex;flex-wrap:wrap;gap:4px 22px;align-items:end;margin:8px 0 14px;font-size:.85rem;color:var(--soft)}
.legend span{display:inline-flex;align-items:center;gap:6px}
.scroll{overflow-x:auto;max-width:100%}
.tall{max-height:min(70vh,640px);overflow-y:auto;border-bottom:1px solid var(--line)}
.tall thead th{position:sticky;top:0;background:var(--card)}
.sort{all:unset;cursor:pointer}.sort:hover{color:var(--ink)}.sort:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
th[aria-sort]{color:var(--ink)}th[aria-sort] .sort::after{content:"\a0\25B2";font-size:.75em}
th[aria-sort=descending] .sort::after{content:"\a0\25BC"}
.find{display:block;font-size:.88rem;margin:0 0 8px}
.find input{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--line);border-radius:5px;padding:3px 8px;
width:min(24rem,60%);margin:0 8px}
.printed{display:none}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.85rem;padding:2px 0 6px}
th,td{padding:4px 10px 4px 0;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;
white-space:nowrap}
th{font-weight:600}
thead th{white-space:normal;color:var(--soft);font-weight:500;vertical-align:bottom}
th:first-child,td:first-child,.a{text-align:left}
.nb{white-space:nowrap}
td+.a,th+.a{padding-left:6px}
.w{white-space:normal;overflow-wrap:anywhere;min-width:11rem}
.list{white-space:normal;min-width:27rem}
tbody th{font-weight:500}
tr:last-child>*{border-bottom:0}
.tag{display:inline-block;border:1px solid var(--line);border-radius:4px;padding:0 5px;font-size:.92em;line-height:1.35}
.tag.flag{border-color:var(--hot);color:var(--hot);font-weight:600}
.meter{display:block;height:4px;border-radius:2px;background:var(--bar);margin:3px 0 0 auto}
.facts{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:2px 16px;margin:8px 0;font-size:.88rem}
.facts dt{color:var(--soft);overflow-wrap:anywhere}
.facts dd{margin:0;overflow-wrap:anywhere;min-width:0}
.vh{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
footer{padding:24px 16px 40px;font-size:.85rem}
@media (max-width:600px){body{font-size:14px}h1{font-size:1.4rem}.card{padding:12px}
.facts{grid-template-columns:1fr}.facts dd{margin:0 0 6px}.tiles{grid-template-columns:1fr 1fr}.tiles div:last-child:nth-child(odd){grid-column:1/-1}
.w{min-width:8.5rem}.list{white-space:nowrap}th,td{padding-right:8px}.figs{gap:14px}}
@media print{body{background:#fff;font-size:10pt}.card{break-inside:avoid;border-color:#bbb}.tall{max-height:none}
.scroll{overflow:visible}.find{display:none}.tall tbody:not(.found) tr:nth-child(n+61){display:none}.printed{display:block}
thead{display:table-header-group}tr{break-inside:avoid}svg *,.meter{-webkit-print-color-adjust:exact;print-color-adjust:exact}a{color:inherit;text-decoration:none}}
)css";

}  // namespace winnow::report
