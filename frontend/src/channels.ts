// The two hosts: a page, over a WebSocket, and a notebook, over its widget's comm.

import { type Arrays, type Asked, type Channel, type Listener, named, type Told } from "./messages";

/** What anywidget hands to a view. */
export interface WidgetModel {
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  on(event: string, listener: (message: unknown, buffers: DataView[]) => void): void;
  off(event: string, listener?: (message: unknown, buffers: DataView[]) => void): void;
}

export function fromWidget(model: WidgetModel): Channel {
  const heard: ((message: unknown, buffers: DataView[]) => void)[] = [];
  return {
    send: (asked, buffer) => model.send(asked, undefined, buffer ? [buffer] : []),
    listen(listener) {
      const hear = (message: unknown, buffers: DataView[]): void => {
        const told = message as Told & { arrays?: [string, string, number][] };
        listener(told, named(told, buffers));
      };
      heard.push(hear);
      model.on("msg:custom", hear);
    },
    watch: (watcher) => watcher("open"),
    close: () => heard.forEach((hear) => model.off("msg:custom", hear)),
  };
}

const PATIENCE = [250, 500, 1000, 2000, 4000];

/** A message with arrays: the length of its text, the text, then each array at a multiple of 8. */
function unpacked(frame: ArrayBuffer): [Told, Arrays] {
  const length = new DataView(frame).getUint32(0, true);
  const text = new TextDecoder().decode(new Uint8Array(frame, 4, length));
  const told = JSON.parse(text) as Told & { arrays?: [string, string, number][] };
  const buffers: DataView[] = [];
  let at = Math.ceil((4 + length) / 8) * 8;
  for (const [, kind, count] of told.arrays ?? []) {
    const bytes = count * (kind === "float32" ? 4 : 8);
    buffers.push(new DataView(frame, at, bytes));
    at += Math.ceil(bytes / 8) * 8;
  }
  return [told, named(told, buffers)];
}

function packed(asked: Asked, buffer: ArrayBuffer): ArrayBuffer {
  const text = new TextEncoder().encode(JSON.stringify(asked));
  const begin = Math.ceil((4 + text.length) / 8) * 8;
  const whole = new Uint8Array(begin + buffer.byteLength);
  new DataView(whole.buffer).setUint32(0, text.length, true);
  whole.set(text, 4);
  whole.set(new Uint8Array(buffer), begin);
  return whole.buffer;
}

/** A WebSocket that is opened again where it breaks; what a view says first is said again. */
export function overSocket(address: string, greeting: () => Asked): Channel {
  const listeners: Listener[] = [];
  const watchers: ((state: "open" | "silent" | "refused") => void)[] = [];
  let socket: WebSocket | null = null;
  let tries = 0;
  let closed = false;

  const open = (): void => {
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      tries = 0;
      watchers.forEach((watcher) => watcher("open"));
      socket?.send(JSON.stringify(greeting()));
    };
    socket.onmessage = ({ data }) => {
      const [told, arrays] =
        typeof data === "string" ? [JSON.parse(data) as Told, {}] : unpacked(data as ArrayBuffer);
      listeners.forEach((listener) => listener(told, arrays));
    };
    socket.onclose = async () => {
      if (closed) return;
      // A socket is not told why it is refused.
      const answer = await fetch("style.css").catch(() => null);
      watchers.forEach((watcher) => watcher(answer?.status === 403 ? "refused" : "silent"));
      window.setTimeout(open, PATIENCE[Math.min(tries++, PATIENCE.length - 1)]);
    };
  };
  open();
  return {
    send(asked, buffer) {
      if (socket?.readyState !== WebSocket.OPEN) return;
      socket.send(buffer ? packed(asked, buffer) : JSON.stringify(asked));
    },
    listen: (listener) => listeners.push(listener),
    watch: (watcher) => watchers.push(watcher),
    close() {
      closed = true;
      socket?.close();
    },
  };
}
