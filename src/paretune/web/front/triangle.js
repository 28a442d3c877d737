// Three objectives: the weights as a triangle, with what was measured at each of them.
(() => {
  "use strict";
  const { svg, fit, makeHandle, rounded, withWeight, isSame, even, corner, methodOf } = globalThis.paretoFront;
  const SNAP = 9;

  class Triangle {
    constructor(changed, tips) {
      this.changed = changed;
      this.tips = tips;
      this.handle = makeHandle((x, y) => this.drag(x, y), (key, isLarge) => this.press(key, isLarge));
      this.still = svg("g", {});
      this.node = svg("svg", { class: "pf-triangle", role: "group" }, this.still, this.handle.node);
    }

    draw(view, width) {
      this.view = view;
      const method = methodOf(view.result, view.method);
      const steps = Math.max(1, Math.sqrt(2 * (method?.points.length ?? 1)) - 1.5);
      const size = Math.min(24, Math.max(6, (0.5 * Math.min(width, 460)) / steps));
      const side = Math.min(width - 1.8 * size - 6, 430);
      const [left, top, high] = [(width - side) / 2, 28 + size, side * Math.sqrt(0.75)];
      this.corners = [[width / 2, top], [left, top + high], [left + side, top + high]];
      this.node.setAttribute("viewBox", `0 0 ${width} ${Math.round(top + high + 0.5 * size + 32)}`);
      this.node.setAttribute("aria-label", `Weights, and mean rewards of ${view.method}`);
      this.still.replaceChildren();
      this.frame(width, 0.5 * size + 20);
      if (method) this.points(method, size);
      this.handle.node.style.setProperty("--pf-own", `var(${view.looks.get(view.method)?.variable ?? "--ink"})`);
      this.put(view.tradeoff);
    }

    at(weights) {
      return [0, 1].map((axis) => weights.reduce((sum, w, i) => sum + w * this.corners[i][axis], 0));
    }

    frame(width, foot) {
      const names = this.view.result.objectives;
      const d = (rows) => rows.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
      this.still.append(svg("path", { class: "pf-area", d: `${d(this.corners)}Z` }));
      for (const share of [0.25, 0.5, 0.75]) {
        for (let i = 0; i < 3; i += 1) {
          const end = (k) => this.at([0, 1, 2].map((n) => (n === i ? share : n === k ? 1 - share : 0)));
          this.still.append(svg("path", { class: "pf-level", d: d([end((i + 1) % 3), end((i + 2) % 3)]) }));
        }
      }
      this.still.append(svg("path", { class: "pf-edge", d: `${d(this.corners)}Z` }));
      const label = (i, attributes, room) => {
        const node = svg("text", { class: "pf-title", ...attributes }, names[i]);
        this.still.append(node);
        fit(node, room);
      };
      const below = this.corners[1][1] + foot;
      label(0, { x: width / 2, y: 18, "text-anchor": "middle" }, width - 24);
      const edge = Math.max(4, this.corners[1][0] - 10);
      label(1, { x: edge, y: below }, width / 2 - edge - 8);
      label(2, { x: width - edge, y: below, "text-anchor": "end" }, width / 2 - edge - 8);
    }

    // A small triangle a point: the farther it reaches to a corner, the more of that reward.
    points(method, size) {
      const { result, looks, shown } = this.view;
      const most = result.low.map((low, i) =>
        Math.max(low, ...shown.flatMap((m) => m.points.map((p) => p.means[i].value))));
      const group = svg("g", { class: "pf-own" });
      group.style.setProperty("--pf-color", `var(${looks.get(method.name).variable})`);
      const shape = (reached) => reached.map((share, i) => {
        const angle = [-Math.PI / 2, (5 * Math.PI) / 6, Math.PI / 6][i];
        return `${i ? "L" : "M"}${(share * size * Math.cos(angle)).toFixed(1)} ${(share * size * Math.sin(angle)).toFixed(1)}`;
      }).join("") + "Z";
      for (const point of method.points) {
        const [x, y] = this.at(point.tradeoff);
        const reached = point.means.map((mean, i) => {
          const span = most[i] - result.low[i] || 1;
          return 0.12 + 0.88 * Math.min(1, Math.max(0, (mean.value - result.low[i]) / span));
        });
        const node = svg(
          "g", { class: "pf-point", transform: `translate(${x} ${y})` },
          svg("circle", { class: "pf-hit", r: Math.max(10, 0.6 * size) }),
          svg("path", { class: "pf-most", d: shape([1, 1, 1]) }),
          svg("path", { d: shape(reached), class: point.dominated ? "pf-hollow" : "pf-full" }),
        );
        node.addEventListener("click", () => this.changed(rounded(point.tradeoff)));
        group.append(this.tips.on(node, method.name, point));
      }
      this.still.append(group);
    }

    put(tradeoff) {
      this.view.tradeoff = tradeoff;
      const names = this.view.result.objectives;
      this.handle.put(...this.at(tradeoff));
      const found = this.view.place(tradeoff);
      this.handle.say(
        `Trade-off. Up: more ${names[0]}; left: more ${names[1]}; right: more ${names[2]}`,
        100 * tradeoff[0], this.view.words(tradeoff, found),
      );
    }

    drag(x, y) {
      const [a, b, c] = this.corners;
      const whole = (b[1] - c[1]) * (a[0] - c[0]) + (c[0] - b[0]) * (a[1] - c[1]);
      const first = ((b[1] - c[1]) * (x - c[0]) + (c[0] - b[0]) * (y - c[1])) / whole;
      const second = ((c[1] - a[1]) * (x - c[0]) + (a[0] - c[0]) * (y - c[1])) / whole;
      const inside = [first, second, 1 - first - second].map((w) => Math.max(0, w));
      const total = inside.reduce((sum, w) => sum + w, 0);
      const weights = inside.map((w) => w / total);
      const points = methodOf(this.view.result, this.view.method)?.points ?? [];
      const at = this.at(weights);
      const near = points.find((p) => {
        const [px, py] = this.at(p.tradeoff);
        return Math.hypot(px - at[0], py - at[1]) < SNAP;
      });
      this.changed(rounded(near ? near.tradeoff : weights));
    }

    press(key, isLarge) {
      const { tradeoff } = this.view;
      const step = isLarge || key.startsWith("Page") ? 0.1 : 0.01;
      const shift = (from, to) => {
        const weights = [...tradeoff];
        const moved = Math.min(step, weights[from]);
        weights[from] -= moved;
        weights[to] += moved;
        this.changed(rounded(weights));
      };
      if (key === "Home") this.changed(even(3));
      else if (key === "End") this.changed(corner(3, tradeoff.indexOf(Math.max(...tradeoff))));
      else if (key === "ArrowLeft") shift(2, 1);
      else if (key === "ArrowRight") shift(1, 2);
      else {
        const change = ["ArrowUp", "PageUp"].includes(key) ? step : -step;
        const wanted = withWeight(tradeoff, 0, tradeoff[0] + change);
        if (!isSame(wanted, tradeoff)) this.changed(wanted);
      }
    }
  }

  Object.assign(globalThis.paretoFront, { Triangle });
})();
