// The two hosts: on a page the view begins by itself; a notebook asks for it.

import { readAddress } from "./address";
import { fromWidget, overSocket, type WidgetModel } from "./channels";
import { show } from "./view";

const place = document.getElementById("sgdfit-page");
if (place) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const channel = overSocket(`${scheme}://${location.host}/ws`, () => ({
    type: "hello",
    state: readAddress(),
  }));
  show(channel, place, { address: true });
}

/** What anywidget asks of a module. */
export default {
  render({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
    return show(fromWidget(model), el, { address: false });
  },
};
