// What the page shows, kept in the address bar: a link opened elsewhere shows the same.

const TABS = ["chat", "compare", "ask"];
const LONGEST_PROMPT = 500;
const REST = 900; // milliseconds after which a new place on the front is a new entry of the history

const weightsOf = (text, n) => {
  const weights = (text ?? "").split(",").map(Number);
  const total = weights.reduce((sum, w) => sum + w, 0);
  return weights.length === n && weights.every((w) => w >= 0) && Math.abs(total - 1) < 1e-3 ? weights : null;
};

export class State {
  #run;
  #heard = [];
  #moved = -Infinity;

  // `run`: names of its objectives, the methods that are served, and the one that answers.
  constructor(run) {
    this.#run = run;
    this.values = this.#read();
    this.#write(false);
    addEventListener("popstate", () => this.#again());
    addEventListener("hashchange", () => this.#again());
  }

  listen(hear) {
    this.#heard.push(hear);
    hear(this.values, {});
  }

  set(changes, { isNew = true } = {}) {
    const before = this.values;
    this.values = { ...before, ...changes };
    this.#write(isNew);
    for (const hear of this.#heard) hear(this.values, before);
  }

  // Moves that follow each other are one entry of the history.
  move(tradeoff, more = {}) {
    const now = performance.now();
    const isNew = now - this.#moved > REST;
    this.#moved = now;
    this.set({ tradeoff, ...more }, { isNew });
  }

  #again() {
    const fragment = location.hash.slice(1);
    if (fragment === this.#fragment()) return;
    const before = this.values;
    this.values = this.#read();
    this.#moved = -Infinity;
    for (const hear of this.#heard) hear(this.values, before);
  }

  #write(isNew) {
    const fragment = this.#fragment();
    if (fragment === location.hash.slice(1)) return;
    const address = `${location.pathname}${location.search}#${fragment}`;
    if (isNew) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
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
      user: /^[A-Za-z0-9._-]{1,64}$/.test(found.get("user") ?? "") ? found.get("user") : "",
    };
  }
}
