"""Style sheets of a derivation: its own, and that of a page that holds nothing else."""

__all__ = ["PAGE_STYLE", "STYLE"]

STYLE = """
.sgdfit-derivation{max-width:54em;color:inherit;line-height:1.5}
.sgdfit-derivation section{margin:0 0 1.6em}
.sgdfit-derivation h3{font-size:1.05em;font-weight:600;margin:0 0 .3em}
.sgdfit-derivation h3 span{opacity:.55;margin-right:.6em;font-variant-numeric:tabular-nums}
.sgdfit-derivation p{margin:.2em 0}
.sgdfit-derivation .formulas{padding-left:1em;margin:.4em 0;
border-left:2px solid color-mix(in srgb,currentColor 18%,transparent)}
.sgdfit-derivation .formula{overflow-x:auto;overflow-y:hidden;padding:.3em 0}
.sgdfit-derivation math{font-size:1.12em}
.sgdfit-derivation p math{font-size:1em}
.sgdfit-derivation math[display]{width:max-content;margin:0}
.sgdfit-derivation mtable.chain>mtr>mtd{text-align:left;padding:.25em 0}
.sgdfit-derivation mtable.chain>mtr>mtd:first-child{text-align:right}
.sgdfit-derivation mtable.cases>mtr>mtd{text-align:left;padding:.15em .5em .15em 0}
.sgdfit-derivation .scroll{overflow-x:auto;margin:.5em 0}
.sgdfit-derivation table{border-collapse:collapse;background:transparent}
.sgdfit-derivation tr{background:transparent}
.sgdfit-derivation th,.sgdfit-derivation td{padding:.2em 1em .2em 0;text-align:right;
white-space:nowrap;font-variant-numeric:tabular-nums;font-weight:normal}
.sgdfit-derivation thead th{border-bottom:1px solid currentColor;font-weight:600}
.sgdfit-derivation tr>:first-child{text-align:left}
"""
PAGE_STYLE = """
:root{color-scheme:light dark}
body{font:17px/1.5 system-ui,sans-serif;margin:0 auto;padding:1.2em;max-width:54em;
background:Canvas;color:CanvasText}
h1{font-size:1.3em;margin:.2em 0 1em}
@media (max-width:30em){body{font-size:15px;padding:.8em}}
"""
