// What a person drags: with mouse, pen, finger or arrow keys.
(() => {
  "use strict";
  const { svg } = globalThis.paretoFront;
  const KEYS = new Set(["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "PageUp", "PageDown", "Home", "End"]);

  // `moved(x, y)` hears places in the drawing, `pressed(key, isLarge)` keys that steer.
  const makeHandle = (moved, pressed) => {
    const node = svg(
      "g", { class: "pf-handle", role: "slider", tabindex: "0", "aria-valuemin": 0, "aria-valuemax": 100 },
      svg("circle", { class: "pf-hit", r: 24 }),
      svg("circle", { class: "pf-halo", r: 15 }),
      svg("circle", { class: "pf-ring", r: 10 }),
      svg("circle", { class: "pf-dot", r: 3.2 }),
    );
    let at = [];
    let held = null;

    // Drawings are made in pixels, and may be shown larger or smaller.
    const seen = (event) => {
      const box = node.ownerSVGElement.getBoundingClientRect();
      const scale = node.ownerSVGElement.viewBox.baseVal.width / (box.width || 1);
      return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    };
    const drop = () => {
      held = null;
      node.classList.remove("pf-held");
    };
    node.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const [x, y] = seen(event);
      held = [at[0] - x, at[1] - y];
      node.setPointerCapture(event.pointerId);
      node.classList.add("pf-held");
      node.focus({ preventScroll: true });
      event.preventDefault();
    });
    node.addEventListener("pointermove", (event) => {
      if (!held) return;
      const [x, y] = seen(event);
      moved(x + held[0], y + held[1]);
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) node.addEventListener(name, drop);
    node.addEventListener("keydown", (event) => {
      if (!KEYS.has(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      pressed(event.key, event.shiftKey);
    });

    const put = (x, y) => {
      // It glides to where it is put, but not from nowhere.
      if (at.length) node.classList.add("pf-placed");
      at = [x, y];
      node.setAttribute("transform", `translate(${x} ${y})`);
    };
    const say = (label, value, text) => {
      node.setAttribute("aria-label", label);
      node.setAttribute("aria-valuenow", Math.round(value));
      node.setAttribute("aria-valuetext", text);
    };
    return { node, put, say };
  };

  Object.assign(globalThis.paretoFront, { makeHandle });
})();
