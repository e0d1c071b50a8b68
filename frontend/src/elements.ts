// Elements of a page, made and marked up in one call; and numbers as people read them.

type Child = Node | string;
type Attributes = Record<string, string | number | boolean | ((event: Event) => void)>;

/** Make an element; attributes that are functions listen to the event of their name. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name === "style") made.style.cssText = String(value); // as the page's policy asks
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

const sheets = new WeakMap<HTMLElement, CSSStyleSheet>();

/** Put markup of Python's into a place; the page's policy lets scripts alone set its styles. */
export function fill(place: HTMLElement, markup: string): void {
  let rules = "";
  place.innerHTML = markup
    .replace(/<style>(.*?)<\/style>/gs, (_, text: string) => ((rules += text), ""))
    .replaceAll(" style=\"", " data-style=\"");
  for (const one of place.querySelectorAll<HTMLElement>("[data-style]")) {
    one.style.cssText = one.dataset.style ?? "";
  }
  if (!rules) return;
  const sheet = sheets.get(place) ?? new CSSStyleSheet();
  sheet.replaceSync(rules);
  const root = place.getRootNode() as Document | ShadowRoot;
  if (!sheets.has(place)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  sheets.set(place, sheet);
}

const MINUS = "\u2212";

/** A number to some digits, as short as it can be. */
export function short(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 1e-3 || size >= 1e6)
      ? value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e")
      : String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", MINUS);
}

/** A number in a box, which takes no typographic minus. */
export function plain(value: number): string {
  const size = Math.abs(value);
  const shown = Number(value.toPrecision(6));
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? shown.toExponential().replace("e+", "e") : String(shown);
}
