// Two objectives: mean rewards with their intervals, and a handle along the front of a method.
(() => {
  "use strict";
  const { svg, fit, makeHandle, path, reach, ticks, rounded, withWeight, methodOf } = globalThis.paretoFront;
  const SNAP = 8; // pixels around a measured point in which the handle is at it
  const [TOP, RIGHT, BOTTOM] = [30, 16, 48];

  // Those that no other beats, from right to left.
  const unbeaten = (points) => {
    let best = -Infinity;
    return [...points].sort((a, b) => b[0] - a[0] || b[1] - a[1]).filter(([, y]) => {
      const isBest = y > best;
      best = Math.max(best, y);
      return isBest;
    });
  };

  // Corners of what mixtures attain, from left to right.
  const upperRight = (points) => {
    const chain = [];
    for (const point of unbeaten(points)) {
      const turns = ([a, b], c) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
      while (chain.length > 1 && turns(chain.slice(-2), point) <= 0) chain.pop();
      chain.push(point);
    }
    return chain.reverse();
  };

  const line = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

  class Plot {
    constructor(changed, tips) {
      this.changed = changed;
      this.tips = tips;
      this.handle = makeHandle((x, y) => this.drag(x, y), (key, isLarge) => this.press(key, isLarge));
      this.still = svg("g", {});
      this.guides = svg("path", { class: "pf-guide" });
      this.node = svg("svg", { class: "pf-plot", role: "group" }, this.still, this.guides, this.handle.node);
    }

    draw(view, width) {
      const { result, shown } = view;
      this.view = view;
      const height = Math.round(Math.min(110 + 0.55 * width, 440));
      this.node.setAttribute("viewBox", `0 0 ${width} ${height}`);
      this.node.setAttribute("aria-label", `Mean rewards of ${shown.map((m) => m.name).join(", ")}`);
      this.still.replaceChildren();
      const [xs, ys] = [0, 1].map((i) => reach(result, i, shown));
      const up = ticks(...ys, Math.floor((height - TOP - BOTTOM) / 46));
      const left = Math.min(0.3 * width, 14 + 6.6 * Math.max(0, ...up.map((tick) => tick.text.length)));
      this.left = left;
      this.floor = height - BOTTOM;
      this.x = (value) => left + ((value - xs[0]) / (xs[1] - xs[0])) * (width - left - RIGHT);
      this.y = (value) => this.floor - ((value - ys[0]) / (ys[1] - ys[0])) * (this.floor - TOP);
      const longest = Math.max(...ticks(...xs, 6).map((tick) => tick.text.length));
      const across = ticks(...xs, Math.max(2, Math.floor((width - left - RIGHT) / (22 + 7 * longest))));
      this.known(result, xs, ys);
      this.axes(result, across, up, width);
      for (const method of shown) this.method(method, method.name === view.method);
      this.reference(result);
      const method = methodOf(result, view.method);
      this.route = method ? path(method).map((p) => ({ weight: p.tradeoff[0], at: this.at(p) })) : [];
      this.handle.node.style.setProperty("--pf-own", `var(${view.looks.get(view.method)?.variable ?? "--ink"})`);
      this.put(view.tradeoff);
    }

    at(point) {
      return [this.x(point.means[0].value), this.y(point.means[1].value)];
    }

    axes(result, across, up, width) {
      const right = width - RIGHT;
      for (const { value, text } of across) {
        const x = this.x(value);
        this.still.append(
          svg("line", { class: "pf-grid", x1: x, x2: x, y1: TOP, y2: this.floor }),
          svg("text", { class: "pf-tick", x, y: this.floor + 17, "text-anchor": "middle" }, text),
        );
      }
      for (const { value, text } of up) {
        const y = this.y(value);
        this.still.append(
          svg("line", { class: "pf-grid", x1: this.left, x2: right, y1: y, y2: y }),
          svg("text", { class: "pf-tick", x: this.left - 7, y: y + 3.8, "text-anchor": "end" }, text),
        );
      }
      this.still.append(svg("path", { class: "pf-axis", d: `M${this.left} ${TOP}V${this.floor}H${right}` }));
      const title = (text, attributes) => {
        const node = svg("text", { class: "pf-title", ...attributes }, text);
        this.still.append(node);
        fit(node, width - 24);
      };
      title(`↑ ${result.objectives[1]}, mean reward`, { x: 4, y: 15 });
      title(`${result.objectives[0]}, mean reward →`, { x: right, y: this.floor + 39, "text-anchor": "end" });
    }

    known(result, xs, ys) {
      if (!result.known) return;
      const edge = upperRight(result.known.hull);
      if (edge.length) {
        const last = edge[edge.length - 1];
        const corners = [[last[0], ys[0]], [xs[0], ys[0]], [xs[0], edge[0][1]]];
        const on = (rows) => rows.map(([x, y]) => [this.x(x), this.y(y)]);
        this.still.append(
          svg("path", { class: "pf-area", d: `${line(on([...edge, ...corners]))}Z` }),
          svg("path", { class: "pf-edge", d: line(on(edge)) }),
        );
      }
      for (const row of unbeaten(result.known.replies)) {
        this.still.append(svg("circle", { class: "pf-single", cx: this.x(row[0]), cy: this.y(row[1]), r: 4 }));
      }
    }

    reference(result) {
      const point = result.reference?.points[0];
      if (!point) return;
      const [x, y] = this.at(point);
      const node = svg("path", { class: "pf-reference", d: "M-4.5-4.5L4.5 4.5M-4.5 4.5L4.5-4.5", transform: `translate(${x} ${y})` });
      this.still.append(this.tips.on(node, "reference policy", point, false));
    }

    method(method, isOwn) {
      const look = this.view.looks.get(method.name);
      const group = svg("g", { class: isOwn ? "pf-own" : "pf-other" });
      group.style.setProperty("--pf-color", `var(${look.variable})`);
      const best = method.points.filter((p) => !p.dominated).map((p) => this.at(p)).sort((a, b) => a[0] - b[0]);
      if (best.length > 1) group.append(svg("path", { class: "pf-line", d: line(best) }));
      for (const point of method.points) {
        const [x, y] = this.at(point);
        const [a, b] = point.means;
        group.append(svg("path", {
          class: "pf-interval",
          d: `M${this.x(a.low)} ${y}H${this.x(a.high)}M${x} ${this.y(b.low)}V${this.y(b.high)}`,
        }));
      }
      for (const point of method.points) {
        const [x, y] = this.at(point);
        const node = svg(
          "g", { class: "pf-point", transform: `translate(${x} ${y})` },
          svg("circle", { class: "pf-hit", r: 11 }),
          svg("path", { d: look.path, class: point.dominated ? "pf-hollow" : "pf-full" }),
        );
        if (isOwn) node.addEventListener("click", () => this.changed(rounded(point.tradeoff)));
        group.append(this.tips.on(node, method.name, point));
      }
      this.still.append(group);
    }

    put(tradeoff) {
      this.view.tradeoff = tradeoff;
      const { result, method } = this.view;
      const found = this.view.place(tradeoff);
      const isShown = found.kind !== "none";
      this.handle.node.toggleAttribute("hidden", !isShown);
      this.guides.toggleAttribute("hidden", !isShown);
      if (!isShown) return;
      const [x, y] = this.at(found);
      this.handle.put(x, y);
      this.guides.setAttribute("d", `M${this.left} ${y}H${x}V${this.floor}`);
      this.handle.say(
        `Trade-off on the front of ${method}. Right: more ${result.objectives[0]}; up: more ${result.objectives[1]}`,
        100 * tradeoff[0], this.view.words(tradeoff, found),
      );
    }

    drag(x, y) {
      if (this.route.length < 2) return;
      let best = { gap: Infinity };
      for (let i = 1; i < this.route.length; i += 1) {
        const [a, b] = [this.route[i - 1], this.route[i]];
        const along = [b.at[0] - a.at[0], b.at[1] - a.at[1]];
        const length = along[0] ** 2 + along[1] ** 2;
        const raw = length ? ((x - a.at[0]) * along[0] + (y - a.at[1]) * along[1]) / length : 0;
        const share = Math.min(1, Math.max(0, raw));
        const at = [a.at[0] + share * along[0], a.at[1] + share * along[1]];
        const gap = Math.hypot(x - at[0], y - at[1]);
        if (gap < best.gap) best = { gap, at, weight: a.weight + share * (b.weight - a.weight) };
      }
      const far = (stop) => Math.hypot(stop.at[0] - best.at[0], stop.at[1] - best.at[1]);
      const near = this.route.reduce((one, other) => (far(other) < far(one) ? other : one));
      const weight = far(near) < SNAP ? near.weight : best.weight;
      this.changed(rounded([weight, 1 - weight]));
    }

    press(key, isLarge) {
      const { tradeoff } = this.view;
      const step = isLarge || key.startsWith("Page") ? 0.1 : 0.01;
      if (key === "Home" || key === "End") this.changed(key === "End" ? [1, 0] : [0, 1]);
      // As the handle moves on the front: right and down are more of the objective across.
      else if (["ArrowRight", "ArrowDown", "PageDown"].includes(key)) this.changed(withWeight(tradeoff, 0, tradeoff[0] + step));
      else this.changed(withWeight(tradeoff, 0, tradeoff[0] - step));
    }
  }

  Object.assign(globalThis.paretoFront, { Plot });
})();
