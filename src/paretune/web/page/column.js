// One column of the comparison: a method at a trade-off, and what it answered.
import { ReplyView, button, clear, named, notice } from "./parts.js";

const { html, inWords, isSame, Sliders } = paretoFront;

export const isSameColumn = (one, other) => one.method === other.method && isSame(one.tradeoff, other.tradeoff);

export class Column {
  #doing = null;
  #given = null;

  // `changed` hears what a person chose here, and whether it is a new entry of the history; `here`
  // tells the place that is chosen for all panels.
  constructor(run, column, { changed, dropped, here }) {
    this.run = run;
    this.title = html("h3", {});
    this.sliders = new Sliders(run.names, (tradeoff) => changed({ ...this.column, tradeoff }, false));
    this.select = html(
      "select", { onchange: () => changed({ ...this.column, method: this.select.value }, true) },
      run.methods.map((name) => html("option", { value: name }, name)),
    );
    this.drop = button("×", dropped, { class: "plain drop", title: "Remove this column" });
    this.stale = html("p", { class: "quiet", hidden: true });
    this.body = html("div", { class: "answer" });
    this.node = html(
      "section", { class: "column" }, this.title, html("div", { class: "bar" }, this.select, this.drop), this.sliders.node,
      button("Use the chosen place", () => changed(here(), true), { class: "plain" }), this.stale, this.body,
    );
    this.put(column);
  }

  // An answer that was given for another column stays, and says so.
  put(column) {
    this.column = column;
    this.sliders.put(column.tradeoff);
    this.select.value = column.method;
    this.title.textContent = inWords(this.run.names, column.tradeoff);
    this.#mark();
  }

  place(i, isNeeded) {
    this.node.setAttribute("aria-label", `Column ${i + 1}`);
    this.select.setAttribute("aria-label", `Method of column ${i + 1}`);
    this.drop.setAttribute("aria-label", `Remove column ${i + 1}`);
    this.drop.disabled = isNeeded;
  }

  stop() {
    this.#doing?.abort();
  }

  remove() {
    this.stop();
    this.node.remove();
  }

  // What goes wrong here is said here, and the others go on; null unless the reply is whole.
  async answer(text, shared, again) {
    const { run } = this;
    const { method, tradeoff } = this.column;
    this.#doing = new AbortController();
    this.#given = this.column;
    this.#mark();
    const view = new ReplyView(run.names);
    clear(this.body, view.node);
    try {
      const isWhole = await view.run({
        model: `${run.result.name}/${method}`, messages: [{ role: "user", content: text }],
        preference: named(run.names, tradeoff), ...shared,
      }, this.#doing.signal);
      return isWhole ? view : null;
    } catch (error) {
      clear(this.body, view.raw ? view.node : null, notice(error, again));
      return null;
    }
  }

  #mark() {
    const given = this.#given;
    this.stale.hidden = !given || isSameColumn(given, this.column);
    if (given) this.stale.textContent = `Given for ${inWords(this.run.names, given.tradeoff)}, by ${given.method}:`;
  }
}
