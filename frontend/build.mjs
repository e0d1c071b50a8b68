// Bundles the view: what it is made of, and where it goes.
import { build } from "esbuild";

await build({
  entryPoints: { view: "src/entry.ts", style: "src/view.css" },
  outdir: "../src/sgdfit/page/static",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "inline",
  logLevel: "warning",
});
