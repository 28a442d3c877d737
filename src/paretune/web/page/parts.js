// Pieces that several panels show: replies that grow, what was used for them, and what went wrong.
import { reply } from "./server.js";

const { html, svg, printable, inWords, isSame, number } = paretoFront;

export const say = (text) => { document.getElementById("live").textContent = printable(text); };

export const clear = (node, ...children) => node.replaceChildren(...children.flat().filter(Boolean));

export const button = (text, pressed, attributes = {}) =>
  html("button", { type: "button", onclick: pressed, ...attributes }, text);

// What went wrong, where it happened; `again` is offered where it may help.
export const notice = (error, again = null) => {
  const node = html("div", { class: "notice", role: "alert" }, html("span", {}, error.message));
  if (again && error.mayPass) {
    const retry = button("Try again", () => { node.remove(); again(); });
    let left = Math.ceil(error.wait ?? 0);
    const tick = () => {
      retry.disabled = left > 0;
      retry.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
      if (left-- > 0) setTimeout(tick, 1000);
    };
    tick();
    node.append(retry);
  }
  return node;
};

export const named = (names, tradeoff) => Object.fromEntries(names.map((name, i) => [name, tradeoff[i]]));
export const listed = (names, given) => names.map((name) => given?.[name] ?? 0);

// The settings of replies as fields of a request; a seed is always sent, so that it can be told.
export const settings = () => {
  const [most, heat, seed] = ["max-tokens", "temperature", "seed"].map((id) => document.getElementById(id));
  const draw = () => crypto.getRandomValues(new Uint32Array(1))[0] >>> 1;
  const found = { seed: seed.value === "" ? draw() : seed.valueAsNumber };
  if (most.value !== "") found.max_tokens = most.valueAsNumber;
  if (heat.value !== "") found.temperature = heat.valueAsNumber;
  return found;
};

// A reply on the page: text that grows, and a line that says what it was made with.
export class ReplyView {
  constructor(names) {
    this.names = names;
    this.raw = "";
    this.text = document.createTextNode("");
    this.said = html("div", { class: "said", dir: "auto" }, this.text);
    this.facts = html("p", { class: "facts" });
    this.node = html("div", { class: "reply", "aria-busy": "true" }, this.said, this.facts);
  }

  // Asks and shows; true when the reply is whole.
  async run(body, signal) {
    this.seed = body.seed;
    try {
      const reason = await reply(body, signal, (used) => this.told(used), (text) => this.grow(text));
      if (reason === "error") throw Object.assign(new Error("The model failed while it wrote this."), { mayPass: true });
      if (reason === "length") this.note("cut at the most tokens");
      return true;
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      this.note("stopped");
      return false;
    } finally {
      this.node.removeAttribute("aria-busy");
      this.show();
    }
  }

  told(used) {
    const [asked, served] = [used.preference_asked, used.preference_used].map((given) => listed(this.names, given));
    const parts = [html("b", {}, inWords(this.names, served)), ` · ${used.method}, ${used.steering}`];
    if (!isSame(asked, served)) parts.push(` · asked for ${inWords(this.names, asked)}: the nearest that was trained answers`);
    if (used.source === "user") parts.push(" · learned from answers");
    if (this.seed !== undefined) parts.push(` · seed ${this.seed}`);
    clear(this.facts, ...parts.map((part) => (typeof part === "string" ? document.createTextNode(printable(part)) : part)));
  }

  note(text) {
    this.facts.append(` · ${text}`);
  }

  grow(raw) {
    this.raw = raw;
    this.waiting ??= requestAnimationFrame(() => this.show());
  }

  show() {
    cancelAnimationFrame(this.waiting);
    this.waiting = null;
    this.text.data = printable(this.raw);
    const isDone = !this.node.hasAttribute("aria-busy");
    this.said.classList.toggle("nothing", isDone && !this.text.data.trim());
    this.node.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
  }
}

// Rewards of one reply as small bars; `best`: objectives in which no other reply has more.
export const rewardBars = (names, rewards, unit, best) => html(
  "dl", { class: "bars" },
  names.map((name, i) => [
    html("dt", {}, name),
    html("dd", { class: best[i] ? "best" : "" }, meter(0, Math.min(1, Math.max(0, unit[i]))), html("span", {}, number(rewards[i]))),
  ]),
);

const meter = (low, high) => svg(
  "svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
  svg("rect", { width: 100, height: 6, rx: 1, class: "meter-all" }),
  svg("rect", { x: 100 * low, width: 100 * (high - low), height: 6, rx: 1, class: "meter-part" }),
);

// A weight with its interval, from 0 to 1.
export const weightScale = (value, low, high) => svg(
  "svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true", class: "scale" },
  svg("rect", { y: 5, width: 100, height: 4, class: "meter-all" }),
  svg("rect", { x: 100 * low, y: 3, width: Math.max(0.5, 100 * (high - low)), height: 8, class: "meter-span" }),
  svg("rect", { x: Math.min(99, Math.max(0, 100 * value - 0.5)), width: 1, height: 14, class: "meter-here" }),
);

// Prompts of the run's own data, to begin with.
export const examples = (result, chosen) => {
  const prompts = [...new Set(result.samples.map((sample) => sample.prompt))].slice(0, 5);
  if (!prompts.length) return null;
  return html(
    "details", { class: "examples" }, html("summary", {}, "Prompts of this run (from its data, not filtered)"),
    html("ul", {}, prompts.map((prompt) => html("li", {}, button(prompt, () => chosen(prompt), { class: "plain", dir: "auto" })))),
  );
};

// A text field that sends with Enter.
export const composer = (label, sent, typed) => {
  const field = html("textarea", { rows: 2, "aria-label": label, placeholder: label, dir: "auto" });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      sent();
    }
  });
  field.addEventListener("input", () => typed(field.value));
  return field;
};
