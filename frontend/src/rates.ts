// The learning rate: a logarithmic slider whose zones are coloured and worded.

import { make, plain, short } from "./elements";
import type { Frame } from "./messages";

const STEPS = 1000;
// Powers of ten that the slider reaches from the limit.
const BELOW = 2;
const ABOVE = 1;

export class Rates {
  readonly element: HTMLElement;
  private readonly slider: HTMLInputElement;
  private readonly box: HTMLInputElement;
  private readonly track = make("div", { class: "zones", "aria-hidden": "true" });
  private readonly note = make("p", { class: "note" });
  private limit: number | null = null;
  private centre = 0.1;
  private touched = 0;

  constructor(private readonly say: (rate: number | string | null) => void) {
    this.slider = make("input", {
      type: "range",
      min: 0,
      max: STEPS,
      "aria-label": "learning rate, logarithmic slider",
      input: () => {
        const rate = this.at(Number(this.slider.value) / STEPS);
        this.box.value = plain(rate);
        this.touched = Date.now();
        this.say(Number(rate.toPrecision(4)));
      },
    });
    this.box = make("input", {
      type: "text",
      inputmode: "decimal",
      class: "value",
      "aria-label": "learning rate",
      change: () => {
        const text = this.box.value.trim();
        this.say(!text || text === "auto" ? null : text);
      },
    });
    const usual = make("button", { type: "button", title: "Let sgdfit choose the learning rate", click: () => this.say(null) }, "auto");
    this.element = make(
      "div",
      { class: "rates" },
      make("div", { class: "line" }, make("span", { class: "name" }, "learning rate"), this.box, usual),
      make("div", { class: "track" }, this.track, this.slider),
      this.note,
    );
  }

  private at(share: number): number {
    return this.centre * 10 ** (-BELOW + share * (BELOW + ABOVE));
  }

  private share(rate: number): number {
    return (Math.log10(rate / this.centre) + BELOW) / (BELOW + ABOVE);
  }

  setFrame(frame: Frame): void {
    const { limit, smooth } = frame.zones;
    if (limit !== this.limit) {
      this.limit = limit;
      if (limit) {
        // The slider holds still as long as the limit is well on it.
        const at = this.share(limit);
        if (!(at > 0.4 && at < 0.95)) this.centre = limit;
        this.draw(smooth ?? limit / 2, limit);
      } else this.track.replaceChildren();
    }
    const { rate } = frame;
    if (rate) {
      if (!limit && !(this.share(rate) > 0.1 && this.share(rate) < 0.9)) this.centre = rate;
      if (Date.now() - this.touched > 400) {
        this.slider.value = String(Math.round(STEPS * Math.min(1, Math.max(0, this.share(rate)))));
      }
      if (document.activeElement !== this.box) this.box.value = plain(Number(rate.toPrecision(4)));
      const zone = !limit ? "" : rate <= (smooth ?? 0) ? "smooth" : rate <= limit ? "oscillating" : "diverging";
      this.slider.setAttribute("aria-valuetext", `${short(rate)} ${zone}`);
    }
    const worded = limit
      ? `Smooth below ${short(smooth, 3)}, oscillating to ${short(limit, 4)}, diverging beyond. `
      : "";
    this.note.textContent = worded + frame.zones.note;
  }

  private draw(smooth: number, limit: number): void {
    const edges = [0, this.share(smooth), this.share(limit), 1].map((edge) => Math.min(1, Math.max(0, edge)));
    const zones = ["smooth", "oscillating", "diverging"].map((zone, k) => {
      const width = 100 * ((edges[k + 1] ?? 1) - (edges[k] ?? 0));
      const named = width > 25 || zone === "diverging" ? zone : "";
      return make("span", { class: `zone ${zone}`, style: `width: ${width}%` }, named);
    });
    this.track.replaceChildren(...zones);
  }
}
