// A slider an objective, with what was measured of it: for any number of objectives.
(() => {
  "use strict";
  const { html, svg, number, percent, withWeight, reach, methodOf } = globalThis.paretoFront;
  const [WIDE, HIGH] = [200, 16];

  // Names and weights only, for places that show no result.
  class Sliders {
    constructor(names, changed) {
      this.changed = changed;
      this.rows = names.map((name, i) => this.row(name, i));
      this.node = html("div", { class: "pf-sliders", role: "group", "aria-label": "Weights" }, this.rows.map((row) => row.node));
    }

    row(name, i) {
      const input = html("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": `Weight of ${name}` });
      const weight = html("output", { class: "pf-weight" });
      const measured = html("div", { class: "pf-measured" });
      input.addEventListener("input", () => this.changed(withWeight(this.tradeoff, i, input.valueAsNumber / 100)));
      const label = html("span", { class: "pf-name", title: name }, name);
      return { input, weight, measured, node: html("div", { class: "pf-row" }, label, input, weight, measured) };
    }

    put(tradeoff) {
      this.tradeoff = tradeoff;
      this.rows.forEach(({ input, weight }, i) => {
        // What is written into a slider that is held would move it under the hand.
        if (Math.round(100 * tradeoff[i]) !== input.valueAsNumber) input.value = 100 * tradeoff[i];
        input.style.setProperty("--pf-share", `${100 * tradeoff[i]}%`);
        input.setAttribute("aria-valuetext", percent(tradeoff[i]));
        weight.textContent = percent(tradeoff[i]);
      });
    }

    // Under each slider: the mean reward here, on a scale with everything measured.
    measure(view) {
      const { result, shown, looks } = view;
      const found = view.place(this.tradeoff);
      const own = methodOf(result, view.method);
      const color = `var(${looks.get(view.method)?.variable ?? "--ink"})`;
      this.rows.forEach(({ measured }, i) => {
        measured.replaceChildren();
        measured.style.setProperty("--pf-color", color);
        if (found.kind === "none") return;
        const mean = found.means[i];
        if (result.objectives.length !== 2) measured.append(this.scale(result, shown, own, mean, i));
        measured.append(
          html("span", { class: "pf-mean" }, html("span", {}, "mean reward "), html("b", {}, number(mean.value))),
          html("span", { class: "pf-bounds" }, `[${number(mean.low)}, ${number(mean.high)}]`),
        );
      });
    }

    scale(result, shown, own, mean, i) {
      const [low, high] = reach(result, i, shown, false);
      const x = (value) => (((value - low) / (high - low)) * WIDE).toFixed(1);
      const marks = own.points.map((p) => `M${x(p.means[i].value)} 4v8`).join("");
      const reference = result.reference?.points[0]?.means[i].value;
      return svg(
        "svg", { class: "pf-scale", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("path", { class: "pf-track", d: `M0 8H${WIDE}` }),
        svg("path", { class: "pf-marks", d: marks }),
        reference === undefined ? null : svg("path", { class: "pf-base", d: `M${x(reference)} 2v12` }),
        svg("path", { class: "pf-span", d: `M${x(mean.low)} 8H${x(mean.high)}` }),
        svg("path", { class: "pf-here", d: `M${x(mean.value)} 1v14` }),
      );
    }
  }

  Object.assign(globalThis.paretoFront, { Sliders });
})();
