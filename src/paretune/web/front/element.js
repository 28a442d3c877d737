// <pareto-front>: a measured front, and the place on it that a person chooses.
//
// Properties: `result` (JSON of a run's result), `method` (whose points the handle follows),
// `methods` (names that are shown; null = all), `tradeoff` (weights that sum to 1), `looks`
// (name -> {variable, path}; null = in the order of the result), `stepped` (names of methods that
// answer with measured points only; null = none).
// Event: `tradeoff`, with `detail.tradeoff`, when the person moves it.
(() => {
  "use strict";
  const shared = globalThis.paretoFront;
  const { html, svg, mark, interval, inWords, looksOf, methodOf, place, placeInWords, even, Plot, Triangle, Sliders } = shared;
  const NAMES = ["result", "method", "methods", "tradeoff", "looks", "stepped"];

  class Tips {
    constructor() {
      this.node = html("div", { class: "pf-tip", role: "tooltip", hidden: true });
    }

    on(node, name, point, isAsked = true) {
      const show = () => this.show(node, name, point, isAsked);
      // A finger leaves with the touch: what it showed stays until the next one.
      const hide = (event) => { this.node.hidden = event.pointerType !== "touch"; };
      for (const event of ["pointerenter", "pointerdown"]) node.addEventListener(event, show);
      node.addEventListener("pointerleave", hide);
      return node;
    }

    show(node, name, point, isAsked) {
      this.node.replaceChildren(
        html("b", {}, name),
        isAsked ? html("span", { class: "pf-asked" }, inWords(this.names, point.tradeoff)) : null,
        html("span", { class: "pf-rewards" }, this.names.map((objective, i) => [
          html("span", {}, objective), html("span", {}, interval(point.means[i])),
        ])),
      );
      if (isAsked && point.dominated) this.node.append(html("span", { class: "pf-asked" }, "beaten by another point of this method"));
      this.node.hidden = false;
      const around = this.node.parentNode.getBoundingClientRect();
      const at = node.getBoundingClientRect();
      const [x, y] = [at.left + at.width / 2 - around.left, at.top - around.top];
      const most = Math.max(0, around.width - this.node.offsetWidth);
      this.node.style.left = `${Math.min(most, Math.max(0, x - this.node.offsetWidth / 2))}px`;
      const above = y - this.node.offsetHeight - 6;
      this.node.style.top = `${above >= 0 ? above : at.bottom - around.top + 6}px`;
    }
  }

  class ParetoFront extends HTMLElement {
    #given = { result: null, method: null, methods: null, tradeoff: null, looks: null, stepped: null };
    #is_waiting = false;
    #parts = null;
    #width = 0;
    #watcher = new ResizeObserver(() => requestAnimationFrame(() => this.#resize()));

    connectedCallback() {
      // What was set before this script ran lies on the element itself.
      for (const name of NAMES) {
        if (Object.hasOwn(this, name)) {
          const value = this[name];
          delete this[name];
          this[name] = value;
        }
      }
      this.#watcher.observe(this);
      this.#later();
    }

    disconnectedCallback() {
      this.#watcher.disconnect();
    }

    get result() { return this.#given.result; }
    set result(value) { this.#set("result", value); }
    get methods() { return this.#given.methods; }
    set methods(value) { this.#set("methods", value); }
    get looks() { return this.#given.looks; }
    set looks(value) { this.#set("looks", value); }
    get stepped() { return this.#given.stepped; }
    set stepped(value) { this.#set("stepped", value); }

    get method() {
      const { result, method } = this.#given;
      if (!result) return method;
      const known = methodOf(result, method) ?? result.methods.find((m) => m.points.length) ?? result.methods[0];
      return known?.name ?? null;
    }
    set method(value) { this.#set("method", value); }

    get tradeoff() {
      const { result, tradeoff } = this.#given;
      const n = result?.objectives.length;
      const isOne = Array.isArray(tradeoff) && (!n || tradeoff.length === n) && tradeoff.every((w) => w >= 0)
        && Math.abs(tradeoff.reduce((sum, w) => sum + w, 0) - 1) < 1e-3;
      return isOne ? tradeoff : n ? even(n) : null;
    }
    set tradeoff(value) {
      this.#given.tradeoff = value;
      // Nothing but the handle moves: what is drawn stays, and so does what is held.
      if (this.#parts && !this.#is_waiting) this.#put();
    }

    #set(name, value) {
      this.#given[name] = value;
      this.#later();
    }

    #later() {
      if (this.#is_waiting) return;
      this.#is_waiting = true;
      queueMicrotask(() => {
        this.#is_waiting = false;
        if (this.isConnected && this.#given.result) this.#draw();
      });
    }

    #resize() {
      const width = this.#parts?.drawing.clientWidth;
      if (width && width !== this.#width) this.#draw();
    }

    #view() {
      const { result, methods, looks, stepped } = this.#given;
      const method = this.method;
      const isShown = (m) => m.points.length > 0 && (!methods || methods.includes(m.name) || m.name === method);
      const words = (tradeoff, found) => {
        const names = result.objectives;
        const rewards = found.means ? names.map((name, i) => `${name} ${shared.number(found.means[i].value)}`) : [];
        const measured = rewards.length ? `; mean reward ${rewards.join(", ")}` : "";
        return `${inWords(names, tradeoff)}${measured}; ${placeInWords(result, found)}`;
      };
      return {
        result, method, words, tradeoff: this.tradeoff, shown: result.methods.filter(isShown),
        place: (tradeoff) => place(result, method, tradeoff, stepped?.includes(method)),
        looks: looks ? new Map(Object.entries(looks)) : looksOf(result),
      };
    }

    // Parts are made once for a set of objectives: drawn anew, a handle would lose focus and hand.
    #build(names) {
      const kind = JSON.stringify(names);
      if (this.#parts?.kind === kind) return this.#parts;
      const changed = (tradeoff) => {
        this.tradeoff = tradeoff;
        this.dispatchEvent(new CustomEvent("tradeoff", { bubbles: true, detail: { tradeoff: [...tradeoff] } }));
      };
      const tips = new Tips();
      tips.names = names;
      const Drawing = { 2: Plot, 3: Triangle }[names.length];
      const picture = Drawing ? new Drawing(changed, tips) : null;
      const drawing = html("div", { class: "pf-drawing" }, picture?.node, tips.node);
      drawing.addEventListener("pointerdown", () => { tips.node.hidden = true; }, { capture: true });
      const legend = html("ul", { class: "pf-legend" });
      const where = html("p", { class: names.length > 2 ? "pf-place pf-many" : "pf-place" });
      const sliders = new Sliders(names, changed);
      this.replaceChildren(drawing, legend, where, sliders.node);
      this.#parts = { kind, tips, picture, drawing, legend, where, sliders };
      return this.#parts;
    }

    #draw() {
      const view = this.#view();
      const parts = this.#build(view.result.objectives);
      this.#width = parts.drawing.clientWidth;
      parts.tips.node.hidden = true;
      if (parts.picture && this.#width > 0) parts.picture.draw(view, this.#width);
      parts.legend.replaceChildren(...this.#legend(view));
      this.#put(view);
    }

    #put(view = this.#view()) {
      const { picture, sliders, where } = this.#parts;
      if (picture && this.#width > 0) picture.put(view.tradeoff);
      sliders.put(view.tradeoff);
      sliders.measure(view);
      const found = view.place(view.tradeoff);
      where.replaceChildren(html("b", {}, view.method ?? "no method"), ` · ${placeInWords(view.result, found)}`);
    }

    #legend({ result, shown, looks, method }) {
      const entry = (sign, text) => html("li", {}, sign, html("span", {}, text));
      const drawn = (...nodes) => svg("svg", { class: "pf-mark", viewBox: "-5.5 -5.5 11 11", "aria-hidden": "true" }, ...nodes);
      const isPlot = result.objectives.length === 2;
      const listed = isPlot ? shown : shown.filter((m) => m.name === method);
      const entries = listed.map((m) => entry(mark(looks.get(m.name)), m.name));
      const hollow = listed.find((m) => m.points.some((p) => p.dominated));
      if (hollow && result.objectives.length < 4) {
        const shape = isPlot ? looks.get(hollow.name).path : "M0-4.6L4.4 3.6H-4.4z";
        entries.push(entry(drawn(svg("path", { class: "pf-hollow pf-any", d: shape })), "hollow: beaten by another of its method"));
      }
      if (result.objectives.length === 3) {
        entries.push(entry(drawn(svg("path", { class: "pf-most", d: "M0-5L4.8 4H-4.8z" })), "reaches to a corner: more of that reward"));
      }
      if (isPlot && result.reference?.points.length) {
        entries.push(entry(drawn(svg("path", { class: "pf-reference", d: "M-3.6-3.6L3.6 3.6M-3.6 3.6L3.6-3.6" })), "reference policy"));
      }
      if (isPlot && result.known) {
        entries.push(entry(drawn(svg("path", { class: "pf-area", d: "M-5-4H5V4H-5z" }), svg("path", { class: "pf-edge", d: "M-5-4H5" })), "attainable on average"));
        if (result.known.replies.length) entries.push(entry(drawn(svg("circle", { class: "pf-single", r: 3.6 })), "best single replies"));
      }
      return entries;
    }
  }

  customElements.define("pareto-front", ParetoFront);
})();
