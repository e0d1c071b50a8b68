// What the view and Python say to one another; `sgdfit.page.session` is the other side.

export type Numbers = Record<string, number>;
export type Arrays = Record<string, Float32Array | Float64Array>;

export interface Parameter {
  name: string;
  value: number;
  low: number;
  high: number;
  locked: boolean;
  colour: number;
}

export interface Settings {
  optimizer: string;
  rate: number | null;
  batch: number | null;
  seed: number;
  speed: number;
}

export interface Scene {
  type: "scene";
  formula: string;
  variables: string[];
  response: string;
  columns: string[];
  units: string;
  compared: string;
  where: string;
  levels: string[];
  parameters: Parameter[];
  options: Settings;
  optimizers: string[];
  samples: Record<string, string>;
  sample: string | null;
  rows: number;
  drawn: number;
  dropped: number;
  label: string;
  slice: string[];
  invitation: string;
}

export interface Verdict {
  level: "good" | "caution" | "bad";
  text: string;
  offer?: number | null;
}

export interface Zones {
  smooth?: number;
  limit: number | null;
  fastest?: number | null;
  note: string;
}

export interface Frame {
  type: "frame";
  step: number;
  values: Numbers;
  loss: number | null;
  gradient: Record<string, number | null>;
  gradient_norm: number | null;
  running: boolean;
  ended: string;
  undo: number;
  pulled?: string[];
  rate: number | null;
  options: Settings;
  next?: Record<string, number | null>;
  verdict: Verdict;
  zones: Zones;
  rival?: Rival;
}

/** A descent: of two that are compared, the one or the other. */
export interface Rival {
  optimizer: string;
  batch: number | null;
  rate: number | null;
  loss: number | null;
  ended: string;
  values?: Numbers;
}

export interface Landscape {
  type: "landscape";
  x: string;
  y: string;
  view: [number, number, number, number];
  levels: number[];
  starts: number[];
  of: number[];
  held: string;
  star?: [number, number];
}

/** How many of all rows there are at each place. */
export interface Density {
  type: "density";
  view: [number, number, number, number];
  across: number;
}

export interface Work {
  type: "work";
  html: string;
  latex: string;
}

export interface Answer {
  type: "answer";
  kind: string;
  name: string;
  text: string;
}

export interface Failure {
  type: "error";
  where: string;
  text: string;
  caret?: number;
}

export interface ResultTold {
  type: "result";
  html: string;
}

export interface Typeset {
  type: "typeset";
  mathml: string;
}

/** That a run is watched, which nothing here steers. */
export interface Watching {
  type: "watch";
  text: string;
}

export type Told = Scene | Typeset | Frame | Landscape | Density | Work | Answer | Failure | ResultTold | Watching;

export type Asked = { type: string; [name: string]: unknown };

export type Listener = (told: Told, arrays: Arrays) => void;

/** Whatever carries messages: a notebook's comm or a WebSocket. */
export interface Channel {
  send(asked: Asked, buffer?: ArrayBuffer): void;
  listen(listener: Listener): void;
  /** Called with whether the other side can be reached, and lets this one in. */
  watch(watcher: (state: "open" | "silent" | "refused") => void): void;
  close(): void;
}

/** The arrays that stand beside a message, by their names. */
export function named(
  told: { arrays?: [string, string, number][] },
  buffers: DataView[],
): Arrays {
  const found: Arrays = {};
  (told.arrays ?? []).forEach(([name, kind, length], place) => {
    const view = buffers[place];
    if (view === undefined) return;
    // A copy, since a buffer may begin anywhere.
    const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
    found[name] =
      kind === "float32"
        ? new Float32Array(bytes as ArrayBuffer, 0, length)
        : new Float64Array(bytes as ArrayBuffer, 0, length);
  });
  return found;
}
