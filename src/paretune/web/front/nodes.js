// Nodes without markup: text that others wrote is never read as HTML.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  // Sequences that a terminal obeys, control characters, and marks that turn the writing direction.
  const SEQUENCES = /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?/g;
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

  const printable = (text) => String(text).replace(SEQUENCES, "").replace(HIDDEN, "");

  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
    }
    for (const child of children.flat(Infinity)) {
      if (child !== null && child !== undefined) {
        node.append(child instanceof Node ? child : printable(child));
      }
    }
    return node;
  };

  const html = (name, attributes = {}, ...children) =>
    fill(document.createElement(name), attributes, children);
  const svg = (name, attributes = {}, ...children) =>
    fill(document.createElementNS(SVG, name), attributes, children);

  // Cuts a text of a drawing to a width, in pixels; the whole of it stays as its title.
  const fit = (node, width) => {
    const whole = node.textContent;
    if (node.getComputedTextLength() <= width) return node;
    let [shortest, longest] = [0, whole.length];
    while (shortest < longest) {
      const middle = (shortest + longest + 1) >> 1;
      node.textContent = `${whole.slice(0, middle)}…`;
      if (node.getComputedTextLength() <= width) shortest = middle;
      else longest = middle - 1;
    }
    node.textContent = `${whole.slice(0, shortest)}…`;
    node.append(svg("title", {}, whole));
    return node;
  };

  const mark = (look, attributes = {}) =>
    svg(
      "svg", { viewBox: "-5.5 -5.5 11 11", class: "pf-mark", "aria-hidden": "true", ...attributes },
      svg("path", { d: look.path, fill: `var(${look.variable})` }),
    );

  globalThis.paretoFront = { ...globalThis.paretoFront, printable, html, svg, fit, mark };
})();
