// The four charts: the data and the curve, the residuals, the loss, and its contours.

import uPlot from "uplot";

import type { Arrays, Density, Frame, Landscape, Scene } from "./messages";
import { make, short } from "./elements";

/** Colours of the page, as they are in light and in dark. */
export interface Palette {
  ink: string;
  faint: string;
  rule: string;
  main: string;
  other: string;
  third: string;
  point: string;
  levels: string[];
}

export function palette(root: Element): Palette {
  const style = getComputedStyle(root);
  const of = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: of("ink"),
    faint: of("faint"),
    rule: of("rule"),
    main: of("main"),
    other: of("other"),
    third: of("third"),
    point: of("point"),
    levels: Array.from({ length: 8 }, (_, k) => of(`parameter-${k}`)),
  };
}

type Extent = [number, number];

function extent(values: ArrayLike<number>, margin = 0.06): Extent {
  let low = Infinity;
  let high = -Infinity;
  for (let k = 0; k < values.length; k++) {
    const value = values[k] as number;
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(low <= high)) return [0, 1];
  const room = margin * (high - low) || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

/** An extent that grows where it must and is otherwise left, lest axes jump while one looks. */
class Steady {
  private held: Extent | null = null;
  reset(): void {
    this.held = null;
  }
  over(wanted: Extent): Extent {
    const [low, high] = this.held ?? wanted;
    const shrunk = (wanted[1] - wanted[0]) * 8 < high - low;
    const outside = wanted[0] < low || wanted[1] > high;
    if (this.held === null || shrunk) this.held = wanted;
    else if (outside) this.held = [Math.min(low, wanted[0]), Math.max(high, wanted[1])];
    return this.held;
  }
}

/** Counts as a picture, the more the darker. */
function picture(counts: ArrayLike<number>, across: number, colour: string): HTMLCanvasElement {
  const drawn = make("canvas", { width: across, height: counts.length / across });
  const ctx = drawn.getContext("2d");
  const most = Math.log1p(Math.max(...Array.from(counts)));
  if (!ctx || !most) return drawn;
  ctx.fillStyle = colour;
  for (let k = 0; k < counts.length; k++) {
    if (!counts[k]) continue;
    ctx.globalAlpha = 0.06 + 0.6 * (Math.log1p(counts[k] as number) / most);
    ctx.fillRect(k % across, drawn.height - 1 - Math.floor(k / across), 1, 1);
  }
  return drawn;
}

// So near the curve, in pixels, a pointer takes hold of it.
const REACH = 14;
const FONT = "12px system-ui, sans-serif";

function axes(look: Palette, x: string, y: string): uPlot.Axis[] {
  const usual = {
    stroke: look.ink,
    font: FONT,
    labelFont: FONT,
    grid: { stroke: look.rule, width: 1 },
    ticks: { stroke: look.rule, width: 1, size: 4 },
    values: (_: uPlot, ticks: number[]) => {
      // Many powers of ten are not all written.
      const every = Math.ceil(ticks.filter((tick) => tick !== null).length / 12);
      let count = 0;
      return ticks.map((tick) => (tick === null || count++ % every ? "" : short(tick, 6)));
    },
  };
  return [
    { ...usual, label: x, labelSize: 16, size: 28 },
    {
      ...usual,
      label: y,
      labelSize: 16,
      space: 24,
      size: (_, ticks) => Math.max(60, 14 + 7 * Math.max(0, ...(ticks ?? []).map((tick) => tick.length))),
    },
  ];
}

interface Framed {
  chart: uPlot;
  place: HTMLElement;
}

/** The data with the curve of one descent, and what the curve leaves; and what its arrays begin with. */
interface Side {
  data: Framed;
  left: Framed;
  prefix: "" | "rival_";
}

function options(
  place: HTMLElement,
  look: Palette,
  labels: [string, string],
  rest: Partial<uPlot.Options>,
): uPlot.Options {
  return {
    width: Math.max(120, place.clientWidth),
    height: Math.max(80, place.clientHeight),
    legend: { show: false },
    cursor: { show: false },
    axes: axes(look, ...labels),
    series: [{}],
    ...rest,
  };
}

export class Charts {
  private sides: Side[] = [];
  private loss: Framed | null = null;
  private ground: Framed | null = null;
  private scene: Scene | null = null;
  private points: { x: Float64Array; y: Float64Array; level: Float64Array | null } | null = null;
  private grid: Float64Array | null = null;
  private frame: Frame | null = null;
  private arrays: Arrays = {};
  private land: Landscape | null = null;
  private lines: Arrays = {};
  private density: { told: Density; counts: ArrayLike<number>; picture: HTMLCanvasElement | null } | null = null;
  private readonly height = new Steady();
  private readonly depth = new Steady();
  private look: Palette;
  onDrag: ((values: Record<string, number>) => void) | null = null;
  onPull: ((pull: { x: number; y: number; level: number; begins?: boolean }) => void) | null = null;

  constructor(
    private readonly root: HTMLElement,
    private readonly places: {
      data: HTMLElement;
      left: HTMLElement;
      rivalData: HTMLElement;
      rivalLeft: HTMLElement;
      loss: HTMLElement;
      ground: HTMLElement;
    },
  ) {
    this.look = palette(root);
    this.listenToGround();
    this.listenToCurve();
  }

  /** Take another formula or other data. */
  setScene(scene: Scene, arrays: Arrays): void {
    this.scene = scene;
    this.grid = (arrays.grid as Float64Array | undefined) ?? null;
    const y = (arrays.y as Float64Array | undefined) ?? new Float64Array();
    const x = (arrays.x as Float64Array | undefined) ?? null;
    this.points = { x: x ?? y, y, level: (arrays.level as Float64Array | undefined) ?? null };
    this.height.reset();
    this.depth.reset();
    this.land = this.frame = this.density = null;
    this.arrays = {};
    this.make();
  }

  /** Draw everything anew, in the colours and the room that there are. */
  make(): void {
    this.look = palette(this.root);
    this.destroy();
    if (this.density) this.density.picture = null;
    const { scene, places, look } = this;
    if (!scene) return;
    this.sides = [this.side(scene, "", places.data, places.left)];
    if (this.frame?.rival) this.sides.push(this.side(scene, "rival_", places.rivalData, places.rivalLeft));
    const dots = (colour: string): uPlot.Series => ({ paths: () => null, points: { show: true, size: 4, stroke: colour, fill: colour } });
    this.loss = this.chart(places.loss, ["step", "loss"], {
      series: [
        {},
        { stroke: look.main, width: 2, spanGaps: true },
        { stroke: look.third, width: 2, dash: [4, 4], spanGaps: true },
        dots(look.main),
        dots(look.third),
      ],
      scales: { x: { time: false, range: ({ data: [x] }) => [x[0] ?? 0, Math.max(x[x.length - 1] ?? 0, (x[0] ?? 0) + 5)] }, y: { distr: 3, range: (_, low, high) => (high > 0 ? uPlot.rangeLog(low, high, 10, true) : [0.1, 10]) } },
    });
    const [x, y] = scene.slice;
    const [across, up] = axes(look, x ?? "", y ?? "");
    const colour = (name: string | undefined): string =>
      this.levelColour(scene.parameters.find((one) => one.name === name)?.colour ?? 0);
    this.ground = this.chart(places.ground, [x ?? "", y ?? ""], {
      series: [{}, { stroke: "transparent" }],
      axes: [{ ...across, stroke: colour(x) }, { ...up, stroke: colour(y) }],
      scales: {
        x: { time: false, range: () => [this.land?.view[0] ?? 0, this.land?.view[1] ?? 1] },
        y: { range: () => [this.land?.view[2] ?? 0, this.land?.view[3] ?? 1] },
      },
      hooks: { draw: [(chart) => this.drawGround(chart)] },
    });
    this.update();
    this.updateGround();
  }

  /** Take where the descent stands. */
  setFrame(frame: Frame, arrays: Arrays): void {
    this.frame = frame;
    this.arrays = arrays;
    if (Boolean(frame.rival) !== this.sides.length > 1) return this.make();
    this.update();
    if (this.land) this.ground?.chart.redraw(false);
  }

  setDensity(told: Density, counts: ArrayLike<number>): void {
    this.density = { told, counts, picture: null };
    for (const { data } of this.sides) data.chart.redraw(false);
  }

  setLandscape(land: Landscape, arrays: Arrays): void {
    const moved = this.land?.x !== land.x || this.land?.y !== land.y;
    this.land = land;
    this.lines = arrays;
    if (moved && this.scene) {
      this.scene = { ...this.scene, slice: [land.x, land.y] };
      this.make();
    } else this.updateGround();
  }

  resize(): void {
    for (const { place, chart } of this.all()) {
      if (place.clientWidth) {
        chart.setSize({ width: place.clientWidth, height: Math.max(80, place.clientHeight) });
      }
    }
  }

  destroy(): void {
    for (const { chart } of this.all()) chart.destroy();
  }

  private all(): Framed[] {
    return [...this.sides.flatMap(({ data, left }) => [data, left]), this.loss, this.ground].filter((one) => one !== null);
  }

  private side(scene: Scene, prefix: Side["prefix"], data: HTMLElement, left: HTMLElement): Side {
    const across = this.grid ? (scene.variables[0] ?? "x") : `observed ${scene.response}`;
    const up = this.grid ? scene.response : `predicted ${scene.response}`;
    const colours = scene.levels.length ? scene.levels.map((_, k) => this.levelColour(k)) : [prefix ? this.look.third : this.look.main];
    const points = { show: false };
    return {
      prefix,
      data: this.chart(data, [across, up], {
        series: [
          {},
          ...colours.map((stroke) => ({ stroke, width: 2.5, points })),
          ...colours.map((stroke) => ({ stroke: scene.levels.length ? stroke : this.look.other, width: 2, dash: [6, 5], points })),
        ],
        scales: { x: { time: false, range: () => this.across() }, y: { range: () => this.up() } },
        hooks: {
          drawAxes: [(chart) => this.drawPoints(chart, this.arrays[`${prefix}fitted`])],
          draw: [(chart) => this.drawLabels(chart, this.arrays[`${prefix}curve`])],
        },
      }),
      left: this.chart(left, [across, "residual"], {
        series: [{}, { stroke: "transparent" }],
        scales: { x: { time: false, range: () => this.across() }, y: { range: () => this.deep() } },
        hooks: { draw: [(chart) => this.drawResiduals(chart, this.arrays[`${prefix}fitted`])] },
      }),
    };
  }

  private chart(
    place: HTMLElement,
    labels: [string, string],
    rest: Partial<uPlot.Options>,
  ): Framed {
    place.replaceChildren();
    const empty = (rest.series ?? []).slice(1).map(() => [null, null]);
    const data = [[0, 1], ...empty] as uPlot.AlignedData;
    const chart = new uPlot(options(place, this.look, labels, rest), data, place);
    return { chart, place };
  }

  private across(): Extent {
    if (this.grid?.length) return [this.grid[0] as number, this.grid[this.grid.length - 1] as number];
    return extent(this.points?.y ?? []);
  }

  private up(): Extent {
    const points = extent(this.points?.y ?? [], 0.1);
    // A curve that runs away must not press the data flat.
    const reach = points[1] - points[0];
    const [low, high] = extent(this.sides.flatMap(({ prefix }) => {
      const curve = this.arrays[`${prefix}curve`] ?? this.arrays[`${prefix}fitted`];
      return curve ? extent(curve) : points;
    }), 0);
    return this.height.over([
      Math.max(Math.min(low, points[0]), points[0] - reach),
      Math.min(Math.max(high, points[1]), points[1] + reach),
    ]);
  }

  private deep(): Extent {
    const { y } = this.points ?? {};
    if (!y || !this.arrays.fitted) return [-1, 1];
    let most = 0;
    for (const { prefix } of this.sides) {
      const fitted = this.arrays[`${prefix}fitted`] ?? y;
      for (let k = 0; k < y.length; k++) {
        const left = Math.abs((y[k] as number) - (fitted[k] as number));
        if (Number.isFinite(left) && left > most) most = left;
      }
    }
    const high = this.depth.over([0, most * 1.1 || 1])[1];
    return [-high, high];
  }

  private update(): void {
    const { sides, loss, points, arrays, frame, grid } = this;
    if (!loss || !points || !frame) return;
    for (const { data, left, prefix } of sides) {
      if (grid) {
        const none = new Array<null>(grid.length).fill(null);
        const lines = ["curve", "ahead"].flatMap((name) => {
          const whole = arrays[`${prefix}${name}`];
          const count = this.scene?.levels.length || 1;
          return Array.from({ length: count }, (_, k) => whole?.subarray(k * grid.length, (k + 1) * grid.length) ?? none);
        });
        data.chart.setData([grid, ...lines.map((line) => Array.from<number | null>(line))] as uPlot.AlignedData);
      } else {
        // Of several variables the prediction is drawn over what was observed.
        const ends = this.across();
        data.chart.setData([ends, ends, [null, null]] as uPlot.AlignedData);
      }
      left.chart.setData([this.across(), [0, 0]] as uPlot.AlignedData);
    }
    loss.chart.setData(this.losses(frame));
  }

  /** The loss by steps of each descent: over all rows as a line, of single batches as dots. */
  private losses(frame: Frame): uPlot.AlignedData {
    const way = (prefix: string, steps: string, losses: string): Map<number, number> => {
      const values = this.arrays[`${prefix}${losses}`];
      return new Map(Array.from(this.arrays[`${prefix}${steps}`] ?? [], (step, k) => [step, values?.[k] ?? NaN]));
    };
    const lines = new Array<Map<number, number>>();
    const dots = new Array<Map<number, number>>();
    for (const [prefix, batch] of [["", frame.options.batch], ["rival_", frame.rival?.batch ?? null]] as const) {
      const each = way(prefix, "steps", "losses");
      const whole = way(prefix, "seen_steps", "seen_losses");
      // Where it stands has been seen, though no step set out from there yet.
      lines.push(batch === null ? new Map([...whole, ...each]) : whole);
      dots.push(batch === null ? new Map() : each);
    }
    if (frame.loss !== null) lines[0]?.set(frame.step, frame.loss);
    const x = [...new Set([...lines, ...dots].flatMap((one) => [...one.keys()]))].sort((a, b) => a - b);
    const positive = (value: number | undefined): number | null =>
      value !== undefined && value > 0 && Number.isFinite(value) ? value : null;
    return [x, ...[...lines, ...dots].map((one) => x.map((step) => positive(one.get(step))))] as uPlot.AlignedData;
  }

  private updateGround(): void {
    const { ground, land } = this;
    if (!ground) return;
    const ends: Extent = [land?.view[0] ?? 0, land?.view[1] ?? 1];
    ground.chart.setData([ends, [null, null]] as unknown as uPlot.AlignedData);
  }

  private clipped(chart: uPlot, draw: (context: CanvasRenderingContext2D) => void): void {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    draw(ctx);
    ctx.restore();
  }

  /** What draws a point; small ones are squares, which take a tenth of the time. */
  private dot(ctx: CanvasRenderingContext2D, chart: uPlot, radius: number): (x: number, y: number) => void {
    const size = radius * devicePixelRatio;
    return (x, y) => {
      const left = chart.valToPos(x, "x", true);
      const top = chart.valToPos(y, "y", true);
      if (radius < 1.5) return ctx.fillRect(left - size, top - size, 2 * size, 2 * size);
      ctx.beginPath();
      ctx.arc(left, top, size, 0, 2 * Math.PI);
      ctx.fill();
    };
  }

  private levelColour(level: number): string {
    return this.look.levels[level % this.look.levels.length] ?? this.look.main;
  }

  /** The name of its level at each curve, one after another from its end. */
  private drawLabels(chart: uPlot, curve: ArrayLike<number> | undefined): void {
    const { grid, scene } = this;
    if (!grid || !curve || !scene?.levels.length) return;
    this.clipped(chart, (ctx) => {
      ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.textAlign = "right";
      ctx.strokeStyle = getComputedStyle(this.root).backgroundColor;
      ctx.lineWidth = 3 * devicePixelRatio;
      let place = grid.length - 2;
      scene.levels.forEach((name, k) => {
        ctx.fillStyle = this.levelColour(k);
        const left = chart.valToPos(grid[place] as number, "x", true);
        const top = chart.valToPos(curve[k * grid.length + place] as number, "y", true) - 5 * devicePixelRatio;
        ctx.strokeText(name, left, top);
        ctx.fillText(name, left, top);
        const wide = (ctx.measureText(name).width + 12 * devicePixelRatio) / chart.bbox.width;
        place = Math.max(2, place - Math.ceil(wide * grid.length));
      });
    });
  }

  private drawPoints(chart: uPlot, fitted: ArrayLike<number> | undefined): void {
    const { points, look } = this;
    if (!points) return;
    this.clipped(chart, (ctx) => {
      const across = this.grid ? points.x : points.y;
      const up = this.grid ? points.y : (fitted ?? points.y);
      if (this.grid && fitted && points.y.length <= 300) {
        ctx.strokeStyle = look.faint;
        ctx.lineWidth = devicePixelRatio;
        ctx.beginPath();
        for (let k = 0; k < across.length; k++) {
          const x = chart.valToPos(across[k] as number, "x", true);
          ctx.moveTo(x, chart.valToPos(up[k] as number, "y", true));
          ctx.lineTo(x, chart.valToPos(fitted[k] as number, "y", true));
        }
        ctx.stroke();
      }
      if (this.grid) this.drawDensity(ctx, chart);
      if (this.density && this.grid) return;
      ctx.fillStyle = look.point;
      ctx.globalAlpha = points.y.length > 2000 ? 0.35 : 0.9;
      const dot = this.dot(ctx, chart, points.y.length > 2000 ? 1.2 : points.y.length > 300 ? 2 : 3.2);
      for (let k = 0; k < across.length; k++) {
        if (points.level) ctx.fillStyle = this.levelColour(points.level[k] as number);
        dot(across[k] as number, up[k] as number);
      }
    });
  }

  /** How many of all rows there are at each place, on a logarithmic scale. */
  private drawDensity(ctx: CanvasRenderingContext2D, chart: uPlot): void {
    if (!this.density) return;
    const { counts, told } = this.density;
    this.density.picture ??= picture(counts, told.across, this.look.point);
    const [left, right, bottom, top] = told.view;
    const [x, y] = [chart.valToPos(left, "x", true), chart.valToPos(top, "y", true)];
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(this.density.picture, x, y, chart.valToPos(right, "x", true) - x, chart.valToPos(bottom, "y", true) - y);
  }

  private drawResiduals(chart: uPlot, fitted: ArrayLike<number> | undefined): void {
    const { points, look } = this;
    if (!points || !fitted) return;
    this.clipped(chart, (ctx) => {
      ctx.strokeStyle = look.ink;
      ctx.lineWidth = devicePixelRatio;
      const zero = chart.valToPos(0, "y", true);
      ctx.beginPath();
      ctx.moveTo(chart.bbox.left, zero);
      ctx.lineTo(chart.bbox.left + chart.bbox.width, zero);
      ctx.stroke();
      ctx.fillStyle = look.point;
      ctx.globalAlpha = points.y.length > 2000 ? 0.35 : 0.9;
      const dot = this.dot(ctx, chart, points.y.length > 2000 ? 1 : 2.2);
      for (let k = 0; k < points.y.length; k++) {
        if (points.level) ctx.fillStyle = this.levelColour(points.level[k] as number);
        dot(points.x[k] as number, (points.y[k] as number) - (fitted[k] as number));
      }
    });
  }

  private drawGround(chart: uPlot): void {
    const { land, lines, arrays, look, frame } = this;
    if (!land || !frame) return;
    const at = (x: number, y: number): [number, number] => [
      chart.valToPos(x, "x", true),
      chart.valToPos(y, "y", true),
    ];
    const line = (ctx: CanvasRenderingContext2D, x: ArrayLike<number>, y: ArrayLike<number>): void => {
      ctx.beginPath();
      for (let k = 0; k < x.length; k++) {
        const place = at(x[k] as number, y[k] as number);
        if (k) ctx.lineTo(...place);
        else ctx.moveTo(...place);
      }
      ctx.stroke();
    };
    this.clipped(chart, (ctx) => {
      ctx.lineWidth = devicePixelRatio;
      const flat = lines.lines ?? new Float64Array();
      land.starts.forEach((start, k) => {
        const end = land.starts[k + 1] ?? flat.length / 2;
        const depth = (land.of[k] ?? 0) / Math.max(1, land.levels.length - 1);
        ctx.strokeStyle = look.point;
        ctx.globalAlpha = 0.6 - 0.45 * depth;
        ctx.beginPath();
        for (let j = start; j < end; j++) {
          const place = at(flat[2 * j] as number, flat[2 * j + 1] as number);
          if (j > start) ctx.lineTo(...place);
          else ctx.moveTo(...place);
        }
        ctx.stroke();
      });
      ctx.globalAlpha = 1;
      const around = lines.ellipse;
      if (around) {
        ctx.strokeStyle = look.ink;
        ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
        const even = around.filter((_, k) => k % 2 === 0);
        const odd = around.filter((_, k) => k % 2 === 1);
        line(ctx, even, odd);
        ctx.setLineDash([]);
      }
      const way = (x: ArrayLike<number>, y: ArrayLike<number>, colour: string, square = false): void => {
        ctx.strokeStyle = colour;
        ctx.fillStyle = colour;
        ctx.lineWidth = 1.8 * devicePixelRatio;
        line(ctx, x, y);
        for (let k = 0; k < x.length && x.length <= 300; k++) {
          ctx.beginPath();
          const [left, top] = at(x[k] as number, y[k] as number);
          const size = (square ? 3 : 2.2) * devicePixelRatio;
          if (square) ctx.rect(left - size, top - size, 2 * size, 2 * size);
          else ctx.arc(left, top, size, 0, 7);
          ctx.fill();
        }
      };
      if (arrays.rival_path_x && arrays.rival_path_y) {
        const { values } = frame.rival ?? {};
        const [x, y] = [values?.[land.x] ?? NaN, values?.[land.y] ?? NaN];
        way([...arrays.rival_path_x, x], [...arrays.rival_path_y, y], look.third, true);
      }
      const x = frame.values[land.x] ?? NaN;
      const y = frame.values[land.y] ?? NaN;
      way(
        [...(arrays.path_x ?? []), x],
        [...(arrays.path_y ?? []), y],
        look.main,
      );
      if (land.star) this.star(ctx, ...at(...land.star));
      ctx.fillStyle = look.main;
      ctx.strokeStyle = look.ink;
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.beginPath();
      ctx.arc(...at(x, y), 6 * devicePixelRatio, 0, 7);
      ctx.fill();
      ctx.stroke();
    });
  }

  private star(ctx: CanvasRenderingContext2D, x: number, y: number): void {
    const size = 9 * devicePixelRatio;
    ctx.fillStyle = this.look.ink;
    ctx.beginPath();
    for (let k = 0; k < 10; k++) {
      const reach = k % 2 ? size / 2.4 : size;
      const angle = (Math.PI * k) / 5 - Math.PI / 2;
      ctx.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
    }
    ctx.closePath();
    ctx.fill();
  }

  /** The curve can be dragged, which moves the parameters that it depends on there. */
  private listenToCurve(): void {
    const place = this.places.data;
    const handle = make("div", { class: "handle", hidden: true });
    let level: number | null = null;
    let begins = false;
    const under = (event: PointerEvent): { x: number; y: number; level: number; top: number; left: number } | null => {
      const chart = this.sides[0]?.data.chart;
      const { grid, arrays } = this;
      if (!chart || !grid || !arrays.curve || !this.onPull) return null;
      const box = chart.over.getBoundingClientRect();
      const left = Math.min(Math.max(event.clientX - box.left, 0), box.width);
      const [x, y] = [chart.posToVal(left, "x"), chart.posToVal(event.clientY - box.top, "y")];
      const at = Math.round(((x - (grid[0] as number)) / ((grid[grid.length - 1] as number) - (grid[0] as number))) * (grid.length - 1));
      const tops = Array.from({ length: arrays.curve.length / grid.length }, (_, k) => chart.valToPos(arrays.curve?.[k * grid.length + at] as number, "y"));
      const far = tops.map((top) => Math.abs(top - (event.clientY - box.top)));
      const near = level ?? far.indexOf(Math.min(...far));
      if (level === null && !((far[near] ?? Infinity) < REACH)) return null;
      return { x, y, level: near, left, top: level === null ? (tops[near] ?? 0) : event.clientY - box.top };
    };
    const show = (event: PointerEvent): void => {
      const found = under(event);
      handle.hidden = !found;
      place.style.cursor = found ? (level === null ? "grab" : "grabbing") : "";
      if (!found) return;
      const over = this.sides[0]?.data.chart.over;
      if (over && handle.parentElement !== over) over.append(handle);
      handle.style.translate = `${found.left}px ${found.top}px`;
    };
    place.addEventListener("pointerdown", (event) => {
      const found = under(event);
      if (!found || event.button) return;
      level = found.level;
      begins = true;
      place.setPointerCapture(event.pointerId);
      show(event);
    });
    place.addEventListener("pointermove", (event) => {
      const found = level === null ? null : under(event);
      if (found) {
        const { x, y } = found;
        this.onPull?.({ x, y, level: found.level, ...(begins ? { begins } : {}) });
        begins = false;
      }
      show(event);
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"] as const) {
      place.addEventListener(end, (event) => {
        if (end !== "pointerleave") level = null;
        if (level === null && end === "pointerleave") handle.hidden = true;
        else show(event);
      });
    }
    // A finger on the curve drags it, and elsewhere scrolls.
    place.addEventListener("touchmove", (event) => level !== null && event.preventDefault(), { passive: false });
  }

  /** The point on the contours can be dragged, which moves both parameters. */
  private listenToGround(): void {
    const place = this.places.ground;
    let held = false;
    const move = (event: PointerEvent): void => {
      const { ground, land } = this;
      if (!held || !ground || !land) return;
      const box = ground.chart.over.getBoundingClientRect();
      const x = ground.chart.posToVal(event.clientX - box.left, "x");
      const y = ground.chart.posToVal(event.clientY - box.top, "y");
      this.onDrag?.({ [land.x]: x, [land.y]: y });
    };
    place.addEventListener("pointerdown", (event) => {
      const over = this.ground?.chart.over;
      if (!over || !over.contains(event.target as Node)) return;
      held = true;
      place.setPointerCapture(event.pointerId);
      move(event);
    });
    place.addEventListener("pointermove", move);
    place.addEventListener("pointerup", () => (held = false));
    place.addEventListener("pointercancel", () => (held = false));
  }
}
