// The address holds what is shown, but for the data, so that a link leads to it.

import type { Frame, Scene } from "./messages";

/** Ranges of sliders that were chosen by hand, by parameter. */
export type Ranges = Record<string, [number | string, number | string]>;

const NUMBERS = ["rate", "batch", "seed", "speed"];

/** What the address says, as a message takes it. */
export function readAddress(): Record<string, unknown> {
  const said = new URLSearchParams(location.hash.slice(1));
  const state: Record<string, unknown> = {};
  for (const name of ["sample", "where", "formula", "optimizer"]) {
    const value = said.get(name);
    if (value) state[name] = value;
  }
  for (const name of NUMBERS) {
    const value = Number(said.get(name));
    if (said.get(name) && Number.isFinite(value)) state[name] = value;
  }
  const values: Record<string, number> = {};
  for (const [name, value] of said) {
    if (name.startsWith("p.") && Number.isFinite(Number(value))) {
      values[name.slice(2)] = Number(value);
    }
  }
  if (Object.keys(values).length) state.values = values;
  const [kind, other] = said.get("compare")?.split(":") ?? [];
  if (kind) state.compared = { kind, other: kind === "batch" && other !== undefined ? Number(other) || null : other };
  const [x, y] = said.get("over")?.split(",") ?? [];
  if (x && y) state.slice = { x, y };
  const ranges: Ranges = {};
  for (const [name, value] of said) {
    const [low, high] = value.split(",");
    if (name.startsWith("r.") && low && high) ranges[name.slice(2)] = [low, high];
  }
  if (Object.keys(ranges).length) state.ranges = ranges;
  const locked = said.get("locked");
  if (locked) state.locked = locked.split(",");
  return state;
}

/** Write down what is shown; nothing goes to the server by this. */
export function writeAddress(scene: Scene, frame: Frame | null, ranges: Ranges): void {
  const said = new URLSearchParams();
  if (scene.sample) said.set("sample", scene.sample);
  if (scene.where) said.set("where", scene.where);
  said.set("formula", scene.formula);
  said.set("optimizer", scene.options.optimizer);
  for (const name of ["rate", "batch", "seed", "speed"] as const) {
    const value = scene.options[name];
    if (value !== null && !(name === "speed" && value === 1)) said.set(name, String(value));
  }
  const locked = scene.parameters.filter((one) => one.locked).map((one) => one.name);
  if (scene.slice.length) said.set("over", scene.slice.join(","));
  for (const [name, ends] of Object.entries(ranges)) said.set(`r.${name}`, ends.map((end) => Number(Number(end).toPrecision(8))).join(","));
  if (scene.compared) said.set("compare", scene.compared);
  if (locked.length) said.set("locked", locked.join(","));
  const values = frame?.values ?? {};
  for (const { name } of scene.parameters) {
    const value = values[name];
    if (value !== undefined) said.set(`p.${name}`, String(Number(value.toPrecision(8))));
  }
  history.replaceState(null, "", `#${said.toString()}`);
}
