// A row for each parameter: what it is, a slider over its range, its slope, and a lock.

import { make, plain, short } from "./elements";
import type { Frame, Parameter } from "./messages";

const STEPS = 1000;

interface Row {
  parameter: Parameter;
  slider: HTMLInputElement;
  box: HTMLInputElement;
  low: HTMLInputElement;
  high: HTMLInputElement;
  slope: HTMLElement;
  lock: HTMLInputElement;
  touched: number;
}

export class Parameters {
  readonly element = make("div", { class: "parameters" });
  private rows: Row[] = [];

  constructor(
    private readonly say: {
      // What is no number is said to Python, which refuses it in words.
    set(name: string, value: number | string): void;
      lock(name: string, locked: boolean): void;
      range(name: string, low: number | string, high: number | string): void;
    },
  ) {}

  setScene(parameters: Parameter[]): void {
    this.rows = parameters.map((parameter) => this.row(parameter));
    // Who works by keyboard stays where they are.
    const at = this.element.contains(document.activeElement) ? document.activeElement?.getAttribute("aria-label") : null;
    this.element.replaceChildren(...this.rows.map((row) => this.laidOut(row)));
    if (at) this.element.querySelector<HTMLElement>(`[aria-label="${CSS.escape(at)}"]`)?.focus();
  }

  setFrame(frame: Frame): void {
    const slopes = Object.values(frame.gradient).map((slope) => Math.abs(slope ?? 0));
    const steepest = Math.max(...slopes, 1e-300);
    for (const row of this.rows) {
      const { name } = row.parameter;
      const value = frame.values[name];
      if (value === undefined) continue;
      if (document.activeElement !== row.box) row.box.value = plain(value);
      row.box.closest(".parameter")?.classList.toggle("pulled", Boolean(frame.pulled?.includes(name)));
      // Not under the hand that drags it.
      if (Date.now() - row.touched > 400) this.place(row, value);
      row.slider.setAttribute("aria-valuetext", short(value, 6));
      const slope = frame.gradient[name];
      if (slope === null || slope === undefined) {
        row.slope.textContent = row.parameter.locked ? "locked" : "–";
        row.slope.style.setProperty("--share", "0");
        continue;
      }
      // Descent goes against the slope.
      const arrow = slope > 0 ? "←" : slope < 0 ? "→" : "·";
      row.slope.textContent = `${arrow} ${name.length > 6 ? "slope" : `∂L/∂${name} =`} ${short(slope, 3)}`;
      row.slope.style.setProperty("--share", String(Math.abs(slope) / steepest));
      row.slope.dataset.side = slope > 0 ? "left" : "right";
    }
  }

  /** Undo what has been refused. */
  restore(): void {
    for (const { lock, parameter } of this.rows) lock.checked = parameter.locked;
  }

  private place(row: Row, value: number): void {
    const { low, high } = row.parameter;
    row.slider.value = String(Math.round((STEPS * (value - low)) / (high - low)));
  }

  private row(parameter: Parameter): Row {
    const { name, low, high, locked } = parameter;
    const slider = make("input", {
      type: "range",
      min: 0,
      max: STEPS,
      "aria-label": `${name}, slider`,
      disabled: locked,
      input: () => {
        const { low, high } = row.parameter;
        const value = low + ((high - low) * Number(slider.value)) / STEPS;
        box.value = plain(value);
        row.touched = Date.now();
        this.say.set(name, value);
      },
    });
    const box = make("input", {
      type: "text",
      inputmode: "decimal",
      "aria-label": `value of ${name}`,
      class: "value",
      disabled: locked,
      change: () => this.say.set(name, box.value),
    });
    const ends = (which: "low" | "high", value: number): HTMLInputElement => {
      const end = make("input", {
        type: "text",
        inputmode: "decimal",
        class: `end ${which}`,
        value: plain(value),
        "aria-label": `${which === "low" ? "least" : "largest"} ${name} of the slider`,
        change: () => {
          const { low, high } = row.parameter;
          const wanted = { low, high, [which]: Number(end.value) };
          if (wanted.low < wanted.high) row.parameter = { ...row.parameter, ...wanted };
          this.say.range(name, which === "low" ? end.value : low, which === "high" ? end.value : high);
        },
      });
      return end;
    };
    const lock = make("input", {
      type: "checkbox",
      "aria-label": `lock ${name}`,
      change: () => this.say.lock(name, lock.checked),
    });
    lock.checked = locked;
    const slope = make("span", { class: "slope" });
    const row: Row = { parameter, slider, box, low: ends("low", low), high: ends("high", high), slope, lock, touched: 0 };
    this.place(row, parameter.value);
    box.value = plain(parameter.value);
    return row;
  }

  private laidOut(row: Row): HTMLElement {
    const { name, colour } = row.parameter;
    return make(
      "div",
      { class: "parameter", style: `--colour: var(--parameter-${colour % 8})` },
      make("div", { class: "head" }, make("span", { class: "name" }, name), row.slope, make("label", { class: "lock" }, row.lock, "lock")),
      row.box,
      row.slider,
      row.low,
      row.high,
    );
  }
}
