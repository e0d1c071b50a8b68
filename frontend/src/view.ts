// The live view: what there is to see and to press. Python computes all of it.

import { type Ranges, readAddress, writeAddress } from "./address";
import { Charts } from "./charts";
import { fill, make, short } from "./elements";
import type { Answer, Channel, Failure, Frame, Rival, Scene, Settings, Told } from "./messages";
import { Parameters } from "./parameters";
import { Rates } from "./rates";

const SPEEDS = [1, 2, 5, 10, 50, 200, 1000];
// Screen readers hear no more often how it goes.
const SAID_EVERY = 1000;
const CHARTS: Record<string, string> = {
  data: "The data, the curve, and the curve after the next step",
  left: "Residuals: what was observed less the curve",
  loss: "The loss by steps, on a logarithmic axis",
  ground: "Contours of the loss over two parameters, and the way so far; the sliders move the same parameters",
};
const MOST_BYTES = 50_000_000;
const COPY = "Copy as TeX";
const LOST = {
  open: "",
  silent: "The server does not answer; this page goes on as soon as it does.",
  refused: "The server was started anew and does not know this tab; open the link that it printed, and this tab goes on too.",
};
const BATCHES = ["all", "1", "8", "64"];

function rowsOf(batch: string | number): string {
  return batch === "all" ? "all rows" : `batches of ${batch}`;
}

export interface Host {
  /** Whether the address may hold what is shown, as on a page of its own. */
  address: boolean;
}

/** Show the view in a place; return what takes it away again. */
export function show(channel: Channel, place: HTMLElement, host: Host): () => void {
  const view = new View(channel, host);
  // It is laid out by its own room, which in a notebook is less than the window's.
  Object.assign(place.style, { containerType: "inline-size", width: "100%" });
  place.replaceChildren(view.element);
  view.begin();
  return () => view.end();
}

class View {
  readonly element: HTMLElement;
  private readonly charts: Charts;
  private readonly parameters: Parameters;
  private readonly rates: Rates;
  private readonly spot = (name: string): HTMLElement => 
    make("div", { class: `chart ${name}`, role: "img", "aria-label": CHARTS[name] ?? "" });
  private readonly places = {
    data: this.spot("data"),
    left: this.spot("left"),
    rivalData: this.spot("data"),
    rivalLeft: this.spot("left"),
    loss: this.spot("loss"),
    ground: this.spot("ground"),
  };
  private scene: Scene | null = null;
  private frame: Frame | null = null;
  private saidAt = 0;
  private writing = 0;
  private deriving = 0;
  private watching = false;
  private chosen: Ranges = {};
  private readonly cleanups: (() => void)[] = [];

  private readonly runButton = this.button("Run", "Space", () => this.runOrPause());
  private readonly backButton = this.button("Back", "", () => this.ask("back"));
  private readonly facts = make("p", { class: "facts" });
  private readonly verdict = make("p", { class: "verdict" });
  private readonly status = make("p", { class: "unseen", role: "status" });
  private readonly lost = make("p", { class: "lost", role: "alert", hidden: true });
  private readonly invitation = make("p", { class: "invitation" });
  private readonly formula = make("input", {
    type: "text",
    class: "formula",
    spellcheck: "false",
    autocomplete: "off",
    "aria-label": "formula",
    change: () => this.ask("formula", { text: this.formula.value }),
  });
  private readonly where = make("input", {
    type: "text",
    class: "condition",
    spellcheck: "false",
    placeholder: "all; or such as x > 0",
    "aria-label": "rows where",
    change: () => this.ask("where", { text: this.where.value }),
  });
  private readonly echo = make("div", { class: "echo" });
  private readonly trouble = make("pre", { class: "trouble", role: "alert", hidden: true });
  private readonly sample = make("select", {
    "aria-label": "sample data",
    change: () => this.sample.value && this.ask("data", { kind: "sample", name: this.sample.value }),
  });
  private readonly about = make("p", { class: "note" });
  private readonly optimizer = make("select", {
    "aria-label": "optimizer",
    change: () => this.ask("options", { optimizer: this.optimizer.value, rate: null }),
  });
  private readonly momentum = make("input", {
    type: "text",
    inputmode: "decimal",
    "aria-label": "momentum",
    change: () => {
      const value = this.momentum.value.trim() || "0";
      const { optimizer } = (this.frame as Frame).options;
      const said = optimizer.includes("momentum=") ? optimizer.replace(/momentum=[^,)]*/, `momentum=${value}`) : `sgd(momentum=${value})`;
      this.ask("options", { optimizer: Number(value) === 0 ? "sgd" : said, rate: null });
    },
  });
  private readonly momentumField = make("label", { class: "field steers" }, make("span", {}, "momentum"), this.momentum);
  private readonly batch = make("input", {
    type: "text",
    inputmode: "numeric",
    placeholder: "all",
    "aria-label": "batch size",
    change: () => this.askNumber("batch", this.batch),
  });
  private readonly seed = make("input", {
    type: "text",
    inputmode: "numeric",
    "aria-label": "seed",
    change: () => this.askNumber("seed", this.seed),
  });
  private readonly speed = make("select", {
    "aria-label": "steps a frame",
    change: () => this.ask("options", { speed: Number(this.speed.value) }),
  });
  private readonly sliceX = this.slicer("across");
  private readonly sliceY = this.slicer("up");
  private readonly contours = make("span", { class: "line" }, "contours over", this.sliceX, this.sliceY);
  private readonly own = make("p", { class: "side" });
  private readonly rival = make("p", { class: "side" });
  private readonly dataKey = make("p", { class: "note key" });
  private readonly rivalKey = make("p", { class: "note key" });
  private readonly lossKey = make("p", { class: "note key" });
  private readonly groundKey = make(
    "p",
    { class: "note key" },
    ...["● where it stands (drag it)", "•— the way", "★ least loss of all", "┄ its 95% region"].map((one) => make("span", {}, one)),
  );
  private readonly compare = make("select", {
    "aria-label": "compare with",
    change: () => {
      const [kind, other] = this.compare.value.split(":");
      if (this.scene) this.scene = { ...this.scene, compared: this.compare.value };
      const size = other === "all" ? null : Number(other);
      this.ask("compare", kind ? { kind, other: kind === "batch" ? size : other } : { kind: null });
    },
  });
  private readonly held = make("p", { class: "note" });
  private readonly work = make("div", { class: "work" });
  private readonly result = make("div", { class: "result" });
  private latex = "";
  private readonly copier = make("button", { type: "button", click: () => void this.copy() }, COPY);
  private readonly workBox = make(
    "details",
    { class: "steers", toggle: () => this.workBox.open && this.ask("work") },
    make("summary", {}, make("h2", {}, "Show the work")),
    make("p", {}, this.copier),
    this.work,
  );
  private readonly resultBox = make("details", { hidden: true }, make("summary", {}, make("h2", {}, "The fit")), this.result);
  private readonly paste = make("textarea", {
    rows: 4,
    placeholder: "x,y\n0,1.2\n1,2.9",
    "aria-label": "paste a table",
  });
  private readonly file = make("input", {
    type: "file",
    "aria-label": "file with data",
    accept: ".csv,.tsv,.txt,.parquet,.xlsx",
    change: () => {
      const chosen = this.file.files?.[0];
      if (chosen) void this.upload(chosen);
    },
  });

  constructor(
    private readonly channel: Channel,
    private readonly host: Host,
  ) {
    this.parameters = new Parameters({
      set: (name, value) => this.ask("set", { name, value }),
      lock: (name, locked) => this.ask("lock", { name, locked }),
      range: (name, low, high) => {
        this.chosen[name] = [low, high];
        this.ask("range", { name, low, high });
      },
    });
    this.rates = new Rates((rate) => this.ask("options", { rate }));
    this.speed.append(...SPEEDS.map((speed) => make("option", { value: speed }, `${speed} a frame`)));
    this.element = this.laidOut();
    this.charts = new Charts(this.element, this.places);
    this.charts.onDrag = (values) => {
      for (const [name, value] of Object.entries(values)) this.ask("set", { name, value });
    };
  }

  begin(): void {
    this.charts.onPull = (pull) => this.ask("pull", pull);
    this.channel.listen((told, arrays) => this.hear(told, arrays));
    this.channel.watch((state) => {
      this.lost.hidden = state === "open";
      this.lost.textContent = LOST[state];
    });
    const keys = (event: KeyboardEvent): void => this.press(event);
    this.element.addEventListener("keydown", keys);
    const asked = (): void => this.followAddress();
    if (this.host.address) {
      document.addEventListener("keydown", keys);
      window.addEventListener("hashchange", asked);
    }
    const resized = new ResizeObserver(() => this.charts.resize());
    for (const place of Object.values(this.places)) resized.observe(place);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const recolour = (): void => this.charts.make();
    dark.addEventListener("change", recolour);
    this.cleanups.push(
      () => document.removeEventListener("keydown", keys),
      () => window.removeEventListener("hashchange", asked),
      () => resized.disconnect(),
      () => dark.removeEventListener("change", recolour),
    );
    if (!this.host.address) this.channel.send({ type: "hello" });
  }

  end(): void {
    this.cleanups.forEach((cleanup) => cleanup());
    this.charts.destroy();
    this.channel.close();
  }

  /** Another address was put in; the view's own writing of it raises no event. */
  private followAddress(): void {
    const state = readAddress();
    if (this.watching || !Object.keys(state).length) return;
    this.scene = null; // nothing is written over it until the answer comes
    this.ask("hello", { state });
  }

  private ask(type: string, rest: Record<string, unknown> = {}): void {
    if (this.watching && type !== "slice") return;
    if (type !== "export") this.trouble.hidden = true;
    this.channel.send({ type, ...rest });
  }

  private askNumber(name: "batch" | "seed", box: HTMLInputElement): void {
    const text = box.value.trim();
    const value = Number.isFinite(Number(text)) ? Number(text) : text;
    if (!text || text === "all") this.ask("options", { [name]: name === "seed" ? 0 : null });
    else this.ask("options", { [name]: value });
  }

  private button(text: string, key: string, press: () => void): HTMLButtonElement {
    const told = key ? make("kbd", { "aria-hidden": "true" }, key) : "";
    return make("button", { type: "button", click: press }, make("span", {}, text), told);
  }

  private slicer(which: string): HTMLSelectElement {
    return make("select", {
      "aria-label": `parameter of the contours, ${which}`,
      change: () => this.ask("slice", { x: this.sliceX.value, y: this.sliceY.value }),
    });
  }

  private runOrPause(): void {
    this.ask(this.frame?.running ? "pause" : "run");
  }

  private press(event: KeyboardEvent): void {
    if (this.watching) return;
    const target = event.target as HTMLElement;
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && (target as HTMLInputElement).type !== "range";
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
    const key = event.key.toLowerCase();
    if (key === " " && /^(BUTTON|SUMMARY)$/.test(target.tagName)) return;
    const actions: Record<string, () => void> = {
      s: () => this.ask("step"),
      " ": () => this.runOrPause(),
      r: () => this.ask("reset"),
    };
    const action = actions[key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  private hear(told: Told, arrays: Record<string, Float32Array | Float64Array>): void {
    switch (told.type) {
      case "scene":
        return this.setScene(told, arrays);
      case "typeset":
        fill(this.echo, told.mathml);
        return this.colourNames();
      case "frame":
        return this.setFrame(told, arrays);
      case "watch":
        this.watching = true;
        this.charts.onPull = null;
        this.element.classList.add("watching");
        this.groundKey.firstElementChild?.replaceChildren("● where it stands");
        this.invitation.textContent = told.text;
        return;
      case "landscape":
        this.held.textContent = told.held;
        if (this.scene) this.scene = { ...this.scene, slice: [told.x, told.y] };
        this.sliceX.value = told.x;
        this.sliceY.value = told.y;
        return this.charts.setLandscape(told, arrays);
      case "density":
        return this.charts.setDensity(told, arrays.counts ?? []);
      case "work":
        this.latex = told.latex;
        fill(this.work, told.html);
        for (const box of this.work.querySelectorAll<HTMLElement>(".formula, .scroll")) {
          if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; // keys scroll it
        }
        return;
      case "result":
        fill(this.result, told.html);
        this.resultBox.hidden = false;
        this.resultBox.open = true;
        if (this.watching) this.leave();
        return;
      case "answer":
        return this.take(told);
      case "error":
        return this.fail(told);
    }
  }

  private setScene(scene: Scene, arrays: Record<string, Float32Array | Float64Array>): void {
    const another = scene.formula !== this.scene?.formula;
    if (another) this.chosen = this.scene || !this.host.address ? {} : ((readAddress().ranges ?? {}) as Ranges);
    if (another || document.activeElement !== this.formula) this.formula.value = scene.formula;
    if (document.activeElement !== this.where) this.where.value = scene.where;
    this.scene = scene;
    this.resultBox.hidden = true;
    const choices = (label: string, kind: string, names: readonly string[]): HTMLElement =>
      make("optgroup", { label }, ...names.map((name) => make("option", { value: `${kind}:${name}` }, kind === "batch" ? rowsOf(name) : name)));
    this.compare.replaceChildren(
      make("option", { value: "" }, "nothing"),
      choices("the same, by other batches", "batch", BATCHES),
      choices("the same, by another optimizer", "optimizer", scene.optimizers),
    );
    this.compare.value = scene.compared;
    this.trouble.hidden = true;
    this.invitation.textContent = scene.invitation;
    this.sample.replaceChildren(
      make("option", { value: "" }, "your data"),
      ...Object.entries(scene.samples).map(([name, title]) => make("option", { value: name }, title)),
    );
    this.sample.value = scene.sample ?? "";
    const rows = scene.rows.toLocaleString("en");
    this.about.textContent =
      `${rows} rows of ${scene.columns.join(", ")}` +
      (scene.drawn < scene.rows ? (arrays.grid ? "; all make the density" : "") + `, ${scene.drawn.toLocaleString("en")} are drawn one by one` : "") +
      (scene.dropped ? `; ${scene.dropped.toLocaleString("en")} with missing values left out` : "") +
      (scene.units ? `; ${scene.units}` : "");
    this.optimizer.replaceChildren(...scene.optimizers.map((name) => make("option", {}, name)));
    const free = scene.parameters.filter((one) => !one.locked).map((one) => one.name);
    for (const [slicer, name] of [
      [this.sliceX, scene.slice[0]],
      [this.sliceY, scene.slice[1]],
    ] as const) {
      slicer.replaceChildren(...free.map((one) => make("option", {}, one)));
      if (name) slicer.value = name;
    }
    this.contours.hidden = this.places.ground.hidden = this.groundKey.hidden = !scene.slice.length;
    this.held.textContent = scene.slice.length ? "" : "Contours take two parameters that are free.";
    const told = arrays.grid
      ? ["● data", ...(this.watching ? ["━ the curve"] : ["━ the curve (drag it)", "╍ after the next step"]), "│ residual"]
      : ["● prediction over what was observed", "━ where the two are equal"];
    this.dataKey.replaceChildren(...told.map((one) => make("span", {}, one)));
    this.rivalKey.replaceChildren(...told.map((one) => make("span", {}, one.replace(" (drag it)", ""))));
    this.showOptions(scene);
    this.parameters.setScene(scene.parameters);
    if (this.watching) this.element.querySelectorAll("input").forEach((box) => (box.readOnly = true));
    this.charts.setScene(scene, arrays);
  }

  /** In the typeset formula parameters have their colours. */
  private colourNames(): void {
    for (const name of this.echo.querySelectorAll<HTMLElement>("mi")) {
      const found = this.scene?.parameters.find((one) => one.name === name.textContent);
      if (found) name.style.color = `var(--parameter-${found.colour % 8})`;
    }
  }

  /** Show the optimizer, which an address may have chosen from outside the menu. */
  private showOptimizer({ optimizer }: Settings): void {
    this.optimizer.value = optimizer;
    if (this.optimizer.value !== optimizer) {
      this.optimizer.append(make("option", {}, optimizer));
      this.optimizer.value = optimizer;
    }
    this.momentumField.hidden = !/^sgd\b/.test(optimizer);
    if (document.activeElement !== this.momentum) this.momentum.value = /momentum=([^,)]*)/.exec(optimizer)?.[1] ?? "0";
  }

  private showOptions({ options }: Scene): void {
    this.showOptimizer(options);
    this.batch.value = options.batch === null ? "" : String(options.batch);
    this.seed.value = String(options.seed);
    this.speed.value = String(options.speed);
  }

  private setFrame(frame: Frame, arrays: Record<string, Float32Array | Float64Array>): void {
    if (this.frame?.options.optimizer !== frame.options.optimizer) this.showOptimizer(frame.options);
    this.frame = frame;
    // The address holds them as they are now.
    if (this.scene) this.scene = { ...this.scene, options: frame.options };
    const label = this.runButton.firstElementChild;
    if (label) label.textContent = frame.running ? "Pause" : "Run";
    this.runButton.classList.toggle("on", frame.running);
    this.backButton.disabled = !frame.undo;
    this.facts.replaceChildren(
      ...[
        ["step", frame.step.toLocaleString("en")],
        ["loss", short(frame.loss, 5)],
        ...(this.watching ? [] : [["|∇L|", short(frame.gradient_norm, 3)]]),
      ].flatMap(([name, value]) => [make("span", { class: "fact" }, `${name} `, make("b", {}, value ?? ""))]),
    );
    this.showSides(frame);
    this.showVerdict(frame);
    this.parameters.setFrame(frame);
    this.rates.setFrame(frame);
    this.charts.setFrame(frame, arrays);
    this.sayAloud(frame);
    if (this.workBox.open && !frame.running) {
      // Its numbers are those of the step that comes next.
      window.clearTimeout(this.deriving);
      this.deriving = window.setTimeout(() => this.channel.send({ type: "work" }), 200);
    }
    if (this.host.address && this.scene && !this.watching) {
      window.clearTimeout(this.writing);
      this.writing = window.setTimeout(() => this.scene && writeAddress(this.scene, this.frame, this.chosen), 400);
    }
    if (frame.step > 0 && !this.watching) this.invitation.hidden = true;
  }

  /** Say which descent is which, where there are two. */
  private showSides({ rival, options, rate, loss, ended }: Frame): void {
    const batches = options.batch !== null || (rival && rival.batch !== null);
    this.element.classList.toggle("compared", Boolean(rival));
    const said = (sign: string, one: Rival): Node[] => [
      make("b", {}, `${sign} ${one.optimizer}, ${rowsOf(one.batch ?? "all")}`),
      make("span", {}, ` rate ${short(one.rate)} · `, make("b", {}, one.ended === "halted" ? "diverged" : `loss ${short(one.loss)}`)),
    ];
    this.own.replaceChildren(...said("━ ●", { ...options, rate, loss, ended }));
    if (rival) this.rival.replaceChildren(...said("╍ ■", rival));
    this.lossKey.hidden = !batches;
    this.lossKey.replaceChildren(make("span", {}, "lines: over all rows"), make("span", {}, "dots: of each batch"));
  }

  private showVerdict({ verdict }: Frame): void {
    const marks = { good: "✓", caution: "!", bad: "✗" };
    this.verdict.dataset.level = verdict.level;
    this.verdict.replaceChildren(
      make("span", { class: "mark", "aria-hidden": "true" }, marks[verdict.level]),
      ` ${verdict.text} `,
    );
    const { offer } = verdict;
    if (offer) {
      const rate = Number(offer.toPrecision(4));
      this.verdict.append(
        make("button", { type: "button", click: () => this.ask("options", { rate }) }, `use ${short(rate)}`),
      );
    }
  }

  private sayAloud(frame: Frame): void {
    const now = Date.now();
    if (now - this.saidAt < SAID_EVERY && frame.running) return;
    this.saidAt = now;
    this.status.textContent = `step ${frame.step}, loss ${short(frame.loss)}. ${frame.verdict.text}`;
  }

  private fail(failure: Failure): void {
    this.trouble.hidden = false;
    this.trouble.textContent = failure.text;
    this.parameters.restore();
    if (this.scene) this.showOptions(this.scene);
    if (failure.where === "run") this.leave();
  }

  /** The run that is watched has ended, and with it what it can be asked. */
  private leave(): void {
    this.channel.close();
    this.sliceX.disabled = this.sliceY.disabled = true;
  }

  private take({ name, text }: Answer): void {
    this.download(name, new Blob([text]));
  }

  /** The charts as one picture, side by side as they stand. */
  private takePicture(): void {
    const shown = [...this.element.querySelectorAll<HTMLCanvasElement>(".chart canvas")];
    const page = this.element.getBoundingClientRect();
    const boxes = shown.map((canvas) => canvas.getBoundingClientRect());
    const left = Math.min(...boxes.map((box) => box.left));
    const top = Math.min(...boxes.map((box) => box.top));
    const right = Math.max(...boxes.map((box) => box.right), page.left);
    const bottom = Math.max(...boxes.map((box) => box.bottom), page.top);
    const drawn = make("canvas");
    drawn.width = (right - left) * devicePixelRatio;
    drawn.height = (bottom - top) * devicePixelRatio;
    const context = drawn.getContext("2d");
    if (!context) return;
    context.fillStyle = getComputedStyle(this.element).backgroundColor;
    context.fillRect(0, 0, drawn.width, drawn.height);
    shown.forEach((canvas, k) => {
      const box = boxes[k] as DOMRect;
      context.drawImage(canvas, (box.left - left) * devicePixelRatio, (box.top - top) * devicePixelRatio);
    });
    drawn.toBlob((blob) => blob && this.download("run.png", blob));
  }

  private download(name: string, content: Blob): void {
    const link = make("a", { href: URL.createObjectURL(content), download: name });
    // VS Code takes clicks that reach the document, and reads the content thereafter.
    this.element.append(link);
    link.click();
    link.remove();
    window.setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  private async copy(): Promise<void> {
    // There is no clipboard on a page from another machine without https.
    const copied = await navigator.clipboard?.writeText(this.latex).then(() => true, () => false);
    this.copier.textContent = copied ? "Copied" : "The browser gives no access to the clipboard";
    this.status.textContent = this.copier.textContent;
    window.setTimeout(() => (this.copier.textContent = COPY), 2_000);
  }

  private async upload(file: File): Promise<void> {
    if (this.watching) return;
    if (file.size > MOST_BYTES) {
      return this.fail({ type: "error", where: "data", text: `${file.name} has ${file.size} bytes, of at most ${MOST_BYTES}` });
    }
    this.trouble.hidden = true;
    this.channel.send({ type: "data", kind: "file" }, await file.arrayBuffer());
  }

  private laidOut(): HTMLElement {
    const field = (name: string, ...inside: HTMLElement[]): HTMLElement =>
      make("label", { class: "field" }, make("span", {}, name), ...inside);
    const steering = (name: string, ...inside: HTMLElement[]): HTMLElement =>
      make("label", { class: "field steers" }, make("span", {}, name), ...inside);
    const exports = ["python", "notebook", "tex", "csv", "report"].map((kind) =>
      make("button", { type: "button", click: () => this.ask("export", { kind }) }, { python: "Python", notebook: "Notebook", tex: "TeX", csv: "Trace (CSV)", report: "Report" }[kind] ?? kind),
    );
    const picture = make("button", { type: "button", click: () => this.takePicture() }, "Picture (PNG)");
    const whole = make(
      "div",
      { class: "sgdfit-view" },
      make(
        "header",
        {},
        make(
          "div",
          { class: "buttons steers", role: "toolbar", "aria-label": "the descent" },
          this.button("Step", "S", () => this.ask("step")),
          this.runButton,
          this.backButton,
          this.button("Reset", "R", () => this.ask("reset")),
          this.speed,
          make("button", { type: "button", class: "main", click: () => this.ask("fit") }, "Fit for me"),
        ),
        this.facts,
        this.verdict,
        this.status,
      ),
      this.lost,
      make(
        "section",
        { class: "left-side", "aria-label": "data, formula and parameters" },
        steering("data", this.sample),
        this.about,
        make(
          "details",
          { class: "own steers" },
          make("summary", {}, "use your own"),
          make("p", { class: "note" }, "Drop a CSV, Parquet or Excel file anywhere on this page, choose one, or paste a table. It stays on this machine."),
          this.file,
          this.paste,
          make("button", { type: "button", click: () => this.ask("data", { kind: "text", text: this.paste.value }) }, "Use this table"),
        ),
        steering("rows where", this.where),
        field("formula", this.formula),
        this.trouble,
        this.echo,
        this.invitation,
        this.parameters.element,
        make("div", { class: "steers" }, this.rates.element),
        steering("optimizer", this.optimizer),
        this.momentumField,
        steering("batch size", this.batch),
        steering("seed", this.seed),
        steering("compare", this.compare),
      ),
      make("section", { class: "centre", "aria-label": "data and residuals" }, this.own, this.places.data, this.dataKey, this.places.left),
      make(
        "section",
        { class: "beside", "aria-label": "data and residuals of the descent beside it" },
        this.rival,
        this.places.rivalData,
        this.rivalKey,
        this.places.rivalLeft,
      ),
      make(
        "section",
        { class: "right-side", "aria-label": "the loss" },
        make("div", {}, this.places.loss, this.lossKey),
        make("div", {}, make("div", { class: "line" }, this.contours, this.held), this.places.ground, this.groundKey),
      ),
      make(
        "section",
        { class: "below", "aria-label": "the work" },
        this.resultBox,
        this.workBox,
        make("div", { class: "line" }, make("span", {}, "take along:"), make("span", { class: "line steers" }, ...exports), picture),
      ),
    );
    whole.addEventListener("dragover", (event) => event.preventDefault());
    whole.addEventListener("drop", (event) => {
      event.preventDefault();
      const dropped = event.dataTransfer?.files[0];
      if (dropped) void this.upload(dropped);
    });
    return whole;
  }
}
