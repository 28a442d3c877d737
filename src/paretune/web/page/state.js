// What the page shows, kept in the address bar: a link opened elsewhere shows the same.
import { takeKey } from "./server.js";

const TABS = ["chat", "compare", "ask"];
const LONGEST_PROMPT = 500;
const REST = 900; // milliseconds after which a new place on the front is a new entry of the history
const CALM = 250; // and after which the address follows: browsers drop or refuse a change each move
export const USER = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/;

const weightsOf = (text, n) => {
  const weights = (text ?? "").split(",").map(Number);
  const total = weights.reduce((sum, w) => sum + w, 0);
  const isOne = weights.length === n && weights.every((w) => w >= 0) && Math.abs(total - 1) < 0.02;
  // Thirds that a person wrote with two decimals; a server takes nothing but a sum of 1.
  return isOne ? paretoFront.rounded(weights.map((w) => w / total)) : null;
};

export class State {
  #run;
  #heard = [];
  #moved = -Infinity;
  #waiting = null;

  // `run`: names of its objectives, the methods that are served, and the one that answers.
  constructor(run) {
    this.#run = run;
    this.values = this.#read();
    addEventListener("popstate", () => this.#again());
    addEventListener("hashchange", () => this.#again());
    for (const leaving of ["beforeunload", "pagehide"]) {
      addEventListener(leaving, () => { if (this.#waiting) this.#write(); });
    }
    this.#write();
  }

  listen(hear) {
    this.#heard.push(hear);
    hear(this.values, {});
  }

  set(changes, { isNew = true } = {}) {
    const before = this.values;
    // The entry that is left keeps what was shown last.
    if (isNew && this.#waiting) this.#write();
    this.values = { ...before, ...changes };
    for (const hear of this.#heard) hear(this.values, before);
    if (isNew) this.#write(true);
    else this.#writeLater();
  }

  // Moves that follow each other are one entry of the history.
  move(tradeoff, more = {}) {
    const now = performance.now();
    const isNew = now - this.#moved > REST;
    this.#moved = now;
    this.set({ tradeoff, ...more }, { isNew });
  }

  #again() {
    clearTimeout(this.#waiting);
    this.#waiting = null;
    // An address that brings a key and nothing else leaves everything as it is.
    if (takeKey() && !location.hash) this.#write();
    if (location.hash.slice(1) === this.#fragment()) return;
    const before = this.values;
    this.values = this.#read();
    this.#moved = -Infinity;
    for (const hear of this.#heard) hear(this.values, before);
  }

  #writeLater() {
    clearTimeout(this.#waiting);
    this.#waiting = setTimeout(() => this.#write(), CALM);
  }

  #write(isNew = false) {
    clearTimeout(this.#waiting);
    this.#waiting = null;
    const fragment = this.#fragment();
    if (fragment === location.hash.slice(1)) return;
    const address = `${location.pathname}${location.search}#${fragment}`;
    try {
      if (isNew) history.pushState(null, "", address);
      else history.replaceState(null, "", address);
    } catch {
      // Too many in a row for this browser: the page goes on, and the next change is written.
    }
  }

  #fragment() {
    const { tab, method, tradeoff, prompt, columns, user } = this.values;
    const parts = [["tab", tab], ["method", method], ["t", tradeoff.join(",")]];
    if (user) parts.push(["user", user]);
    if (columns) parts.push(["columns", columns.map((c) => `${c.method}@${c.tradeoff.join(",")}`).join(";")]);
    if (prompt && prompt.length <= LONGEST_PROMPT) parts.push(["prompt", prompt]);
    // Commas stay as they are: these are weights that a person may want to change by hand.
    return parts.map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll("%2C", ",")}`).join("&");
  }

  #read() {
    const { names, methods, method } = this.#run;
    const found = new URLSearchParams(location.hash.slice(1));
    const known = (name) => (methods.includes(name) ? name : method);
    const columns = (found.get("columns") ?? "").split(";").map((text) => {
      const at = text.lastIndexOf("@");
      return { method: text.slice(0, at), tradeoff: weightsOf(text.slice(at + 1), names.length) };
    }).filter((c) => methods.includes(c.method) && c.tradeoff).slice(0, 4);
    return {
      tab: TABS.includes(found.get("tab")) ? found.get("tab") : "chat",
      method: known(found.get("method")),
      tradeoff: weightsOf(found.get("t"), names.length) ?? paretoFront.rounded(paretoFront.even(names.length)),
      prompt: found.get("prompt") ?? "",
      columns: columns.length > 1 ? columns : null,
      user: USER.test(found.get("user") ?? "") ? found.get("user") : "",
    };
  }
}
